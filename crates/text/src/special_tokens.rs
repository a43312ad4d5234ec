//! The tokens that a model names by their part in a conversation. Their texts
//! are variables of the chat template; their ids begin and end a sequence.

use std::path::Path;

use serde_json::Value;

use crate::error::Result;
use crate::model_files::{bad_field, read_json};

/// `tokenizer_config.json` is the file transformers believes; `special_tokens_map.json`
/// is older and fills in only what the first does not mention.
const FILES: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];

/// The texts of the named special tokens; `None` where the model has no such token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begins a sequence.
    pub bos: Option<String>,
    /// Ends an answer.
    pub eos: Option<String>,
    /// Fills a batch; never generated, but some templates print it.
    pub pad: Option<String>,
    /// Stands for what the vocabulary cannot spell.
    pub unk: Option<String>,
}

impl SpecialTokens {
    /// Reads the names from a Hugging Face model directory. A directory that has
    /// neither file has no named special tokens.
    ///
    /// # Errors
    /// A file that cannot be read, is not JSON, or gives a token as anything but
    /// a string, an object with `content`, or null.
    pub fn load(dir: &Path) -> Result<Self> {
        let files = [
            (FILES[0], read_json(dir, FILES[0])?),
            (FILES[1], read_json(dir, FILES[1])?),
        ];
        let named = |field: &'static str| -> Result<Option<String>> {
            for (name, json) in &files {
                // An explicit null says "this model has none" and ends the search.
                if let Some(value) = json.get(field) {
                    return token_text(value).map_err(|()| {
                        let expected = "a string, or an object with a string `content`";
                        bad_field(dir, name, field, expected, value)
                    });
                }
            }
            Ok(None)
        };
        Ok(Self {
            bos: named("bos_token")?,
            eos: named("eos_token")?,
            pad: named("pad_token")?,
            unk: named("unk_token")?,
        })
    }

    /// The tokens the model has, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let all = [&self.bos, &self.eos, &self.pad, &self.unk];
        all.into_iter().filter_map(|token| token.as_deref())
    }
}

/// A token is written as its text or as a serialised `AddedToken`.
fn token_text(value: &Value) -> std::result::Result<Option<String>, ()> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Object(token) => match token.get("content") {
            Some(Value::String(text)) => Ok(Some(text.clone())),
            _ => Err(()),
        },
        _ => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TextError;

    fn load(config: &str, map: Option<&str>) -> Result<SpecialTokens> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILES[0]), config).unwrap();
        if let Some(map) = map {
            std::fs::write(dir.path().join(FILES[1]), map).unwrap();
        }
        SpecialTokens::load(dir.path())
    }

    #[test]
    fn a_token_is_a_string_or_an_object_with_content() {
        let tokens = load(
            r#"{"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null}"#,
            None,
        )
        .unwrap();
        assert_eq!(tokens.bos.as_deref(), Some("<s>"));
        assert_eq!(tokens.eos.as_deref(), Some("</s>"));
        assert_eq!(tokens.pad, None);
        assert_eq!(tokens.iter().collect::<Vec<_>>(), ["<s>", "</s>"]);
    }

    #[test]
    fn the_map_fills_in_only_what_the_config_does_not_mention() {
        let tokens = load(
            r#"{"bos_token": null}"#,
            Some(r#"{"bos_token": "<s>", "unk_token": "<unk>"}"#),
        )
        .unwrap();
        assert_eq!(tokens.bos, None);
        assert_eq!(tokens.unk.as_deref(), Some("<unk>"));
    }

    #[test]
    fn another_type_is_named_with_its_file() {
        let error = load(r#"{"eos_token": [1]}"#, None).unwrap_err();
        assert!(matches!(
            error,
            TextError::Field {
                field: "eos_token",
                ..
            }
        ));
        assert!(error.to_string().contains("tokenizer_config.json"));
    }
}
