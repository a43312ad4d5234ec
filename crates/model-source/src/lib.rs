//! Finds a model by its name, and brings it where it is not here yet.
//!
//! | name | what becomes of it |
//! | --- | --- |
//! | a directory | it is taken as it is: a model in Hugging Face's layout, or a package |
//! | a `.gguf` file | it is imported once; the result lies beside it, or in the user's cache |
//! | `owner/name`, `owner/name@revision` | it is fetched from the Hugging Face Hub into that hub's cache |
//!
//! What exists on this machine is never taken for a hub id. [`docs/models.md`] has the details.
//!
//! [`docs/models.md`]: ../../../docs/models.md

mod part;
mod reporter;

pub use part::Part;
pub use reporter::ProgressTo;

use reporter::Reporter;
use std::path::{Path, PathBuf};
use tandem_gguf::{Dtype, GgufError};
use tandem_hub::{HubError, HubId, Wanted};

/// A model that is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Its directory, in Hugging Face's layout.
    pub directory: PathBuf,
    /// Its name for people: the directory's, the file's without its ending, or the hub id's second part.
    pub name: String,
}

/// Why there is no model of a name.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nothing has that name.
    #[error(
        "{name} is no model: a model is a directory with config.json, a .gguf file, or an id on the \
         Hugging Face Hub such as Qwen/Qwen2.5-0.5B-Instruct; {why}"
    )]
    Unknown {
        /// The name.
        name: String,
        /// What was looked at.
        why: String,
    },
    /// A GGUF file that cannot be imported.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A model of the hub that cannot be brought.
    #[error(transparent)]
    Hub(Box<HubError>),
}

/// Finds the model of this name. Blocks while it is fetched or imported, and reports how far that is.
/// Of a model on the hub that is in shards, those of `part` are brought, or all.
///
/// # Errors
/// When there is none, or it cannot be brought.
pub fn locate(name: &Path, part: Option<Part>, report: ProgressTo) -> Result<Located, SourceError> {
    if name.is_dir() {
        return Ok(Located {
            directory: name.to_owned(),
            name: last_part(name),
        });
    }
    let unknown = |why: String| SourceError::Unknown {
        name: name.display().to_string(),
        why,
    };
    if name.is_file() {
        return match tandem_gguf::is_gguf(name) {
            Ok(true) => imported(name, report),
            Ok(false) => Err(unknown("this file is not a GGUF file".to_owned())),
            Err(error) => Err(unknown(format!("this file cannot be read: {error}"))),
        };
    }
    if name.extension().is_some_and(|ending| ending == "gguf") {
        return Err(unknown("there is no such file".to_owned()));
    }
    match name.to_str().map(str::parse::<HubId>) {
        Some(Ok(id)) => fetched(&id, part.as_ref(), report),
        Some(Err(error)) => Err(unknown(format!("there is no such directory, and {error}"))),
        None => Err(unknown("there is no such directory".to_owned())),
    }
}

fn imported(file: &Path, report: ProgressTo) -> Result<Located, SourceError> {
    let mut reporter = Reporter::new(report, format!("importing {}", file.display()));
    let directory = tandem_gguf::cached(file, Dtype::F32, &cache_root(), &mut |progress| {
        reporter.import(progress)
    })?;
    Ok(Located {
        directory,
        name: file
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default(),
    })
}

fn fetched(id: &HubId, part: Option<&Part>, report: ProgressTo) -> Result<Located, SourceError> {
    let mut reporter = Reporter::new(report, format!("fetching {id}"));
    let of_part =
        |tensor: &str, has: &dyn Fn(&str) -> bool| part.is_none_or(|p| p.has(tensor, has));
    let wanted = match part {
        Some(_) => Wanted::Tensors(&of_part),
        None => Wanted::All,
    };
    let snapshot = tandem_hub::fetch(id, wanted, &mut |progress| reporter.fetch(&progress))
        .map_err(|error| SourceError::Hub(Box::new(error)))?;
    if let Some(why) = &snapshot.outdated {
        tracing::warn!(
            model = %id,
            commit = snapshot.commit,
            "the hub could not be asked for a newer commit, and the one fetched before is used: {why}"
        );
    }
    Ok(Located {
        directory: snapshot.directory,
        name: id.name().to_owned(),
    })
}

/// Where imports lie whose file's own directory cannot be written to.
fn cache_root() -> PathBuf {
    let of = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty());
    let cache = of("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(of("HOME")?).join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("tandem")
}

/// A directory's own name, also of `.` and of what ends in a slash.
fn last_part(directory: &Path) -> String {
    let own = directory.file_name().map(ToOwned::to_owned);
    let real = || Some(directory.canonicalize().ok()?.file_name()?.to_owned());
    own.or_else(real)
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("my-model");
        std::fs::create_dir(&model).unwrap();
        let located = locate(&model, None, ProgressTo::Log).unwrap();
        assert_eq!((located.directory, &*located.name), (model, "my-model"));
    }

    #[test]
    fn what_is_none_of_the_three_gets_a_message_that_names_them() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("model.txt");
        std::fs::write(&text, "no model").unwrap();
        let missing = folder.path().join("missing.gguf");
        for name in [
            text.as_path(),
            &missing,
            Path::new("no/such/directory"),
            Path::new("nothing"),
        ] {
            let message = locate(name, None, ProgressTo::Log).unwrap_err().to_string();
            for kind in ["a directory", ".gguf", "Hugging Face Hub"] {
                assert!(message.contains(kind), "{message}");
            }
            assert!(message.starts_with(&*name.to_string_lossy()), "{message}");
        }
    }
}
