//! The bytes that each token stands for, which is what a text of a given form is made of.
//!
//! A vocabulary spells tokens its own way: byte-level ones write each byte as a character, others write a space as `▁` and
//! single bytes as `<0x0A>`. The tokenizer's decoder undoes that, over a whole text; here it is undone token by token.

use serde_json::Value;
use std::collections::HashMap;

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenText {
    /// So many bytes of text. They need not be whole characters.
    Bytes(Vec<u8>),
    /// No text: a special token of this name.
    Special(String),
}

/// How a vocabulary spells bytes.
#[derive(Debug)]
pub(crate) enum Spelling {
    /// Each byte is a character.
    Bytes(HashMap<char, u8>),
    /// Text, with another character for the space, and maybe names for single bytes.
    Text { space: String, has_bytes: bool },
}

impl Spelling {
    /// As the decoder of a tokenizer undoes it; `None` for one that does more than that.
    pub(crate) fn of_decoder(decoder: &Value) -> Option<Self> {
        let steps = match decoder["decoders"].as_array() {
            Some(steps) => steps.iter().collect(),
            None => vec![decoder],
        };
        let mut space = None;
        let mut has_bytes = false;
        for step in steps {
            match step["type"].as_str()? {
                "ByteLevel" => return Some(Self::Bytes(byte_characters())),
                "ByteFallback" => has_bytes = true,
                // Of a text's first space only, or of the way to there.
                "Fuse" | "Strip" => {}
                "Metaspace" => space = step["replacement"].as_str(),
                "Replace" if step["content"] == " " => space = step["pattern"]["String"].as_str(),
                _ => return None,
            }
        }
        let space = space?.to_owned();
        Some(Self::Text { space, has_bytes })
    }

    /// The bytes of a token of the vocabulary; `None` where it is not spelled this way.
    pub(crate) fn bytes(&self, token: &str) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(characters) => token
                .chars()
                .map(|character| characters.get(&character).copied())
                .collect(),
            Self::Text { space, has_bytes } => {
                let byte = named_byte(token).filter(|_| *has_bytes);
                Some(match byte {
                    Some(byte) => vec![byte],
                    None => token.replace(space.as_str(), " ").into_bytes(),
                })
            }
        }
    }
}

/// The byte of a token `<0x0A>`.
fn named_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2)
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}

/// What byte-level vocabularies write for each byte, as GPT-2's did first: itself where it can be seen, and the others in
/// their order from U+0100 on.
fn byte_characters() -> HashMap<char, u8> {
    let is_seen = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut others = (0x100..).filter_map(char::from_u32);
    (0..=u8::MAX)
        .filter_map(|byte| {
            let character = if is_seen(byte) {
                Some(char::from(byte))
            } else {
                others.next()
            };
            Some((character?, byte))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn byte_level_vocabularies_have_a_character_for_each_byte() {
        let spelling = Spelling::of_decoder(&json!({"type": "ByteLevel"})).unwrap();
        assert_eq!(spelling.bytes("Ġhello").unwrap(), b" hello");
        assert_eq!(spelling.bytes("Ċ").unwrap(), b"\n");
        assert_eq!(spelling.bytes("Ã©").unwrap(), "é".as_bytes());
        // A character that none of them has.
        assert_eq!(spelling.bytes("漢"), None);
        let Spelling::Bytes(characters) = spelling else {
            panic!("each byte is a character");
        };
        assert_eq!(characters.len(), 256);
    }

    #[test]
    fn others_have_a_character_for_the_space_and_names_for_bytes() {
        let llama = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]});
        let spelling = Spelling::of_decoder(&llama).unwrap();
        assert_eq!(spelling.bytes("▁the").unwrap(), b" the");
        assert_eq!(spelling.bytes("<0xE2>").unwrap(), [0xE2]);
        assert_eq!(spelling.bytes("<0xE2").unwrap(), b"<0xE2");
        let metaspace = json!({"type": "Metaspace", "replacement": "▁"});
        let spelling = Spelling::of_decoder(&metaspace).unwrap();
        assert_eq!(spelling.bytes("<0xE2>").unwrap(), b"<0xE2>");
    }

    #[test]
    fn a_decoder_that_does_more_is_not_undone() {
        for decoder in [
            Value::Null,
            json!({"type": "WordPiece", "prefix": "##"}),
            json!({"type": "Sequence", "decoders": [{"type": "Fuse"}]}),
            json!({"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"Regex": "x"}, "content": "y"},
            ]}),
        ] {
            assert!(Spelling::of_decoder(&decoder).is_none(), "{decoder}");
        }
    }
}
