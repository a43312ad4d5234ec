//! What a directory says of the shards of a model, whichever of them are there.

use crate::error::{ModelError, Result};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use tandem_shape::SHARD_HASHES_FILE;

/// The SHA-256 of every shard of a model, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShardHashes(BTreeMap<String, [u8; 32]>);

impl ShardHashes {
    /// Reads what a directory says; `None` where it says nothing.
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(SHARD_HASHES_FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ModelError::Read { path, source }),
        };
        let wrong = |problem: String| ModelError::Checkpoint {
            path: path.clone(),
            problem,
        };
        let said: BTreeMap<String, String> =
            serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        // BLAKE3's hashes are as long.
        let hash = |(name, hex): (String, String)| match blake3::Hash::from_hex(&hex) {
            Ok(hash) => Ok((name, *hash.as_bytes())),
            Err(_) => Err(wrong(format!("{hex:.80?} is no SHA-256"))),
        };
        let hashes: Result<_> = said.into_iter().map(hash).collect();
        Ok(Some(Self(hashes?)))
    }

    /// Hashes the files of a model, all of them.
    pub(crate) fn of_files<'a>(files: impl Iterator<Item = &'a Path>) -> Result<Self> {
        let hash = |path: &Path| {
            let failed = |source| ModelError::Read {
                path: path.to_owned(),
                source,
            };
            let mut file = std::fs::File::open(path).map_err(failed)?;
            let mut hasher = Sha256::new();
            std::io::copy(&mut file, &mut hasher).map_err(failed)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Ok((name.into_owned(), hasher.finalize().into()))
        };
        let hashes: Result<_> = files.map(hash).collect();
        Ok(Self(hashes?))
    }

    /// Whether these are the shards that an index names, sorted.
    pub(crate) fn are_of(&self, names: &[&String]) -> bool {
        self.0.keys().eq(names.iter().copied())
    }

    /// Each shard's name and hash, in the order of names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[u8; 32])> {
        self.0.iter().map(|(name, hash)| (name.as_str(), hash))
    }
}
