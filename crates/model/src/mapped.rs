//! Memory-mapped pieces of checkpoint files: the only unsafe code of this crate.

#![allow(unsafe_code)]

use crate::error::{ModelError, Result};
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
        // the mapped inode does not change.
        let map = unsafe { MmapOptions::new().offset(offset).len(length).map(file) };
        map.map(Self).map_err(|source| ModelError::Read {
            path: path.to_owned(),
            source,
        })
    }
}

impl std::ops::Deref for MappedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
