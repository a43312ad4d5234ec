//! Metadata under the architecture's own prefix: `llama.block_count` and its like.

use crate::error::{GgufError, refuse};
use crate::metadata::Metadata;
use crate::python_json::decimal;

/// The keys of one file's architecture.
pub(crate) struct OwnKeys<'a> {
    pub(crate) metadata: &'a Metadata,
    pub(crate) name: &'a str,
}

impl<'a> OwnKeys<'a> {
    /// Reads which architecture the file has.
    pub(crate) fn of(metadata: &'a Metadata) -> Result<Self, GgufError> {
        const KEY: &str = "general.architecture";
        let name = metadata.text(KEY)?.ok_or_else(|| metadata.missing(KEY))?;
        Ok(Self { metadata, name })
    }

    /// The full name of a key.
    pub(crate) fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    pub(crate) fn int(&self, key: &str) -> Result<Option<i128>, GgufError> {
        self.metadata.int(&self.key(key))
    }

    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>, GgufError> {
        self.metadata.float(&self.key(key))
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, GgufError> {
        self.metadata.text(&self.key(key))
    }

    pub(crate) fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, GgufError> {
        value.ok_or_else(|| self.metadata.missing(&self.key(key)))
    }

    /// A number that GGUF may also store as a list with one entry a layer.
    pub(crate) fn same_in_every_layer(&self, key: &str) -> Result<Option<i128>, GgufError> {
        let full = self.key(key);
        if !self.metadata.is_list(&full) {
            return self.metadata.int(&full);
        }
        let numbers = self.metadata.ints(&full)?.unwrap_or_default();
        match numbers.first() {
            Some(first) if numbers.iter().all(|number| number == first) => Ok(Some(*first)),
            _ => Err(GgufError::Unsupported(format!(
                "{full} differs from layer to layer: not supported"
            ))),
        }
    }
}

/// A setting as its shortest decimal, which is the one that the model's authors wrote.
pub(crate) fn finite(own: &OwnKeys<'_>, key: &str, value: f64) -> Result<f64, GgufError> {
    let value = decimal(value);
    if value.is_finite() {
        Ok(value)
    } else {
        refuse(format!("{} is {value}: not supported", own.key(key)))
    }
}
