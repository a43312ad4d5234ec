//! A package: a part of a model in the types it is run in, with all that its server needs.
//!
//! `docs/package.md` specifies it. A package is a model directory of its own that also has a
//! manifest: which layers it holds and how, the fingerprints of the model that it was made of, and
//! a hash of every file.

pub(crate) mod prepare;
mod tensors;
mod weights_file;

use crate::checkpoint::Checkpoint;
use crate::error::{ModelError, Result};
use crate::package::prepare::EmbeddingType;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use tandem_shape::{Fingerprint, LayerRange, WeightScheme};

/// The manifest's name.
pub(crate) const MANIFEST: &str = "tandem-package.json";
/// The weights' file.
pub(crate) const WEIGHTS: &str = "model.safetensors";
/// The format that this code writes, and the only one so far.
const FORMAT: u32 = 1;
/// Longer than any manifest.
const MAX_MANIFEST: u64 = 1 << 20;

/// What a package says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format.
    pub format: u32,
    /// What wrote it.
    pub written_by: String,
    /// The layers it holds.
    pub layers: Layers,
    /// The types its matrices are stored in, as [`WeightScheme`] writes them.
    pub weights: String,
    /// The type of the embedding's rows; null without one.
    pub embedding: Option<EmbeddingType>,
    /// Tokens that 4-bit codes were calibrated with; 0 for none.
    pub calibration_tokens: usize,
    /// The model it was made of.
    pub source: Source,
    /// Every other file by its path, `/` between folders.
    pub files: BTreeMap<String, FileEntry>,
}

impl Manifest {
    /// BLAKE3 of the file that its weights are in, in hexadecimal.
    pub fn weights_hash(&self) -> &str {
        let entry = self.files.get(WEIGHTS);
        entry.map_or("", |entry| &entry.blake3)
    }
}

/// Layers `start..end` of a model of `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layers {
    /// The first.
    pub start: usize,
    /// One past the last.
    pub end: usize,
    /// Layers of the whole model.
    pub of: usize,
    /// Whether norm and head are there too.
    pub head: bool,
}

/// Fingerprints of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its weights', in hexadecimal.
    pub weights: String,
    /// Its tokenizer's.
    pub tokenizer: String,
}

/// Size and hash of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its bytes.
    pub bytes: u64,
    /// BLAKE3 of them, in hexadecimal.
    pub blake3: String,
}

/// An opened package, its files as the manifest says.
#[derive(Debug, Clone)]
pub struct Package {
    /// What it says of itself.
    pub manifest: Manifest,
    /// The types its matrices are stored in.
    pub weights: WeightScheme,
    /// The layers it holds, and whether norm and head.
    pub range: LayerRange,
    /// The weights of the model it was made of.
    pub fingerprint: Fingerprint,
    directory: PathBuf,
}

impl Package {
    /// Opens a package; none for a directory that has no manifest. Hashes every file: what was
    /// damaged on its way to a device does not run.
    ///
    /// # Errors
    /// When the manifest is malformed or of a newer format, or a file is not as it says.
    pub fn open(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(MANIFEST);
        if !path.exists() {
            return Ok(None);
        }
        let bad = |problem: String| ModelError::Package {
            path: path.clone(),
            problem,
        };
        let unreadable = |source| ModelError::Read {
            path: path.clone(),
            source,
        };
        let length = path.metadata().map_err(unreadable)?.len();
        if length > MAX_MANIFEST {
            return Err(bad(format!("{length} bytes are too many for a manifest")));
        }
        let text = std::fs::read(&path).map_err(unreadable)?;
        let format: FormatOnly = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
        if format.format != FORMAT {
            return Err(bad(format!(
                "format {} is not one that this version reads ({FORMAT} is)",
                format.format
            )));
        }
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
        let Layers {
            start,
            end,
            of,
            head,
        } = manifest.layers;
        let range = match (LayerRange::new(start, end, of), head) {
            (Ok(range), true) if range.is_last() => range,
            (Ok(range), false) => range.without_head(),
            _ => {
                return Err(bad(format!(
                    "layers {start} to {end} of {of} cannot be, or have no head"
                )));
            }
        };
        let weights: WeightScheme = manifest
            .weights
            .parse()
            .map_err(|e| bad(format!("weights: {e}")))?;
        let fingerprint = blake3::Hash::from_hex(&manifest.source.weights)
            .map_err(|e| bad(format!("source.weights: {e}")))?;
        weights.check_within(range)?;
        for needed in [WEIGHTS, "config.json", "tokenizer.json"] {
            if !manifest.files.contains_key(needed) {
                return Err(bad(format!("files does not have {needed}")));
            }
        }
        for (name, entry) in &manifest.files {
            check_file(directory, name, entry)?;
        }
        check_strangers(directory, &manifest)?;
        Ok(Some(Self {
            range,
            weights,
            fingerprint: Fingerprint(*fingerprint.as_bytes()),
            manifest,
            directory: directory.to_owned(),
        }))
    }

    /// The hash of its weights' file, in hexadecimal: what tells it from another of the same model.
    pub fn hash(&self) -> &str {
        let weights = self.manifest.files.get(WEIGHTS);
        weights.map_or("", |file| &file.blake3)
    }

    /// Its weights.
    ///
    /// # Errors
    /// When the file is malformed.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        Checkpoint::open_file(&self.directory.join(WEIGHTS))
    }

    /// Refuses layers that are not here.
    ///
    /// # Errors
    /// When `range` is not within the package's.
    pub fn check_holds(&self, range: LayerRange) -> Result<()> {
        let ends = (!range.is_first() || self.range.is_first())
            && (!range.is_last() || self.range.is_last());
        if self.range.contains(range) && ends {
            Ok(())
        } else {
            Err(ModelError::PackageRange {
                path: self.directory.clone(),
                held: self.range,
                asked: range,
            })
        }
    }
}

impl Manifest {
    /// A manifest of the present format.
    pub(crate) fn new(range: LayerRange, weights: &WeightScheme, source: Source) -> Self {
        Self {
            format: FORMAT,
            written_by: concat!("tandem ", env!("CARGO_PKG_VERSION")).to_owned(),
            layers: Layers {
                start: range.start(),
                end: range.end(),
                of: range.of(),
                head: range.is_last(),
            },
            weights: weights.to_string(),
            embedding: None,
            calibration_tokens: 0,
            source,
            files: BTreeMap::new(),
        }
    }
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl FileEntry {
    /// Size and hash of a file there is, of which no more than `most` bytes are read.
    pub(crate) fn of(path: &Path, most: u64) -> Result<Self> {
        let unreadable = |source| ModelError::Read {
            path: path.to_owned(),
            source,
        };
        // Reads rather than maps: mapped pages would count as this process's memory.
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut hasher = blake3::Hasher::new();
        hasher
            .update_reader((&file).take(most))
            .map_err(unreadable)?;
        Ok(Self {
            bytes: file.metadata().map_err(unreadable)?.len(),
            blake3: hasher.finalize().to_hex().to_string(),
        })
    }
}

/// Refuses files that would be read and are not in the manifest. Profiles have a check of their own, and
/// may be added later.
fn check_strangers(directory: &Path, manifest: &Manifest) -> Result<()> {
    let unreadable = |source| ModelError::Read {
        path: directory.to_owned(),
        source,
    };
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let name = name.to_string_lossy();
        let is_read = [".json", ".jinja", ".safetensors"]
            .iter()
            .any(|end| name.ends_with(end));
        let is_known = name == MANIFEST || manifest.files.contains_key(&*name);
        if is_read && !is_known && !name.starts_with('.') {
            return Err(ModelError::Package {
                path: directory.join(&*name),
                problem: "is not in the package's manifest".to_owned(),
            });
        }
    }
    Ok(())
}

fn check_file(directory: &Path, name: &str, entry: &FileEntry) -> Result<()> {
    let relative = Path::new(name);
    let inside = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let path = directory.join(relative);
    let bad = |problem: String| ModelError::Package {
        path: path.clone(),
        problem,
    };
    if !inside || name.is_empty() {
        return Err(bad("is not a path within the package".to_owned()));
    }
    // The size first: what was cut off is told without reading it.
    let metadata = path.metadata().map_err(|source| ModelError::Read {
        path: path.clone(),
        source,
    })?;
    if !metadata.is_file() {
        return Err(bad("is not a file".to_owned()));
    }
    let bytes = metadata.len();
    if bytes != entry.bytes {
        return Err(bad(format!(
            "has {bytes} bytes, its manifest says {}",
            entry.bytes
        )));
    }
    let found = FileEntry::of(&path, bytes)?;
    if found.blake3 == entry.blake3 {
        Ok(())
    } else {
        Err(bad(format!(
            "is not the file that was packed: its hash is {:.16}…, the manifest says {:.16}…",
            found.blake3, entry.blake3
        )))
    }
}
