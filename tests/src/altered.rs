//! Copies of a model with something changed: a fine-tune, another tokenizer, a broken weight.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

/// Files of so many bytes and more are weights.
const LARGE: u64 = 16 << 20;

/// A copy of a model directory, gone when dropped.
#[derive(Debug)]
pub struct AlteredModel(TempDir);

impl AlteredModel {
    /// An exact copy, that of large files by links: those are replaced and never written to.
    pub fn copy(model: &Path) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        for entry in std::fs::read_dir(model)? {
            let entry = entry?;
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if !entry.file_type()?.is_file() || hidden {
                continue;
            }
            let (from, to) = (entry.path(), directory.path().join(entry.file_name()));
            if entry.metadata()?.len() < LARGE || std::fs::hard_link(&from, &to).is_err() {
                std::fs::copy(from, to)?;
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
        std::fs::remove_file(&path)?;
        std::fs::write(&path, bytes)?;
        Ok(())
    }

    /// Turns `model.safetensors` into two shards and their index: the tensors of which `is_second` is
    /// true lie in the second. Returns the shards' names.
    pub fn cut_into_shards(&self, is_second: impl Fn(&str) -> bool) -> Result<[String; 2]> {
        let single = self.path().join("model.safetensors");
        let bytes = std::fs::read(&single)?;
        let length = u64::from_le_bytes(bytes[..8].try_into()?) as usize;
        let header: BTreeMap<String, Value> = serde_json::from_slice(&bytes[8..8 + length])?;
        let data = &bytes[8 + length..];
        let shards = [1, 2].map(|number| format!("model-0000{number}-of-00002.safetensors"));
        let mut of = BTreeMap::new();
        for (second, shard) in [false, true].into_iter().zip(&shards) {
            let (mut own, mut values) = (BTreeMap::new(), Vec::new());
            for (name, info) in &header {
                if name == "__metadata__" || is_second(name) != second {
                    continue;
                }
                let offset = |at: usize| info["data_offsets"][at].as_u64().context("an offset");
                let start = values.len();
                values.extend(&data[offset(0)? as usize..offset(1)? as usize]);
                let mut info = info.clone();
                info["data_offsets"] = json!([start, values.len()]);
                own.insert(name, info);
                of.insert(name, shard);
            }
            let own = serde_json::to_vec(&own)?;
            let file = [&(own.len() as u64).to_le_bytes(), &own[..], &values[..]].concat();
            std::fs::write(self.path().join(shard), file)?;
        }
        let index = json!({ "metadata": {}, "weight_map": of });
        let path = self.path().join("model.safetensors.index.json");
        std::fs::write(path, index.to_string())?;
        std::fs::remove_file(single)?;
        Ok(shards)
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
