//! Answers as OpenAI writes them: whole, or piece by piece.

use super::logprobs::Logprobs;
use super::request::{Endpoint, ReplyOptions};
use crate::answer::AnswerEvent;
use serde::Serialize;
use serde_json::{Value, json};
use tandem_proto::v1;

/// What is said last of a stream.
pub(super) const DONE: &str = "[DONE]";

/// Writes one answer.
pub(super) struct Writer {
    /// Which call it answers.
    endpoint: Endpoint,
    options: ReplyOptions,
    head: Head,
    logprobs: Logprobs,
    /// Tokens of the prompt that were not computed again.
    cached: u32,
}

/// What every piece of an answer begins with.
#[derive(Debug, Clone, Serialize)]
struct Head {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    system_fingerprint: String,
}

/// A whole answer or a piece of one.
#[derive(Debug, Serialize)]
struct Reply<'a> {
    #[serde(flatten)]
    head: &'a Head,
    choices: Vec<Value>,
    /// Outer: whether the field is there; inner: whether it is known yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
}

/// What an answer cost.
#[derive(Debug, Clone, Copy, Serialize)]
struct Usage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    prompt_tokens_details: PromptDetails,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct PromptDetails {
    cached_tokens: u32,
}

/// What the answers of one server have in common.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// The model's name.
    pub(super) model: String,
    /// Of its weights.
    pub(super) fingerprint: String,
}

impl Writer {
    /// For an answer that begins now.
    pub(super) fn new(
        endpoint: Endpoint,
        options: ReplyOptions,
        origin: &Origin,
        logprobs: Logprobs,
    ) -> Self {
        let (prefix, object) = match (endpoint, options.stream) {
            (Endpoint::Chat, false) => ("chatcmpl", "chat.completion"),
            (Endpoint::Chat, true) => ("chatcmpl", "chat.completion.chunk"),
            (Endpoint::Completion, _) => ("cmpl", "text_completion"),
        };
        Self {
            endpoint,
            options,
            head: Head {
                id: format!("{prefix}-{:032x}", rand::random::<u128>()),
                object,
                created: super::unix_seconds(),
                model: origin.model.clone(),
                system_fingerprint: origin.fingerprint.clone(),
            },
            logprobs,
            cached: 0,
        }
    }

    /// The pieces that an event makes, as JSON: none, one or several.
    pub(super) fn pieces(&mut self, event: AnswerEvent) -> Vec<String> {
        match event {
            AnswerEvent::Started(started) => {
                self.cached = started.reused_tokens;
                match self.endpoint {
                    Endpoint::Completion => Vec::new(),
                    Endpoint::Chat => {
                        let delta = json!({"role": "assistant", "content": ""});
                        vec![self.piece(delta, Value::Null, Value::Null)]
                    }
                }
            }
            AnswerEvent::Delta(delta) => {
                let told = self.logprobs.told(self.endpoint, &delta);
                // A token that completes no character says nothing yet.
                if delta.text.is_empty() && told.is_null() {
                    return Vec::new();
                }
                let content = match self.endpoint {
                    Endpoint::Chat => json!({"content": delta.text}),
                    Endpoint::Completion => Value::String(delta.text),
                };
                vec![self.piece(content, told, Value::Null)]
            }
            AnswerEvent::Finished(finished) => {
                let content = match self.endpoint {
                    Endpoint::Chat => json!({}),
                    Endpoint::Completion => Value::String(String::new()),
                };
                let reason = finish_reason(&finished).into();
                let mut pieces = vec![self.piece(content, Value::Null, reason)];
                if self.options.include_usage {
                    pieces.push(self.write(Vec::new(), Some(Some(self.usage(&finished)))));
                }
                pieces.push(DONE.to_owned());
                pieces
            }
        }
    }

    /// The whole answer, as JSON.
    pub(super) fn whole(
        &mut self,
        started: v1::Started,
        all: &v1::Delta,
        finished: &v1::Finished,
    ) -> String {
        self.cached = started.reused_tokens;
        let told = self.logprobs.told(self.endpoint, all);
        let choice = match self.endpoint {
            Endpoint::Chat => json!({
                "index": 0,
                "message": {"role": "assistant", "content": all.text, "refusal": null},
                "logprobs": told,
                "finish_reason": finish_reason(finished),
            }),
            Endpoint::Completion => json!({
                "index": 0,
                "text": all.text,
                "logprobs": told,
                "finish_reason": finish_reason(finished),
            }),
        };
        self.write(vec![choice], Some(Some(self.usage(finished))))
    }

    fn piece(&self, content: Value, logprobs: Value, finish_reason: Value) -> String {
        let name = match self.endpoint {
            Endpoint::Chat => "delta",
            Endpoint::Completion => "text",
        };
        let choice = json!({
            "index": 0,
            name: content,
            "logprobs": logprobs,
            "finish_reason": finish_reason,
        });
        self.write(vec![choice], self.options.include_usage.then_some(None))
    }

    fn write(&self, choices: Vec<Value>, usage: Option<Option<Usage>>) -> String {
        let reply = Reply {
            head: &self.head,
            choices,
            usage,
        };
        serde_json::to_string(&reply).unwrap_or_default()
    }

    fn usage(&self, finished: &v1::Finished) -> Usage {
        Usage {
            prompt_tokens: finished.prompt_tokens,
            completion_tokens: finished.completion_tokens,
            total_tokens: finished.prompt_tokens + finished.completion_tokens,
            prompt_tokens_details: PromptDetails {
                cached_tokens: self.cached,
            },
        }
    }
}

fn finish_reason(finished: &v1::Finished) -> &'static str {
    tandem_wire::finish_name(finished.finish_reason())
}
