//! Finds out which weights a model has, see [`Identity`].

use crate::checkpoint::shards::ShardHashes;
use crate::checkpoint::{Checkpoint, Section};
use crate::error::{ModelError, Result};
use serde::{Deserialize, Serialize};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::UNIX_EPOCH;
use tandem_shape::{Fingerprint, Identity, ModelConfig};

const CACHE: &str = ".tandem-fingerprint.json";

/// What the cache holds: valid while every file keeps its size and time.
#[derive(Serialize, Deserialize, PartialEq)]
struct Cached {
    files: Vec<(String, u64, u128)>,
    canonical_config: String,
    fingerprint: String,
    /// Of the files, where they are shards of which nothing else says what they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files_fingerprint: Option<String>,
}

/// The identity of a checkpoint's weights.
///
/// What has to be computed for it is computed once and kept beside the model when that directory can be
/// written to.
///
/// # Errors
/// When a file cannot be read.
pub fn identity(
    directory: &Path,
    config: &ModelConfig,
    checkpoint: &Checkpoint,
) -> Result<Identity> {
    let said = checkpoint.shard_hashes();
    let said = said.map(|hashes| files_fingerprint(config, hashes));
    match said {
        Some(files) if !checkpoint.is_whole() => return Ok(Identity::of_files(files)),
        _ => {}
    }
    let is_to_compute = checkpoint.is_sharded() && said.is_none();
    let cache = directory.join(CACHE);
    let stamps = stamps(checkpoint)?;
    let kept = read_cache(&cache, &stamps, &config.canonical());
    if let Some(kept) = kept
        && (kept.files().is_some() || !is_to_compute)
    {
        return Ok(with_files(kept, said));
    }
    let weights = match kept.and_then(|kept| kept.weights()) {
        Some(weights) => weights,
        None => compute(config, checkpoint)?,
    };
    let files = if is_to_compute {
        let hashes = ShardHashes::of_files(checkpoint.paths())?;
        Some(files_fingerprint(config, &hashes))
    } else {
        None
    };
    let entry = Cached {
        files: stamps,
        canonical_config: config.canonical(),
        fingerprint: weights.to_string(),
        files_fingerprint: files.map(|files| files.to_string()),
    };
    // A directory that cannot be written to costs a hash at each start, nothing else.
    if let Ok(text) = serde_json::to_vec(&entry) {
        let fresh = directory.join(format!("{CACHE}.{}", std::process::id()));
        if std::fs::write(&fresh, text).is_ok() && std::fs::rename(&fresh, &cache).is_err() {
            let _ = std::fs::remove_file(&fresh);
        }
    }
    Ok(Identity::whole(weights, said.or(files)))
}

/// The fingerprint of a whole checkpoint's weights: BLAKE3 over each tensor's name, type, shape and
/// bytes in name order, then the architecture's fields. Kept as [`identity`] keeps it.
///
/// # Errors
/// When a file cannot be read, or only a part of the weights is here.
pub fn weights_fingerprint(
    directory: &Path,
    config: &ModelConfig,
    checkpoint: &Checkpoint,
) -> Result<Fingerprint> {
    let identity = identity(directory, config, checkpoint)?;
    identity.weights().ok_or_else(|| ModelError::InPart {
        path: directory.to_owned(),
    })
}

fn with_files(kept: Identity, files: Option<Fingerprint>) -> Identity {
    match kept.weights() {
        Some(weights) => Identity::whole(weights, files.or(kept.files())),
        None => kept,
    }
}

fn files_fingerprint(config: &ModelConfig, hashes: &ShardHashes) -> Fingerprint {
    let mut hasher = blake3::Hasher::new_derive_key("tandem files fingerprint v1");
    for (name, sha256) in hashes.iter() {
        hash_text(&mut hasher, name);
        hasher.update(sha256);
    }
    hash_text(&mut hasher, &config.canonical());
    Fingerprint(*hasher.finalize().as_bytes())
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

fn read_cache(cache: &Path, files: &[(String, u64, u128)], canonical: &str) -> Option<Identity> {
    let cached: Cached = serde_json::from_slice(&std::fs::read(cache).ok()?).ok()?;
    if cached.files != files || cached.canonical_config != canonical {
        return None;
    }
    let read = |hex: &str| {
        let hash = blake3::Hash::from_hex(hex).ok()?;
        Some(Fingerprint(*hash.as_bytes()))
    };
    let files = match cached.files_fingerprint {
        Some(hex) => Some(read(&hex)?),
        None => None,
    };
    Some(Identity::whole(read(&cached.fingerprint)?, files))
}
