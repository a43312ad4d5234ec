//! Log probabilities as both calls write them. A token is written as the text it stands for by
//! itself; one that is only a part of a character comes without its bytes.

use super::request::Endpoint;
use serde_json::{Map, Value, json};
use std::fmt;
use std::sync::Arc;
use tandem_proto::v1;

/// Writes the log probabilities of one answer.
pub(super) struct Logprobs {
    /// The text of a token by itself.
    spell: Arc<dyn Fn(u32) -> String + Send + Sync>,
    /// Characters of the answer before the next token.
    offset: usize,
}

impl fmt::Debug for Logprobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logprobs")
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl Logprobs {
    /// `spell` gives the text of a token by itself.
    pub(super) fn new(spell: impl Fn(u32) -> String + Send + Sync + 'static) -> Self {
        Self {
            spell: Arc::new(spell),
            offset: 0,
        }
    }

    /// Those of a piece of text; null where none were asked for.
    pub(super) fn told(&mut self, endpoint: Endpoint, delta: &v1::Delta) -> Value {
        if delta.logprobs.is_empty() {
            return Value::Null;
        }
        match endpoint {
            Endpoint::Chat => self.of_chat(delta),
            Endpoint::Completion => self.of_completion(delta),
        }
    }

    fn of_chat(&self, delta: &v1::Delta) -> Value {
        let content: Vec<Value> = tokens(delta)
            .map(|(id, told)| {
                let mut entry = self.entry(id, told.logprob);
                let top = told.top.iter().map(|t| self.entry(t.token_id, t.logprob));
                entry.insert("top_logprobs".to_owned(), top.map(Value::Object).collect());
                Value::Object(entry)
            })
            .collect();
        json!({"content": content, "refusal": null})
    }

    fn entry(&self, id: u32, logprob: f32) -> Map<String, Value> {
        let token = (self.spell)(id);
        let bytes = if token.contains(char::REPLACEMENT_CHARACTER) {
            Value::Null
        } else {
            json!(token.as_bytes())
        };
        let fields = [
            ("token", Value::String(token)),
            ("logprob", json!(logprob)),
            ("bytes", bytes),
        ];
        fields
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect()
    }

    fn of_completion(&mut self, delta: &v1::Delta) -> Value {
        let (mut texts, mut logprobs, mut tops, mut offsets) = (vec![], vec![], vec![], vec![]);
        for (id, told) in tokens(delta) {
            let text = (self.spell)(id);
            offsets.push(self.offset);
            self.offset += text.chars().count();
            let top = told.top.iter();
            let top: Map<String, Value> = top
                .map(|t| ((self.spell)(t.token_id), json!(t.logprob)))
                .collect();
            texts.push(text);
            logprobs.push(told.logprob);
            tops.push(top);
        }
        json!({
            "tokens": texts,
            "token_logprobs": logprobs,
            "top_logprobs": tops,
            "text_offset": offsets,
        })
    }
}

fn tokens(delta: &v1::Delta) -> impl Iterator<Item = (u32, &v1::TokenLogprobs)> {
    delta.token_ids.iter().copied().zip(&delta.logprobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta() -> v1::Delta {
        let top = |token_id, logprob| v1::TopLogprob { token_id, logprob };
        v1::Delta {
            text: "äb".to_owned(),
            token_ids: vec![1, 2],
            logprobs: vec![
                v1::TokenLogprobs {
                    logprob: -0.5,
                    top: vec![top(1, -0.5), top(3, -2.0)],
                },
                v1::TokenLogprobs {
                    logprob: -0.25,
                    top: Vec::new(),
                },
            ],
            ..v1::Delta::default()
        }
    }

    fn logprobs() -> Logprobs {
        Logprobs::new(|id| ["", "ä", "b", "\u{fffd}"][id as usize].to_owned())
    }

    #[test]
    fn a_chats_have_tokens_with_their_bytes() {
        let content = &logprobs().told(Endpoint::Chat, &delta())["content"];
        let expected = json!([
            {"token": "ä", "logprob": -0.5, "bytes": [195, 164], "top_logprobs": [
                {"token": "ä", "logprob": -0.5, "bytes": [195, 164]},
                {"token": "\u{fffd}", "logprob": -2.0, "bytes": null},
            ]},
            {"token": "b", "logprob": -0.25, "bytes": [98], "top_logprobs": []},
        ]);
        assert_eq!(*content, expected);
    }

    #[test]
    fn a_completions_have_lists_whose_offsets_go_on_from_piece_to_piece() {
        let mut logprobs = logprobs();
        let first = logprobs.told(Endpoint::Completion, &delta());
        assert_eq!(first["tokens"], json!(["ä", "b"]));
        assert_eq!(first["token_logprobs"], json!([-0.5, -0.25]));
        assert_eq!(
            first["top_logprobs"],
            json!([{"ä": -0.5, "\u{fffd}": -2.0}, {}])
        );
        assert_eq!(first["text_offset"], json!([0, 1]));
        let second = logprobs.told(Endpoint::Completion, &delta());
        assert_eq!(second["text_offset"], json!([2, 3]));
    }

    #[test]
    fn none_were_asked_for() {
        let none = v1::Delta {
            logprobs: Vec::new(),
            ..delta()
        };
        assert!(logprobs().told(Endpoint::Chat, &none).is_null());
    }
}
