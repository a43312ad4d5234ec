//! The identity of a model's weights, so that a fine-tune of the same shape cannot pair with its
//! base by accident.

use std::fmt;

/// A BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The file of a model's directory that tells the SHA-256 of all its shards, also of those that are not there:
/// a JSON object from each shard's name to its hash in hexadecimal.
pub const SHARD_HASHES_FILE: &str = ".tandem-shards.json";

/// Which weights a model has, as far as this machine can tell.
///
/// A model of which only some shards are here cannot be hashed, but its hub says what all its files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    weights: Option<Fingerprint>,
    files: Option<Fingerprint>,
}

impl Identity {
    /// Of a model that is here whole: by its weights, and by its files where it is in shards.
    pub fn whole(weights: Fingerprint, files: Option<Fingerprint>) -> Self {
        Self {
            weights: Some(weights),
            files,
        }
    }

    /// Of a model that is here in part: by its files.
    pub fn of_files(files: Fingerprint) -> Self {
        Self {
            weights: None,
            files: Some(files),
        }
    }

    /// The weights' fingerprint, a hash over every tensor; `None` for a model in part.
    pub fn weights(&self) -> Option<Fingerprint> {
        self.weights
    }

    /// The files' fingerprint: BLAKE3 over each shard's name and SHA-256 in the order of names, then the
    /// architecture's fields. `None` for a model that is not in shards.
    pub fn files(&self) -> Option<Fingerprint> {
        self.files
    }

    /// Whether two models have the same weights; `None` where that cannot be told.
    pub fn is(&self, other: &Self) -> Option<bool> {
        let same = |a: Option<Fingerprint>, b: Option<Fingerprint>| Some(a? == b?);
        // Other files may hold the same weights, cut in other places.
        let by_files = || same(self.files, other.files);
        same(self.weights, other.weights).or_else(by_files)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.weights.or(self.files) {
            Some(fingerprint) => fingerprint.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}
