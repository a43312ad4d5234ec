//! Where a value stands in the tree: `limits.max_sessions`, `models[2].name`.

use std::fmt;

/// The way from the root of the tree to a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldPath(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Key(String),
    Index(usize),
}

impl Segment {
    /// The key, unless this is an item of a list.
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Self::Key(key) => Some(key),
            Self::Index(_) => None,
        }
    }
}

impl FieldPath {
    /// The path that a dotted key spells. A dot cannot be part of a key.
    pub fn dotted(key: &str) -> Self {
        Self(
            key.split('.')
                .map(|key| Segment::Key(key.to_owned()))
                .collect(),
        )
    }

    /// Whether this is the tree itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.0
    }

    pub(super) fn push_key(&mut self, key: &str) {
        self.0.push(Segment::Key(key.to_owned()));
    }

    pub(super) fn push_index(&mut self, index: usize) {
        self.0.push(Segment::Index(index));
    }

    pub(super) fn pop(&mut self) {
        self.0.pop();
    }
}

impl From<&serde_path_to_error::Path> for FieldPath {
    /// Ends at the first segment that YAML has no name for.
    fn from(path: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment as Tracked;
        let named = path.iter().map_while(|segment| match segment {
            Tracked::Map { key } => Some(Segment::Key(key.clone())),
            Tracked::Seq { index } => Some(Segment::Index(*index)),
            Tracked::Enum { .. } | Tracked::Unknown => None,
        });
        Self(named.collect())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if depth == 0 => write!(f, "{key}")?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
