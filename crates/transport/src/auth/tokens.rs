//! The file of tokens that a server takes.
//!
//! One `name: token` a line; empty lines and lines that begin with `#` do not count. A name may have
//! several tokens, all of them good: to change a token, add the new one, give it to the client, and
//! take the old one out.
//!
//! ```text
//! # edges in the field
//! edge-7: 6f1e0c0b9a5d4f7d8c3b2a1908f7e6d5
//! edge-8: 0d9c8b7a6f5e4d3c2b1a09f8e7d6c5b4
//! ```

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use crate::reload::{Material, MaterialError, Reloaded};
use tandem_telemetry::metrics::Metric;

/// The longest name.
const MAX_NAME: usize = 64;
/// Shorter tokens can be guessed; longer ones do not fit into a header.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=512;

/// The section `auth`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSettings {
    /// A file of tokens, one of which every request must carry; empty: none is needed.
    pub tokens: PathBuf,
}

/// The tokens that a server takes, as digests, and whose they are.
pub struct Tokens(Vec<(TokenDigest, Arc<str>)>);

/// A token that cannot be read any more, only compared. Its `Debug` says nothing of it: short tokens could be
/// guessed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenDigest(blake3::Hash);

impl TokenDigest {
    /// Of a token.
    pub(crate) fn of(token: &[u8]) -> Self {
        Self(blake3::hash(token))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest")
    }
}

impl AuthSettings {
    /// Whether requests need a token.
    pub fn is_on(&self) -> bool {
        !self.tokens.as_os_str().is_empty()
    }

    /// The tokens, `None` where none is needed. `reloads` counts by `tokens` and outcome.
    ///
    /// # Errors
    /// The file cannot be read, or a line of it is not as above.
    pub async fn tokens(&self, reloads: Metric) -> Result<Option<Reloaded<Tokens>>, MaterialError> {
        if !self.is_on() {
            return Ok(None);
        }
        let parse = |files: &[Material<'_>]| match files {
            [file] => Tokens::parse(file),
            _ => Err(MaterialError::Refused("a file is missing".to_owned())),
        };
        let tokens = Reloaded::load("tokens", vec![self.tokens.clone()], reloads, parse);
        tokens.await.map(Some)
    }
}

impl Tokens {
    /// Reads the file's contents.
    fn parse(file: &Material<'_>) -> Result<Self, MaterialError> {
        let text = std::str::from_utf8(file.bytes).map_err(|_| file.refused("is not UTF-8"))?;
        let mut tokens: Vec<(TokenDigest, Arc<str>)> = Vec::new();
        let mut lines: HashMap<TokenDigest, usize> = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let refused = |why: &str| file.refused(format!("line {number}: {why}"));
            let (name, token) = line
                .split_once(':')
                .ok_or_else(|| refused("is not `name: token`"))?;
            let (name, token) = (name.trim(), token.trim());
            let named = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(named) {
                return Err(refused(
                    "the name must be 1 to 64 letters, digits, `-`, `_` or `.`",
                ));
            }
            check_token(token).map_err(|why| refused(&why))?;
            let digest = TokenDigest::of(token.as_bytes());
            if let Some(first) = lines.insert(digest, number) {
                return Err(refused(&format!("is the same token as line {first}")));
            }
            tokens.push((digest, name.into()));
        }
        if tokens.is_empty() {
            Err(file.refused("has no token: nobody could use the server"))
        } else {
            Ok(Self(tokens))
        }
    }

    /// Whose token this is. Takes as long whichever token it is, or none: digests are compared, in
    /// constant time, and all of them.
    pub(crate) fn owner_of(&self, digest: &TokenDigest) -> Option<Arc<str>> {
        let mut owner = None;
        for (known, name) in &self.0 {
            // blake3's comparison of hashes takes constant time.
            if known == digest {
                owner = Some(name);
            }
        }
        owner.cloned()
    }
}

/// What a token may be made of: what a header can carry, and enough of it.
pub(super) fn check_token(token: &str) -> Result<(), String> {
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("the token must be printable ASCII without spaces".to_owned());
    }
    if !TOKEN_BYTES.contains(&token.len()) {
        return Err(format!(
            "the token has {} bytes, must have {} to {}",
            token.len(),
            TOKEN_BYTES.start(),
            TOKEN_BYTES.end()
        ));
    }
    Ok(())
}

/// Not even digests: short tokens could be guessed from them.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Result<Tokens, String> {
        let file = Material {
            path: Path::new("tokens"),
            bytes: text.as_bytes(),
        };
        Tokens::parse(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_has_an_owner_and_a_name_may_have_several() {
        let text = "# old and new\n\nedge-7: 0123456789abcdef\n  edge-7:fedcba9876543210  \nb: with:colon0123456789\n";
        let tokens = parse(text).unwrap();
        for (token, owner) in [
            ("0123456789abcdef", Some("edge-7")),
            ("fedcba9876543210", Some("edge-7")),
            ("with:colon0123456789", Some("b")),
            ("0123456789abcdee", None),
            ("0123456789abcde", None),
            ("", None),
        ] {
            let digest = TokenDigest::of(token.as_bytes());
            assert_eq!(tokens.owner_of(&digest).as_deref(), owner, "{token}");
        }
        assert_eq!(format!("{tokens:?}"), "Tokens(3)");
    }

    #[test]
    fn what_is_wrong_names_the_line_and_never_the_token() {
        for (text, why) in [
            ("", "has no token"),
            ("# none\n", "has no token"),
            ("a: 0123456789abcdef\n0123456789abcdee", "line 2: is not"),
            ("a b: 0123456789abcdef", "line 1: the name"),
            (": 0123456789abcdef", "line 1: the name"),
            ("a: 0123456789abcde", "has 15 bytes, must have 16 to 512"),
            ("a: 01234567 89abcdef", "without spaces"),
            (
                "a: 0123456789abcdef\nb: 0123456789abcdef",
                "line 2: is the same token as line 1",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("01234567"), "{error}");
        }
    }
}
