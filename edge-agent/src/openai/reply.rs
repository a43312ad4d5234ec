//! Answers as OpenAI writes them: whole, or piece by piece.

use super::error::Failure;
use super::logprobs::Logprobs;
use super::request::{Endpoint, ReplyOptions};
use super::respond::{Reply, Said};
use crate::answer::AnswerEvent;
use crate::parts::{Call, CallPiece, Part, Splitter};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tandem_proto::v1;

/// What is said last of a stream.
pub(super) const DONE: &str = "[DONE]";

/// Writes the answers of one request.
#[derive(Debug)]
pub(super) struct Writer {
    /// Which call it answers.
    endpoint: Endpoint,
    options: ReplyOptions,
    head: Head,
    choices: Vec<Choice>,
    /// How many of them answer the same prompt.
    answers: usize,
    usage: Usage,
    ended: usize,
}

/// One of the answers.
#[derive(Debug)]
pub(super) struct Choice {
    logprobs: Logprobs,
    parts: Splitter,
    /// What its text begins with.
    echo: Arc<str>,
    /// What has come of it, where it is written whole.
    all: v1::Delta,
    /// What the model thought, where that is written whole.
    reasoning: String,
    /// Functions that it called, where they are written whole.
    called: Vec<Map<String, Value>>,
    /// How many these are.
    calls: usize,
    /// Why it ended.
    finish_reason: Option<&'static str>,
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
struct Body<'a> {
    #[serde(flatten)]
    head: &'a Head,
    choices: Vec<Value>,
    /// Outer: whether the field is there; inner: whether it is known yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    /// What a step has taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    split: Option<Value>,
}

/// What the answers cost.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Usage {
    /// Of each prompt once.
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    prompt_tokens_details: PromptDetails,
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
struct PromptDetails {
    /// Tokens of the prompts that were not computed again.
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

impl Choice {
    /// One that begins now.
    pub(super) fn new(logprobs: Logprobs, parts: Splitter, echo: Arc<str>) -> Self {
        Self {
            logprobs,
            parts,
            echo,
            all: v1::Delta::default(),
            reasoning: String::new(),
            called: Vec::new(),
            calls: 0,
            finish_reason: None,
        }
    }

    fn ends(&mut self, finished: &v1::Finished) -> &'static str {
        let reason = tandem_wire::finish_name(finished.finish_reason());
        let reason = match reason {
            "stop" if self.parts.has_called() => "tool_calls",
            reason => reason,
        };
        self.finish_reason = Some(reason);
        reason
    }

    /// The parts that are left at its end.
    fn end(&mut self, finished: &v1::Finished) -> Vec<Part> {
        let cut = finished.finish_reason() == v1::FinishReason::Length;
        self.parts.end(cut)
    }

    /// What is new in a chat for some parts.
    fn deltas(&mut self, parts: Vec<Part>) -> Vec<Value> {
        let deltas = parts.into_iter().filter_map(|part| match part {
            Part::Content(text) => Some(json!({"content": text})),
            Part::Reasoning(text) => Some(json!({"reasoning_content": text})),
            Part::Call(call) => {
                let mut call = called(&call);
                call.insert("index".to_owned(), self.calls.into());
                self.calls += 1;
                Some(json!({"tool_calls": [call]}))
            }
            Part::CallPiece(CallPiece::Begins { id, name }) => {
                let arguments = String::new();
                let mut call = called(&Call {
                    id,
                    name,
                    arguments,
                });
                call.insert("index".to_owned(), self.calls.into());
                self.calls += 1;
                Some(json!({"tool_calls": [call]}))
            }
            Part::CallPiece(CallPiece::Arguments(text)) => {
                let index = self.calls.saturating_sub(1);
                Some(json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]}))
            }
            Part::CallPiece(CallPiece::Ends) => None,
        });
        deltas.collect()
    }

    /// The whole of it.
    fn whole(&mut self, endpoint: Endpoint, index: usize) -> Value {
        let told = self.logprobs.told(endpoint, &self.all);
        let (name, said) = match endpoint {
            Endpoint::Chat => ("message", self.message()),
            Endpoint::Completion => ("text", format!("{}{}", self.echo, self.all.text).into()),
        };
        json!({
            "index": index,
            name: said,
            "logprobs": told,
            "finish_reason": self.finish_reason,
        })
    }

    /// Keeps some parts for the whole.
    fn keep(&mut self, parts: Vec<Part>) {
        for part in parts {
            match part {
                Part::Content(text) => self.all.text += &text,
                Part::Reasoning(text) => self.reasoning += &text,
                Part::Call(call) => self.called.push(called(&call)),
                // A whole answer has them whole.
                Part::CallPiece(_) => {}
            }
        }
    }

    fn message(&mut self) -> Value {
        let content = std::mem::take(&mut self.all.text);
        let no_content = content.is_empty() && !self.called.is_empty();
        let mut message = json!({"role": "assistant", "content": content, "refusal": null});
        if no_content {
            message["content"] = Value::Null;
        }
        if !self.reasoning.is_empty() {
            message["reasoning_content"] = std::mem::take(&mut self.reasoning).into();
        }
        if !self.called.is_empty() {
            message["tool_calls"] = json!(std::mem::take(&mut self.called));
        }
        message
    }
}

/// A call as it stands in a message.
fn called(call: &Call) -> Map<String, Value> {
    let function = json!({"name": call.name, "arguments": call.arguments});
    let fields = [
        ("id", Value::from(call.id.clone())),
        ("type", Value::from("function")),
        ("function", function),
    ];
    fields
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
}

impl Writer {
    /// For a request whose answers begin now: `answers` to each prompt, one prompt's behind the other's.
    pub(super) fn new(
        endpoint: Endpoint,
        options: ReplyOptions,
        origin: &Origin,
        choices: Vec<Choice>,
        answers: usize,
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
            choices,
            answers,
            usage: Usage::default(),
            ended: 0,
        }
    }

    fn starts(&mut self, index: usize, started: &v1::Started) {
        if index.is_multiple_of(self.answers) {
            self.usage.prompt_tokens_details.cached_tokens += started.reused_tokens;
        }
    }

    fn finishes(&mut self, index: usize, finished: &v1::Finished) {
        self.ended += 1;
        let usage = &mut self.usage;
        usage.completion_tokens += finished.completion_tokens;
        if index.is_multiple_of(self.answers) {
            usage.prompt_tokens += finished.prompt_tokens;
        }
        usage.total_tokens = usage.prompt_tokens + usage.completion_tokens;
    }

    fn piece(&self, index: usize, content: Value, logprobs: Value, finish_reason: Value) -> Said {
        let name = match self.endpoint {
            Endpoint::Chat => "delta",
            Endpoint::Completion => "text",
        };
        let choice = json!({
            "index": index,
            name: content,
            "logprobs": logprobs,
            "finish_reason": finish_reason,
        });
        unnamed(self.write(vec![choice], self.options.include_usage.then_some(None)))
    }

    fn write(&self, choices: Vec<Value>, usage: Option<Option<Usage>>) -> String {
        self.body(choices, usage, None)
    }

    fn body(
        &self,
        choices: Vec<Value>,
        usage: Option<Option<Usage>>,
        split: Option<Value>,
    ) -> String {
        let reply = Body {
            head: &self.head,
            choices,
            usage,
            split,
        };
        serde_json::to_string(&reply).unwrap_or_default()
    }
}

/// What a step of one of the answers has taken.
fn split(index: usize, step: &v1::Step) -> Value {
    let drafts = step.drafts.unwrap_or_default();
    json!({
        "index": index,
        "tokens": step.tokens,
        "seconds": step.seconds,
        "edge_seconds": step.edge_compute_seconds,
        "encode_seconds": step.encode_seconds,
        "link_seconds": step.link_seconds,
        "queue_seconds": step.cloud_queue_seconds,
        "cloud_seconds": step.cloud_compute_seconds,
        "rows": step.rows,
        "frame_bytes": step.frame_bytes,
        "up_bytes": step.up_bytes,
        "down_bytes": step.down_bytes,
        "drafted": drafts.sent,
        "accepted": drafts.accepted,
        "codec": (!step.codec.is_empty()).then_some(&*step.codec),
        "replays": step.replays,
        "round_trip_seconds": step.round_trip_seconds,
        "up_bytes_per_second": step.up_bytes_per_second,
    })
}

/// Something that is said in a stream of one kind of events.
fn unnamed(data: String) -> Said {
    Said { name: None, data }
}

impl Reply for Writer {
    fn is_done(&self) -> bool {
        self.ended == self.choices.len()
    }

    fn pieces(&mut self, index: usize, event: AnswerEvent) -> Vec<Said> {
        let endpoint = self.endpoint;
        let Some(choice) = self.choices.get_mut(index) else {
            return Vec::new();
        };
        match event {
            AnswerEvent::Started(started) => {
                let first = match endpoint {
                    Endpoint::Completion if choice.echo.is_empty() => None,
                    Endpoint::Completion => Some(Value::from(&*choice.echo)),
                    Endpoint::Chat => Some(json!({"role": "assistant", "content": ""})),
                };
                self.starts(index, &started);
                let first = first.map(|first| self.piece(index, first, Value::Null, Value::Null));
                first.into_iter().collect()
            }
            AnswerEvent::Delta(delta) => {
                let mut told = choice.logprobs.told(endpoint, &delta);
                // A token that completes no character says nothing yet.
                let contents = match endpoint {
                    Endpoint::Chat => {
                        let parts = choice.parts.feed(&delta.text);
                        let deltas = choice.deltas(parts);
                        if deltas.is_empty() && !told.is_null() {
                            vec![json!({"content": ""})]
                        } else {
                            deltas
                        }
                    }
                    Endpoint::Completion if delta.text.is_empty() && told.is_null() => Vec::new(),
                    Endpoint::Completion => vec![Value::String(delta.text)],
                };
                let contents = contents.into_iter();
                contents
                    .map(|content| self.piece(index, content, told.take(), Value::Null))
                    .collect()
            }
            AnswerEvent::Step(step) => {
                let usage = self.options.include_usage.then_some(None);
                vec![unnamed(self.body(
                    Vec::new(),
                    usage,
                    Some(split(index, &step)),
                ))]
            }
            AnswerEvent::Finished(finished) => {
                let (rest, last) = match endpoint {
                    Endpoint::Chat => {
                        let parts = choice.end(&finished);
                        (choice.deltas(parts), json!({}))
                    }
                    Endpoint::Completion => (Vec::new(), Value::String(String::new())),
                };
                let reason = choice.ends(&finished).into();
                self.finishes(index, &finished);
                let rest = rest.into_iter();
                let mut pieces: Vec<Said> = rest
                    .map(|content| self.piece(index, content, Value::Null, Value::Null))
                    .collect();
                pieces.push(self.piece(index, last, Value::Null, reason));
                if self.is_done() {
                    if self.options.include_usage {
                        pieces.push(unnamed(self.write(Vec::new(), Some(Some(self.usage)))));
                    }
                    pieces.push(unnamed(DONE.to_owned()));
                }
                pieces
            }
        }
    }

    fn gather(&mut self, index: usize, event: AnswerEvent) {
        let endpoint = self.endpoint;
        let Some(choice) = self.choices.get_mut(index) else {
            return;
        };
        match event {
            AnswerEvent::Started(started) => self.starts(index, &started),
            AnswerEvent::Delta(delta) => {
                match endpoint {
                    Endpoint::Chat => {
                        let parts = choice.parts.feed(&delta.text);
                        choice.keep(parts);
                    }
                    Endpoint::Completion => choice.all.text.push_str(&delta.text),
                }
                choice.all.token_ids.extend(delta.token_ids);
                choice.all.logprobs.extend(delta.logprobs);
            }
            // Told in streams alone.
            AnswerEvent::Step(_) => {}
            AnswerEvent::Finished(finished) => {
                let parts = choice.end(&finished);
                choice.keep(parts);
                choice.ends(&finished);
                self.finishes(index, &finished);
            }
        }
    }

    fn whole(mut self) -> String {
        let mut choices = std::mem::take(&mut self.choices);
        let written = choices.iter_mut().enumerate();
        let written = written.map(|(index, choice)| choice.whole(self.endpoint, index));
        self.write(written.collect(), Some(Some(self.usage)))
    }

    fn failure(&mut self, failure: &Failure) -> Said {
        unnamed(failure.json())
    }
}
