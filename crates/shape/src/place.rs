//! Where a part of a model computes, and by whose loops.

use crate::device::DeviceName;
use std::fmt;
use std::str::FromStr;

/// Who does what a layer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackendName {
    /// Tandem's own loops wherever they can, and libtorch where they cannot: for bf16 and CUDA.
    #[default]
    Auto,
    /// Tandem's own loops only.
    Plain,
    /// libtorch only.
    Torch,
}

/// Where a part of a model computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// By whose loops.
    pub backend: BackendName,
    /// On which device.
    pub device: DeviceName,
}

impl BackendName {
    /// Every name, for help texts.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Plain, Self::Torch];
}

impl From<DeviceName> for Place {
    fn from(device: DeviceName) -> Self {
        Self {
            device,
            ..Self::default()
        }
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Plain => "plain",
            Self::Torch => "torch",
        })
    }
}

/// A name that is no [`BackendName`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a backend; auto, plain and torch are")]
pub struct UnknownBackend(String);

impl FromStr for BackendName {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|backend| backend.to_string() == name)
            .ok_or_else(|| UnknownBackend(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_read_as_it_is_written() {
        for backend in BackendName::ALL {
            assert_eq!(backend.to_string().parse::<BackendName>().unwrap(), backend);
        }
        for text in ["", "Plain", "libtorch", "cuda"] {
            let message = text.parse::<BackendName>().unwrap_err().to_string();
            assert!(message.contains(&format!("{text:?}")), "{message}");
        }
    }
}
