//! How many tokens a text takes at least, told by a glance at its bytes.
//!
//! Tokenising costs some hundred bytes of memory for each byte of text, so a text that cannot fit a
//! context is refused before. A token of n bytes gives each of them the n-th part of itself; a byte
//! never gets less than that part of the longest token that holds its value. So the sum of these least
//! parts over a text is no more than its tokens.

use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

/// Parts that a token is divided into, so that sums are exact.
const PARTS: u64 = 1 << 24;

/// The parts of a token that a byte of each value takes at least.
#[derive(Debug)]
pub(crate) struct TokenBound {
    parts: [u64; 256],
    longest: usize,
}

/// What of a `tokenizer.json` says how text becomes bytes of tokens. The rest, megabytes, is not read.
#[derive(Deserialize)]
struct Shape {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(default)]
    added_tokens: Value,
}

impl TokenBound {
    /// The bound of a `tokenizer.json` with this vocabulary, added tokens included.
    pub(crate) fn new(
        tokenizer_json: &str,
        vocabulary: &HashMap<String, u32>,
    ) -> serde_json::Result<Self> {
        let tokenizer: Shape = serde_json::from_str(tokenizer_json)?;
        Ok(Self::of(&tokenizer, vocabulary))
    }

    fn of(tokenizer: &Shape, vocabulary: &HashMap<String, u32>) -> Self {
        let spelling = Spelling::of(tokenizer);
        let mut longest_with = [0usize; 256];
        let mut longest = 1;
        for token in vocabulary.keys() {
            let bytes = spelling.bytes(token);
            longest = longest.max(bytes.len());
            for &byte in &bytes {
                let slot = &mut longest_with[usize::from(byte)];
                *slot = (*slot).max(bytes.len());
            }
        }
        let normaliser = Normaliser::of(tokenizer);
        let mut parts = [0; 256];
        for (byte, &length) in longest_with.iter().enumerate() {
            // What no token holds may be left out, or be one unknown token however long it is.
            if length > 0 {
                parts[byte] = PARTS / (length as u64 * normaliser.most_shrinking());
            }
        }
        if normaliser == Normaliser::Unknown {
            parts = [0; 256];
        }
        if strips_spaces(tokenizer) {
            (0..=b' ').for_each(|byte| parts[usize::from(byte)] = 0);
        }
        Self { parts, longest }
    }

    /// Tokens that `text` takes at least.
    pub(crate) fn least_tokens(&self, text: &str) -> usize {
        let sum: u64 = text.bytes().map(|b| self.parts[usize::from(b)]).sum();
        usize::try_from(sum / PARTS).unwrap_or(usize::MAX)
    }

    /// Bytes of the longest token.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }
}

/// How a vocabulary spells the bytes of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// A character a byte, as byte-level BPE does.
    ByteLevel,
    /// Text, with `▁` for a space and `<0x0A>` for a byte that is no text by itself.
    Text,
}

impl Spelling {
    fn of(tokenizer: &Shape) -> Self {
        let is_byte_level = |part: &Value| part["type"] == "ByteLevel";
        if any_part(&tokenizer.decoder, "decoders", is_byte_level) {
            Self::ByteLevel
        } else {
            Self::Text
        }
    }

    fn bytes(self, token: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel => match token.chars().map(byte_of).collect() {
                Some(bytes) => bytes,
                // Added tokens are spelt as they are.
                None => token.as_bytes().to_vec(),
            },
            Self::Text => match byte_token(token) {
                Some(byte) => vec![byte],
                None => token.replace('\u{2581}', " ").into_bytes(),
            },
        }
    }
}

/// The byte that byte-level BPE writes as `character`: printable Latin-1 as itself, the others from
/// U+0100 on, in order.
fn byte_of(character: char) -> Option<u8> {
    let is_itself = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(character) {
        code @ 0..=0xff => u8::try_from(code).ok().filter(|&byte| is_itself(byte)),
        code => {
            let place = usize::try_from(code - 0x100).ok()?;
            (0..=0xff).filter(|&byte| !is_itself(byte)).nth(place)
        }
    }
}

fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok()
}

/// What happens to a text before it is cut into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Normaliser {
    /// Nothing that takes bytes away.
    Keeps,
    /// Characters are composed: three of three bytes may become one.
    Composes,
    /// No bound is known.
    Unknown,
}

impl Normaliser {
    fn of(tokenizer: &Shape) -> Self {
        let normaliser = &tokenizer.normalizer;
        let unknown = |part: &Value| {
            let spells_spaces = part["type"] == "Replace"
                && part["pattern"]["String"] == " "
                && part["content"] == "\u{2581}";
            let keeps = matches!(part["type"].as_str(), Some("Prepend" | "NFC"));
            !(keeps || spells_spaces)
        };
        match normaliser {
            Value::Null => Self::Keeps,
            _ if any_part(normaliser, "normalizers", unknown) => Self::Unknown,
            _ if any_part(normaliser, "normalizers", |part| part["type"] == "NFC") => {
                Self::Composes
            }
            _ => Self::Keeps,
        }
    }

    /// How many times fewer bytes a text may have afterwards.
    fn most_shrinking(self) -> u64 {
        match self {
            Self::Keeps | Self::Unknown => 1,
            Self::Composes => 3,
        }
    }
}

/// Whether an added token takes the white space around it, however long.
fn strips_spaces(tokenizer: &Shape) -> bool {
    let strips = |token: &Value| token["lstrip"] == true || token["rstrip"] == true;
    tokenizer
        .added_tokens
        .as_array()
        .is_some_and(|tokens| tokens.iter().any(strips))
}

/// Whether a part of a sequence, or the part that stands alone, is such a one.
fn any_part(part: &Value, key: &str, is: impl Fn(&Value) -> bool) -> bool {
    if part["type"] == "Sequence" {
        part[key]
            .as_array()
            .is_some_and(|parts| parts.iter().any(is))
    } else {
        is(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bound(tokenizer: &Value, vocabulary: &HashMap<String, u32>) -> TokenBound {
        TokenBound::new(&tokenizer.to_string(), vocabulary).unwrap()
    }

    fn vocabulary(tokens: &[&str]) -> HashMap<String, u32> {
        tokens
            .iter()
            .zip(0..)
            .map(|(&token, id)| (token.to_owned(), id))
            .collect()
    }

    #[test]
    fn bytes_that_no_long_token_holds_count_whole() {
        let byte_level = json!({"decoder": {"type": "ByteLevel"}});
        let bound = bound(
            &byte_level,
            &vocabulary(&["1", "2", "a", "aaaa", "Ġ", "ĠĠ"]),
        );
        assert_eq!(bound.longest(), 4);
        assert_eq!(bound.least_tokens("1212"), 4);
        assert_eq!(bound.least_tokens("aaaaaaaa"), 2);
        assert_eq!(bound.least_tokens("      "), 3);
        assert_eq!(bound.least_tokens("zzzz"), 0);
        assert_eq!(bound.least_tokens(""), 0);
    }

    #[test]
    fn nothing_is_claimed_where_text_may_shrink_unboundedly() {
        let tokens = vocabulary(&["a"]);
        let lower = json!({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Strip"}]}});
        assert_eq!(bound(&lower, &tokens).least_tokens("aaa"), 0);
        let composed = json!({"normalizer": {"type": "NFC"}});
        assert_eq!(bound(&composed, &tokens).least_tokens("aaaa"), 1);
        let strips = json!({"added_tokens": [{"content": "<m>", "lstrip": true}]});
        let bound = bound(&strips, &vocabulary(&["a", " "]));
        assert_eq!(bound.least_tokens("aa   "), 2);
    }

    #[test]
    fn spellings_are_read_as_bytes() {
        assert_eq!(Spelling::ByteLevel.bytes("ĠaÃ©"), " aé".as_bytes());
        assert_eq!(Spelling::ByteLevel.bytes("Ċ"), b"\n");
        assert_eq!(Spelling::ByteLevel.bytes("\u{ff5c}"), "\u{ff5c}".as_bytes());
        assert_eq!(Spelling::Text.bytes("\u{2581}a"), b" a");
        assert_eq!(Spelling::Text.bytes("<0x0A>"), b"\n");
    }
}
