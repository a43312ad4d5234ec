//! What names a file's content: the hash that Git or Git LFS keeps it under.

use crate::error::HubError;
use ring::digest;
use serde::{Deserialize, Serialize};

/// Longer tags are no hash of anything.
const MAX_TAG: usize = 128;

/// The hash of a file's content, as the hub gives it; also the name of the content in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Tagged", into = "Tagged")]
pub(crate) enum ContentHash {
    /// Git LFS: SHA-256 of the bytes, 64 hexadecimal digits.
    Sha256(String),
    /// Git: SHA-1 of `blob <length>\0` and the bytes, 40 hexadecimal digits.
    GitBlob(String),
    /// A tag of whose making nothing is known: some mirrors give no better. It names, but cannot
    /// verify.
    Opaque(String),
}

impl ContentHash {
    pub(crate) fn sha256(hex: &str) -> Option<Self> {
        is_hex(hex, 64).then(|| Self::Sha256(hex.to_ascii_lowercase()))
    }

    pub(crate) fn git_blob(hex: &str) -> Option<Self> {
        is_hex(hex, 40).then(|| Self::GitBlob(hex.to_ascii_lowercase()))
    }

    /// A tag that can be a file's name on any system.
    pub(crate) fn opaque(tag: &str) -> Option<Self> {
        let is_name = (1..=MAX_TAG).contains(&tag.len())
            && tag
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        is_name.then(|| Self::Opaque(tag.to_owned()))
    }

    /// The content's name in the cache, where other tools look for it too.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Sha256(text) | Self::GitBlob(text) | Self::Opaque(text) => text,
        }
    }

    /// Starts to hash a content of `size` bytes.
    pub(crate) fn hasher(&self, size: u64) -> Hasher {
        let context = match self {
            Self::Sha256(_) => Some(digest::Context::new(&digest::SHA256)),
            Self::GitBlob(_) => {
                // Git's own choice; it tells damage, and forgery only as well as Git does.
                let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {size}\0").as_bytes());
                Some(context)
            }
            Self::Opaque(_) => None,
        };
        Hasher(context)
    }
}

/// A content's hash in the making.
pub(crate) struct Hasher(Option<digest::Context>);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Some(context) = &mut self.0 {
            context.update(bytes);
        }
    }

    /// Compares all that was hashed with what was promised.
    pub(crate) fn verify(self, expected: &ContentHash, file: &str) -> Result<(), HubError> {
        let Some(context) = self.0 else {
            return Ok(());
        };
        let found = to_hex(context.finish().as_ref());
        if found == expected.as_str() {
            Ok(())
        } else {
            Err(HubError::HashMismatch {
                file: file.to_owned(),
                expected: expected.as_str().to_owned(),
                found,
            })
        }
    }
}

/// How a hash is kept in a saved listing.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Tagged {
    Sha256(String),
    GitBlob(String),
    Opaque(String),
}

impl TryFrom<Tagged> for ContentHash {
    type Error = &'static str;

    fn try_from(tagged: Tagged) -> Result<Self, Self::Error> {
        match &tagged {
            Tagged::Sha256(hex) => Self::sha256(hex),
            Tagged::GitBlob(hex) => Self::git_blob(hex),
            Tagged::Opaque(tag) => Self::opaque(tag),
        }
        .ok_or("is no hash")
    }
}

impl From<ContentHash> for Tagged {
    fn from(hash: ContentHash) -> Self {
        match hash {
            ContentHash::Sha256(hex) => Self::Sha256(hex),
            ContentHash::GitBlob(hex) => Self::GitBlob(hex),
            ContentHash::Opaque(tag) => Self::Opaque(tag),
        }
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_compared_with_gits_and_lfs_hashes() {
        // `printf 'hello\n' | git hash-object --stdin` and `| sha256sum`.
        let git = ContentHash::git_blob("ce013625030ba8dba906f756967f9e9ca394464a").unwrap();
        let lfs = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        for hash in [git, ContentHash::sha256(lfs).unwrap()] {
            let mut hasher = hash.hasher(6);
            hasher.update(b"hel");
            hasher.update(b"lo\n");
            hasher.verify(&hash, "f").unwrap();
            let mut hasher = hash.hasher(6);
            hasher.update(b"hello!");
            let error = hasher.verify(&hash, "f").unwrap_err();
            assert!(matches!(error, HubError::HashMismatch { .. }));
        }
    }

    #[test]
    fn a_tag_that_is_no_file_name_is_refused() {
        for tag in ["", "..", "../x", "a/b", "a b", ".x", "x.incomplete"] {
            assert_eq!(ContentHash::opaque(tag), None, "{tag:?}");
        }
        assert!(ContentHash::opaque("abc-123").is_some());
    }
}
