//! Copies of a model with something changed: a fine-tune, another tokenizer, a broken weight.

use anyhow::{Context as _, Result};
use std::path::Path;
use tempfile::TempDir;

/// A copy of a model directory, gone when dropped.
#[derive(Debug)]
pub struct AlteredModel(TempDir);

impl AlteredModel {
    /// An exact copy.
    pub fn copy(model: &Path) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        for entry in std::fs::read_dir(model)? {
            let entry = entry?;
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if entry.file_type()?.is_file() && !hidden {
                std::fs::copy(entry.path(), directory.path().join(entry.file_name()))?;
            }
        }
        Ok(Self(directory))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Overwrites f32 values of a tensor in `model.safetensors`, from the value at `from` on.
    pub fn set_values(&self, tensor: &str, from: usize, values: &[f32]) -> Result<()> {
        let path = self.path().join("model.safetensors");
        let mut bytes = std::fs::read(&path)?;
        let length = u64::from_le_bytes(bytes[..8].try_into()?) as usize;
        let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length])?;
        let start = header[tensor]["data_offsets"][0]
            .as_u64()
            .with_context(|| format!("no tensor {tensor}"))? as usize;
        let at = 8 + length + start + 4 * from;
        for (i, value) in values.iter().enumerate() {
            bytes[at + 4 * i..at + 4 * i + 4].copy_from_slice(&value.to_le_bytes());
        }
        std::fs::write(&path, bytes)?;
        Ok(())
    }

    /// Replaces text in one of its files.
    pub fn replace(&self, file: &str, from: &str, to: &str) -> Result<()> {
        let path = self.path().join(file);
        let text = std::fs::read_to_string(&path)?;
        anyhow::ensure!(text.contains(from), "{file} does not contain {from:?}");
        std::fs::write(&path, text.replacen(from, to, 1))?;
        Ok(())
    }
}
