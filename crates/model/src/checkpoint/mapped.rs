//! Memory-mapped pieces of checkpoint files.

#![allow(unsafe_code)]

use crate::error::{ModelError, Result};
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use memmap2::{Mmap, MmapOptions};
use std::fs::File;
use std::path::Path;

/// Read-only bytes of a file, unmapped on drop.
#[derive(Debug)]
pub(crate) struct MappedBytes(Mmap);

impl MappedBytes {
    /// Maps `length` bytes from `offset`. The caller has checked that the file reaches that far.
    pub(crate) fn new(file: &File, path: &Path, offset: u64, length: usize) -> Result<Self> {
        // SAFETY: reading a mapping is undefined behaviour if the file shrinks or is written to
        // meanwhile. Checkpoints are replaced by rename, never in place (docs/operations.md), so
        // the mapped inode does not change. Where it does all the same, the servers end (`ModelFile::check`).
        let map = unsafe { MmapOptions::new().offset(offset).len(length).map(file) };
        map.map(Self).map_err(|source| ModelError::Read {
            path: path.to_owned(),
            source,
        })
    }

    /// Takes what was read so far out of this process's memory; reading it again maps it again.
    pub(crate) fn release(&self) {
        // SAFETY: the mapping is of a file and never written to, so that the pages that come back
        // are the ones that went. A refusal costs memory and nothing else.
        #[cfg(unix)]
        let _ = unsafe { self.0.unchecked_advise(UncheckedAdvice::DontNeed) };
    }
}

impl std::ops::Deref for MappedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
