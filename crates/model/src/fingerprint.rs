//! The identity of a model's weights, so that a fine-tune of the same shape cannot pair with its
//! base by accident.

use crate::checkpoint::{Checkpoint, Section};
use crate::config::ModelConfig;
use crate::error::{ModelError, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::UNIX_EPOCH;

const CACHE: &str = ".tandem-fingerprint.json";

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

/// What the cache holds: valid while every file keeps its size and time.
#[derive(Serialize, Deserialize, PartialEq)]
struct Cached {
    files: Vec<(String, u64, u128)>,
    canonical_config: String,
    fingerprint: String,
}

/// The fingerprint of a checkpoint's weights: BLAKE3 over each tensor's name, type, shape and
/// bytes in name order, then the architecture's fields.
///
/// It is computed once and kept beside the model when that directory can be written to.
///
/// # Errors
/// When a file cannot be read.
pub fn weights_fingerprint(
    directory: &Path,
    config: &ModelConfig,
    checkpoint: &Checkpoint,
) -> Result<Fingerprint> {
    let files = stamps(checkpoint)?;
    let cache = directory.join(CACHE);
    if let Some(found) = read_cache(&cache, &files, &config.canonical()) {
        return Ok(found);
    }
    let fingerprint = compute(config, checkpoint)?;
    let entry = Cached {
        files,
        canonical_config: config.canonical(),
        fingerprint: fingerprint.to_string(),
    };
    // A directory that cannot be written to costs a hash at each start, nothing else.
    if let Ok(text) = serde_json::to_vec(&entry) {
        let fresh = directory.join(format!("{CACHE}.{}", std::process::id()));
        if std::fs::write(&fresh, text).is_ok() && std::fs::rename(&fresh, &cache).is_err() {
            let _ = std::fs::remove_file(&fresh);
        }
    }
    Ok(fingerprint)
}

fn compute(config: &ModelConfig, checkpoint: &Checkpoint) -> Result<Fingerprint> {
    let mut hasher = blake3::Hasher::new_derive_key("tandem weights fingerprint v1");
    for section in checkpoint.sections() {
        hash_text(&mut hasher, section.name);
        hash_text(&mut hasher, &section.dtype);
        hasher.update(&(section.shape.len() as u64).to_le_bytes());
        for &dimension in section.shape {
            hasher.update(&(dimension as u64).to_le_bytes());
        }
        hash_bytes(&mut hasher, &section)?;
    }
    hash_text(&mut hasher, &config.canonical());
    Ok(Fingerprint(*hasher.finalize().as_bytes()))
}

fn hash_text(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

/// Reads rather than maps: mapped pages would count as this process's memory.
fn hash_bytes(hasher: &mut blake3::Hasher, section: &Section<'_>) -> Result<()> {
    let read_error = |source| ModelError::Read {
        path: section.path.to_owned(),
        source,
    };
    let mut file = section.file;
    file.seek(SeekFrom::Start(section.offset))
        .map_err(read_error)?;
    hasher
        .update_reader(file.take(section.length as u64))
        .map_err(read_error)?;
    Ok(())
}

fn stamps(checkpoint: &Checkpoint) -> Result<Vec<(String, u64, u128)>> {
    checkpoint
        .paths()
        .map(|path| {
            let metadata = path.metadata().map_err(|source| ModelError::Read {
                path: path.to_owned(),
                source,
            })?;
            let modified = metadata
                .modified()
                .ok()
                .and_then(|t| t.duration_since(UNIX_EPOCH).ok())
                .map_or(0, |d| d.as_nanos());
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Ok((name.into_owned(), metadata.len(), modified))
        })
        .collect()
}

fn read_cache(cache: &Path, files: &[(String, u64, u128)], canonical: &str) -> Option<Fingerprint> {
    let cached: Cached = serde_json::from_slice(&std::fs::read(cache).ok()?).ok()?;
    if cached.files != files || cached.canonical_config != canonical {
        return None;
    }
    let hash = blake3::Hash::from_hex(&cached.fingerprint).ok()?;
    Some(Fingerprint(*hash.as_bytes()))
}
