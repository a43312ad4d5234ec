//! What can be wrong with a model's description, with the values a person needs to mend it.

use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `config.json` does not say what it must, or not in a form we know.
    #[error("{path}: {key}: {problem}")]
    Config {
        /// The file.
        path: PathBuf,
        /// The key concerned.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// `config.json` asks for something that Tandem does not do.
    #[error("{path}: {key} = {value} is not supported{hint}")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The key concerned.
        key: String,
        /// Its value.
        value: String,
        /// What is supported instead, starting with a separator, or nothing.
        hint: String,
    },
    /// A layer range that the model does not have.
    #[error("layers {start}..{end} are not a range within the model's {layers}")]
    LayerRange {
        /// First layer.
        start: usize,
        /// One past the last layer.
        end: usize,
        /// Layers of the model.
        layers: usize,
    },
    /// A weight scheme names what a part of the model does not hold.
    #[error("{scheme} names {part}, and this segment holds layers {start}..{end}")]
    SchemePart {
        /// The scheme.
        scheme: String,
        /// What it names.
        part: String,
        /// First layer.
        start: usize,
        /// One past the last layer.
        end: usize,
    },
}

/// A result of this crate.
pub type Result<T, E = ShapeError> = std::result::Result<T, E>;
