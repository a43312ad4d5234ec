//! A file of a model, which is not to change while it is in use.

use crate::error::{ModelError, Result};
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// A file of a model as it was when it was opened. Another file that is put in its place changes nothing here: this stays
/// the one that was opened.
#[derive(Debug, Clone)]
pub struct ModelFile(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    file: File,
    was: State,
}

/// What differs behind a write.
#[derive(Debug, PartialEq, Eq)]
struct State {
    length: u64,
    /// None where the system keeps no times.
    modified: Option<SystemTime>,
}

impl State {
    fn of(metadata: &Metadata) -> Self {
        Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

impl ModelFile {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let read_error = |source| ModelError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read_error)?;
        let was = State::of(&file.metadata().map_err(read_error)?);
        Ok(Self(Arc::new(Opened {
            path: path.to_owned(),
            file,
            was,
        })))
    }

    /// Where it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// The file itself.
    pub(crate) fn file(&self) -> &File {
        &self.0.file
    }

    /// Bytes that it had when it was opened.
    pub(crate) fn length(&self) -> u64 {
        self.0.was.length
    }

    /// Looks whether it was written to since it was opened: what is mapped of it may be anything then.
    ///
    /// # Errors
    /// When it was.
    pub fn check(&self) -> Result<()> {
        let is = self.0.file.metadata().map(|now| State::of(&now));
        if is.is_ok_and(|is| is == self.0.was) {
            Ok(())
        } else {
            Err(ModelError::FileChanged {
                path: self.0.path.clone(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek as _, Write as _};

    #[test]
    fn a_write_is_seen_and_another_file_in_its_place_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        std::fs::write(&path, "weights").unwrap();
        let opened = ModelFile::open(&path).unwrap();
        let other = folder.path().join("other");
        std::fs::write(&other, "others").unwrap();
        opened.check().unwrap();
        std::fs::rename(&other, &path).unwrap();
        opened.check().unwrap();

        let opened = ModelFile::open(&path).unwrap();
        let mut file = File::options().write(true).open(&path).unwrap();
        // Of the same length, at another time.
        std::thread::sleep(std::time::Duration::from_millis(20));
        file.rewind().unwrap();
        file.write_all(b"OTHERS").unwrap();
        assert!(matches!(
            opened.check(),
            Err(ModelError::FileChanged { path: found }) if found == path
        ));
        let opened = ModelFile::open(&path).unwrap();
        file.set_len(3).unwrap();
        opened.check().unwrap_err();
    }
}
