//! Why a file cannot be imported, with what a person needs to know to mend it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why an import did not happen. Nothing is left behind when one is returned.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// There is no regular file at the path.
    #[error("{}: no such file", path.display())]
    NoSuchFile {
        /// The file that was to be imported.
        path: PathBuf,
    },
    /// The container breaks its own format or says more than the file holds.
    #[error("{}: not a whole GGUF file (truncated or damaged?): {detail}", path.display())]
    Damaged {
        /// The file that was to be imported.
        path: PathBuf,
        /// What is wrong, and where.
        detail: String,
    },
    /// The file was written for machines of the other byte order.
    #[error("{}: byte order differs from this machine's; convert it with gguf's gguf_convert_endian", path.display())]
    ByteOrder {
        /// The file that was to be imported.
        path: PathBuf,
    },
    /// The directory to make is there already.
    #[error("{}: exists already; remove it first or name another directory", out.display())]
    Exists {
        /// The directory that was to be made.
        out: PathBuf,
    },
    /// A metadata key that the import cannot do without is missing.
    #[error("{}: the metadata has no {key}{consequence}", path.display())]
    MissingKey {
        /// The file that was to be imported.
        path: PathBuf,
        /// The key's full name.
        key: String,
        /// What follows from that, empty where it is plain.
        consequence: &'static str,
    },
    /// A metadata value is of another kind than its key calls for.
    #[error("{}: {key} is {found}, expected {expected}", path.display())]
    WrongKind {
        /// The file that was to be imported.
        path: PathBuf,
        /// The key's full name.
        key: String,
        /// The value, shortened where it is a list.
        found: String,
        /// The kind that was expected.
        expected: &'static str,
    },
    /// The file asks for something that the Hugging Face form, or Tandem, cannot express.
    #[error("{0}")]
    Unsupported(String),
    /// A tensor that the model needs is not in the file.
    #[error("{}: tensor {name} is missing{}", path.display(), ExpectedShape(shape.as_deref()))]
    MissingTensor {
        /// The file that was to be imported.
        path: PathBuf,
        /// The tensor's name in GGUF.
        name: String,
        /// The shape it would have had, outermost dimension first, where that is known.
        shape: Option<Vec<i128>>,
    },
    /// A tensor's shape contradicts the metadata.
    #[error("tensor {name}: expected shape {expected:?}, found {found:?}")]
    Misshapen {
        /// The tensor's name in GGUF.
        name: String,
        /// The shape that follows from the metadata, outermost dimension first.
        expected: Vec<i128>,
        /// The shape in the file.
        found: Vec<i128>,
    },
    /// A tensor that the architecture has no use for: leaving it out could change what the model says.
    #[error("{}: tensor {name} has no place in {class}", path.display())]
    NoPlace {
        /// The file that was to be imported.
        path: PathBuf,
        /// The tensor's name in GGUF.
        name: String,
        /// The class that the file was taken for.
        class: &'static str,
    },
    /// A tensor is stored in a type that has no rule for turning it into numbers.
    #[error("tensor {name}: type {kind} cannot be dequantised")]
    TensorType {
        /// The tensor's name in GGUF.
        name: String,
        /// The type's name in GGUF.
        kind: &'static str,
    },
    /// A weight is infinite or not a number.
    #[error("tensor {name}: holds values that are not finite")]
    NotFinite {
        /// The tensor's name in GGUF.
        name: String,
    },
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The caller's progress function asked to stop.
    #[error("interrupted; nothing was left behind")]
    Interrupted,
}

impl GgufError {
    /// Names the file an operation of the system failed on; for `map_err`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}

/// An error for what cannot be carried over.
pub(crate) fn refuse<T>(message: String) -> Result<T, GgufError> {
    Err(GgufError::Unsupported(message))
}

/// Ends the message of a missing tensor.
struct ExpectedShape<'a>(Option<&'a [i128]>);

impl fmt::Display for ExpectedShape<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(shape) => write!(out, ", expected shape {shape:?}"),
            None => Ok(()),
        }
    }
}
