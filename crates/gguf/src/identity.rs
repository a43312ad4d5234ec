//! What tells one GGUF file from another without reading all of it.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::Dtype;
use crate::container::Container;
use crate::error::GgufError;

/// Raised whenever an import of the same file would come out differently: older directories are made anew.
const IMPORTER_REVISION: u32 = 1;
/// Bytes that are looked at in each tensor: a page.
const SAMPLE: u64 = 4096;

/// What a directory was made from, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The source's size in bytes.
    size: u64,
    /// When the source was last changed, in nanoseconds since 1970.
    modified: i128,
    dtype: Dtype,
    /// BLAKE3 over the header and the first page of every tensor.
    ///
    /// Size and time alone would do for a file that is edited in place. They do not for files that lie in
    /// images and package stores, where every time is the same and two fine-tunes of one model have the
    /// same size. Training changes a tensor's first page wherever it changes the tensor, and reading a
    /// page of each costs milliseconds whatever the file's size.
    sample: blake3::Hash,
}

impl Identity {
    /// Reads the header's bytes and a sample of the tensors.
    pub(crate) fn of(container: &Container, dtype: Dtype) -> Result<Self, GgufError> {
        let path = container.metadata.path();
        let stat: fs::Metadata = container.file.metadata().map_err(GgufError::io(path))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(container.metadata.header());
        let mut page = Vec::new();
        for tensor in container.tensors.values() {
            page.resize(tensor.bytes.min(SAMPLE) as usize, 0);
            container
                .file
                .read_exact_at(&mut page, tensor.offset)
                .map_err(GgufError::io(path))?;
            hasher.update(&page);
        }
        let modified = i128::from(stat.mtime()) * 1_000_000_000 + i128::from(stat.mtime_nsec());
        Ok(Self {
            size: stat.len(),
            modified,
            dtype,
            sample: hasher.finalize(),
        })
    }

    /// The text that a directory keeps to say what it was made from; equal exactly for equal identities.
    pub(crate) fn record(&self) -> String {
        let Self {
            size,
            modified,
            dtype,
            sample,
        } = self;
        let dtype = match dtype {
            Dtype::F32 => "f32",
            Dtype::Bf16 => "bf16",
        };
        format!(
            "{{\n  \"importer_revision\": {IMPORTER_REVISION},\n  \"dtype\": \"{dtype}\",\n  \
             \"source_bytes\": {size},\n  \"source_modified_ns\": {modified},\n  \"source_sample\": \"{sample}\"\n}}\n"
        )
    }

    /// A name for the directory: 32 hexadecimal digits.
    pub(crate) fn name(&self) -> String {
        let hash = blake3::hash(self.record().as_bytes()).to_hex();
        hash.chars().take(32).collect()
    }
}
