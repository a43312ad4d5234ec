//! The whole import: everything is written beside the target and renamed into place at the end.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::architecture::{Config, read_config};
use crate::container::Container;
use crate::error::GgufError;
use crate::plan::{Planned, plan};
use crate::python_json::Json;
use crate::vocabulary::read_tokenizer;
use crate::{Dtype, OnProgress, weights};

/// What an import has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The model's class in transformers.
    pub class: &'static str,
    /// The number of decoder layers.
    pub layers: i128,
    /// Values in a hidden row.
    pub hidden: i128,
}

/// A file that has been found fit, with all that its directory needs.
pub(crate) struct Prepared<'a> {
    container: &'a Container,
    config: Config,
    planned: Vec<Planned>,
    documents: Vec<(&'static str, String)>,
    dtype: Dtype,
}

/// Imports the file at `file` into the directory `out`, which must not exist yet.
///
/// The directory has config.json, tokenizer.json, tokenizer_config.json, generation_config.json,
/// gguf-source.json (the file's name and general metadata) and model.safetensors. It appears whole or
/// not at all, and parents that are missing are made.
///
/// # Errors
/// [`GgufError`], by name, for whatever cannot be carried over exactly.
pub fn import(
    file: &Path,
    out: &Path,
    dtype: Dtype,
    progress: OnProgress<'_>,
) -> Result<Imported, GgufError> {
    if out.exists() {
        return Err(GgufError::Exists {
            out: out.to_path_buf(),
        });
    }
    let container = Container::open(file)?;
    let prepared = Prepared::new(&container, dtype)?;

    let parent = parent_of(out);
    fs::create_dir_all(parent).map_err(GgufError::io(parent))?;
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    // Removed when it is dropped, whatever ends the import before the rename.
    let aside = tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(".partial")
        .tempdir_in(parent)
        .map_err(GgufError::io(parent))?;
    prepared.write_into(aside.path(), progress)?;
    put_in_place(aside, out)?;
    Ok(prepared.imported())
}

impl<'a> Prepared<'a> {
    /// Reads all metadata; refuses what cannot be imported before anything is written.
    pub(crate) fn new(container: &'a Container, dtype: Dtype) -> Result<Self, GgufError> {
        let config = read_config(container)?;
        let planned = plan(container, &config)?;
        let torch_dtype = match dtype {
            Dtype::F32 => "float32",
            Dtype::Bf16 => "bfloat16",
        };
        let file = container
            .metadata
            .path()
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let source = Json::map([
            ("file", Json::Text(file)),
            ("metadata", container.metadata.under("general.")),
        ]);
        let mut documents = vec![("config.json", config.to_json(torch_dtype).to_document())];
        for (name, document) in read_tokenizer(container)? {
            documents.push((name, document.to_document()));
        }
        documents.push(("gguf-source.json", source.to_document()));
        Ok(Self {
            container,
            config,
            planned,
            documents,
            dtype,
        })
    }

    /// Writes every file into an empty directory.
    pub(crate) fn write_into(
        &self,
        directory: &Path,
        progress: OnProgress<'_>,
    ) -> Result<(), GgufError> {
        for (name, document) in &self.documents {
            write_document(&directory.join(name), document)?;
        }
        let weights = directory.join("model.safetensors");
        weights::write(
            self.container,
            &self.planned,
            &weights,
            self.dtype,
            progress,
        )
    }

    fn imported(&self) -> Imported {
        Imported {
            class: self.config.family.class(),
            layers: self.config.layers,
            hidden: self.config.hidden,
        }
    }
}

/// Writes a small file and waits until it is on the disk.
pub(crate) fn write_document(path: &Path, document: &str) -> Result<(), GgufError> {
    let write = || {
        let mut file = fs::File::create_new(path)?;
        file.write_all(document.as_bytes())?;
        file.sync_all()
    };
    write().map_err(GgufError::io(path))
}

/// Gives a finished directory its name and the permissions of one that is not private.
pub(crate) fn put_in_place(aside: tempfile::TempDir, out: &Path) -> Result<(), GgufError> {
    fs::set_permissions(aside.path(), fs::Permissions::from_mode(0o755))
        .map_err(GgufError::io(aside.path()))?;
    fs::rename(aside.path(), out).map_err(GgufError::io(out))?;
    // It has another name now, so there is nothing left to remove.
    let _: PathBuf = aside.keep();
    // So that a crash of the machine cannot take the name back; not every file system can promise it.
    let _ = fs::File::open(parent_of(out)).and_then(|parent| parent.sync_all());
    Ok(())
}

/// The directory that holds `path`.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
