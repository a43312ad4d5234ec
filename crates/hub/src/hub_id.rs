//! The name of a model on a hub: `owner/name`, or `owner/name@revision`.

use std::fmt;
use std::str::FromStr;

/// The hub's own limit on an owner's or a model's name.
const MAX_PART: usize = 96;
/// Git hosts refuse longer names of branches.
const MAX_REVISION: usize = 255;
const DEFAULT_REVISION: &str = "main";

/// A model on a hub, at a branch, a tag or a commit.
///
/// Every part can stand in a path or an address as it is: no part has `..`, `--` (the cache writes
/// `/` so), control characters or spaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HubId {
    owner: String,
    name: String,
    revision: Option<String>,
}

/// A text that cannot be the id of a model on a hub.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HubIdError {
    /// There is not exactly one slash between an owner and a name.
    #[error("{0:?} is no hub id: it must be owner/name or owner/name@revision")]
    Shape(String),
    /// The owner or the name has characters or a length that no hub gives out.
    #[error(
        "{text:?} is no hub id: {part:?} must have 1 to {MAX_PART} letters, digits, '-', '_' and '.', \
         begin and end with neither '-' nor '.', have no '--' or '..' and not end in .git"
    )]
    Part {
        /// The whole text.
        text: String,
        /// The part that cannot be.
        part: String,
    },
    /// The revision cannot be the name of a branch, a tag or a commit.
    #[error(
        "{text:?} is no hub id: the revision {revision:?} must have 1 to {MAX_REVISION} letters, digits, \
         '-', '_', '.', '+' and single '/', with no '..' and no part that begins or ends with '.', \
         begins with '-' or ends in .lock"
    )]
    Revision {
        /// The whole text.
        text: String,
        /// What follows the `@`.
        revision: String,
    },
}

impl HubId {
    /// Who the model belongs to.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The model's name, without its owner.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The branch, tag or commit; `main` where none is named.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(DEFAULT_REVISION)
    }

    /// `owner/name`, without the revision.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// The commit, where the revision is one: what it names never changes.
    pub fn pinned_commit(&self) -> Option<&str> {
        self.revision.as_deref().filter(|r| is_commit(r))
    }
}

impl FromStr for HubId {
    type Err = HubIdError;

    fn from_str(text: &str) -> Result<Self, HubIdError> {
        let (repository, revision) = match text.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (text, None),
        };
        let (owner, name) = repository
            .split_once('/')
            .filter(|(_, name)| !name.contains('/'))
            .ok_or_else(|| HubIdError::Shape(text.to_owned()))?;
        if let Some(part) = [owner, name].into_iter().find(|part| !is_part(part)) {
            return Err(HubIdError::Part {
                text: text.to_owned(),
                part: part.to_owned(),
            });
        }
        if let Some(revision) = revision.filter(|r| !is_revision(r)) {
            return Err(HubIdError::Revision {
                text: text.to_owned(),
                revision: revision.to_owned(),
            });
        }
        Ok(Self {
            owner: owner.to_owned(),
            name: name.to_owned(),
            revision: revision.map(str::to_owned),
        })
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)?;
        match &self.revision {
            Some(revision) => write!(f, "@{revision}"),
            None => Ok(()),
        }
    }
}

/// Whether a text is a whole commit hash. Abbreviated ones are looked up like branches.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_part(part: &str) -> bool {
    let edge = |c: char| c == '-' || c == '.';
    (1..=MAX_PART).contains(&part.len())
        && part.bytes().all(is_name_byte)
        && !part.starts_with(edge)
        && !part.ends_with(edge)
        && !part.contains("--")
        && !part.contains("..")
        && !part.ends_with(".git")
}

fn is_revision(revision: &str) -> bool {
    let is_component = |component: &str| {
        !component.is_empty()
            && !component.starts_with(['.', '-'])
            && !component.ends_with('.')
            && !component.ends_with(".lock")
            && !component.contains("..")
    };
    (1..=MAX_REVISION).contains(&revision.len())
        && revision
            .bytes()
            .all(|b| is_name_byte(b) || matches!(b, b'/' | b'+'))
        && revision.split('/').all(is_component)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_is_read_and_written() {
        for text in [
            "meta-llama/Llama-3.2-3B-Instruct",
            "o/n@main",
            "o/n@refs/pr/1",
            "o/n@v1.0+cpu",
            "_o/n_@0123456789abcdef0123456789abcdef01234567",
        ] {
            assert_eq!(text.parse::<HubId>().unwrap().to_string(), text);
        }
        let id: HubId = "o/n".parse().unwrap();
        assert_eq!((id.owner(), id.name(), id.revision()), ("o", "n", "main"));
        assert_eq!(id.pinned_commit(), None);
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let id: HubId = format!("o/n@{commit}").parse().unwrap();
        assert_eq!(id.pinned_commit(), Some(commit));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let long = format!("o/{}", "n".repeat(97));
        for text in [
            "",
            "n",
            "/n",
            "o/",
            "o//n",
            "a/b/c",
            "/models/m",
            "./m",
            "../m",
            "o/..",
            "o/.n",
            "o/n-",
            "o/a--b",
            "o/n.git",
            "o/n m",
            "o/n\0",
            "o/é",
            "o\\n",
            "~/m",
            &long,
            "o/n@",
            "o/n@a..b",
            "o/n@/a",
            "o/n@a/",
            "o/n@a//b",
            "o/n@../a",
            "o/n@.a",
            "o/n@-a",
            "o/n@a b",
            "o/n@a@b",
            "o/n@a.lock",
            "o/n@a:b",
        ] {
            assert!(text.parse::<HubId>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_comes_back(text in "[a-zA-Z0-9._/@-]{0,40}") {
            if let Ok(id) = text.parse::<HubId>() {
                prop_assert_eq!(id.to_string(), text);
                prop_assert!(!id.repository().contains(".."));
            }
        }
    }
}
