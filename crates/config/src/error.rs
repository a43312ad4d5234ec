//! What is wrong with a configuration, and where it was written.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::path::FieldPath;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A layer is not a YAML mapping.
    #[error("{origin}: {message}")]
    Syntax {
        /// The layer.
        origin: Origin,
        /// What the parser says, with its line and column.
        message: String,
    },
    /// A file that stands alone does not fit its type: an unknown key, a missing key or a wrong type.
    #[error("{0}")]
    Shape(Misfit),
    /// Unknown and missing keys, and values of wrong types and out of range; never empty.
    #[error("{}", lines(.0))]
    Invalid(Vec<Misfit>),
}

/// A value that does not fit, and who wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The topmost layer that sets the value.
    pub origin: Origin,
    /// Where the value stands.
    pub path: FieldPath,
    /// What is wrong.
    pub message: String,
}

/// A layer of the configuration, and the place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The defaults that the binary ships.
    Defaults {
        /// Counted from 1.
        line: Option<usize>,
    },
    /// A user's file.
    File {
        /// As it was given.
        path: PathBuf,
        /// Counted from 1.
        line: Option<usize>,
    },
    /// A flag on the command line.
    Flag {
        /// As it is written there: `--listen`.
        name: String,
    },
    /// No layer: the value is missing from all of them.
    Nowhere,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.path.is_root() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, line) = match self {
            Self::Defaults { line } => ("default configuration".to_owned(), *line),
            Self::File { path, line } => (path.display().to_string(), *line),
            Self::Flag { name } => (name.clone(), None),
            Self::Nowhere => ("configuration".to_owned(), None),
        };
        f.write_str(&name)?;
        line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

fn lines(misfits: &[Misfit]) -> String {
    let lines: Vec<String> = misfits.iter().map(Misfit::to_string).collect();
    lines.join("\n")
}
