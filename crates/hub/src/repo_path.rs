//! The path of a file in a repository, as a hub gives it.

use crate::error::HubError;
use serde::{Deserialize, Serialize};
use std::fmt;

/// File systems allow no longer names.
const MAX_COMPONENT: usize = 255;
const MAX_PATH: usize = 1024;

/// A relative path with `/` that stays inside the folder it is joined to.
///
/// A hub's answer decides where files are written; a name that leads elsewhere is refused here, once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct RepoPath(String);

impl RepoPath {
    pub(crate) fn new(path: &str) -> Result<Self, HubError> {
        let is_component = |component: &str| {
            !matches!(component, "" | "." | "..")
                && component.len() <= MAX_COMPONENT
                && !component.chars().any(|c| {
                    // Drives and separators on Windows only; elsewhere real repositories have them in
                    // names that were uploaded from there.
                    c.is_control() || (cfg!(windows) && matches!(c, '\\' | ':'))
                })
        };
        if path.len() <= MAX_PATH && path.split('/').all(is_component) {
            Ok(Self(path.to_owned()))
        } else {
            Err(HubError::UnsafeName {
                name: path.chars().take(MAX_COMPONENT).collect(),
            })
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// How many folders the file lies in.
    pub(crate) fn depth(&self) -> usize {
        self.0.matches('/').count()
    }
}

impl TryFrom<String> for RepoPath {
    type Error = HubError;

    fn try_from(path: String) -> Result<Self, HubError> {
        Self::new(&path)
    }
}

impl From<RepoPath> for String {
    fn from(path: RepoPath) -> Self {
        path.0
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_elsewhere_is_refused() {
        for path in [
            "",
            "/etc/passwd",
            "../a",
            "a/../b",
            "a/..",
            "./a",
            "a//b",
            "a/",
            "a\0b",
            "a\nb",
        ] {
            assert!(RepoPath::new(path).is_err(), "{path:?}");
        }
        assert!(RepoPath::new(&"a".repeat(256)).is_err());
        for path in [
            "config.json",
            "codec/cut-001.profile",
            ".gitattributes",
            "a..b",
        ] {
            assert_eq!(RepoPath::new(path).unwrap().as_str(), path);
        }
        assert_eq!(RepoPath::new("codec/a").unwrap().depth(), 1);
    }
}
