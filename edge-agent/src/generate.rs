//! `edge-agent generate`: one answer, printed as it comes or as one JSON document.

use crate::answer::{AnswerEvent, AnswerRequest, Answers};
use crate::cli::{GenerateArgs, SamplingArgs};
use crate::edge::{Edge, with_model_here};
use crate::error::AnswerError;
use crate::events::Events;
use crate::metrics::TRACES;
use crate::plan::start::{Patience, planned};
use crate::request::Terms;
use crate::request_span::{request_span, say_failure};
use crate::serve::SERVICE;
use crate::status::for_operator;
use serde::Serialize;
use std::io::Write as _;
use std::time::Instant;
use tandem_model_source::ProgressTo;
use tandem_proto::v1;
use tandem_server::collector::start_traces;
use tandem_telemetry::logging;
use tokio::sync::mpsc;
use tonic::Status;

/// Events that may wait to be printed.
const WAITING_EVENTS: usize = 64;

/// The document of `generate --json`.
#[derive(Debug, Serialize)]
struct Document {
    text: String,
    token_ids: Vec<u32>,
    finish_reason: &'static str,
    stop: Option<String>,
    prompt_tokens: u32,
    completion_tokens: u32,
    seed: u64,
    timings: Timings,
    wire: Wire,
    replays: u32,
    drafts: Drafts,
}

#[derive(Debug, Serialize)]
struct Drafts {
    sent: u64,
    accepted: u64,
}

#[derive(Debug, Serialize)]
struct Timings {
    ttft_seconds: f64,
    decode_seconds: f64,
    tokens_per_second: f64,
    edge_compute_seconds: f64,
    cloud_compute_seconds: f64,
    cloud_queue_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Wire {
    up_bytes: u64,
    down_bytes: u64,
    rows: u64,
    frame_bytes: u64,
    token_id_bytes: u64,
    bits_per_value: f64,
    /// What went up in each codec, the most exact first.
    codecs: Vec<CodecUsage>,
}

#[derive(Debug, Serialize)]
struct CodecUsage {
    codec: String,
    rows: u64,
    frame_bytes: u64,
}

/// Runs the command.
///
/// # Errors
/// When the edge cannot be loaded or the answer fails.
pub async fn generate(args: GenerateArgs) -> anyhow::Result<()> {
    let GenerateArgs {
        edge,
        sampling,
        chat,
        json,
        prompt,
    } = args;
    let terms = terms(&sampling)?;
    let config = edge.load_quiet()?;
    logging::init(&config.log)?;
    let config = with_model_here(config, ProgressTo::Terminal).await?;
    let config = planned(config, Patience::Fail).await?.config;
    let traces = start_traces(&config.traces, SERVICE, TRACES).await?;
    let edge = Edge::load(&config, |_| {}).await?;
    let began = Instant::now();
    let ids = if chat {
        edge.chat_ids(vec![user(&prompt)]).await
    } else {
        edge.text_ids(prompt).await
    };
    let request = ids.and_then(|ids| Ok(edge.check(terms, ids, began)?));
    let mut collected = Collected::default();
    let mut out = std::io::stdout().lock();
    let called = if chat { "chat" } else { "generate" };
    let answered = run(
        &edge.answers,
        called,
        request.map_err(|error| readable(&edge.answers, &error))?,
        |event| {
            if let AnswerEvent::Delta(delta) = &event
                && !json
            {
                // A closed pipe ends the answer at its next token.
                write!(out, "{}", delta.text)?;
                out.flush()?;
            }
            collected.add(event);
            Ok(())
        },
    );
    let answered = answered.await;
    traces.flush().await;
    answered?;
    if json {
        writeln!(out, "{}", serde_json::to_string(&collected.document())?)?;
    } else {
        writeln!(out)?;
    }
    Ok(())
}

/// Makes an answer to a request of that name and gives each event to `show`.
///
/// # Errors
/// When it fails, or `show` does.
pub async fn run(
    answers: &Answers,
    called: &'static str,
    request: AnswerRequest,
    mut show: impl FnMut(AnswerEvent) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let (events, mut stream) = mpsc::channel(WAITING_EVENTS);
    let events = Events::new(events);
    let making = async {
        let mut span = request_span(called, request.began, || None);
        let ended = answers.make(request, &events, &mut span).await;
        let ended = ended.inspect_err(|error| say_failure(&mut span, &Status::from(error)));
        drop(events);
        ended
    };
    let showing = async {
        while let Some(event) = stream.recv().await {
            show(event.map_err(|error| readable(answers, &error))?)?;
        }
        anyhow::Ok(())
    };
    tokio::pin!(making, showing);
    tokio::select! {
        shown = &mut showing => {
            shown?;
            making.await.map_err(|error| readable(answers, &error))
        }
        made = &mut making => {
            made.map_err(|error| readable(answers, &error))?;
            showing.await
        }
    }
}

/// An error of an edge in this process as a person reads it.
pub fn readable(answers: &Answers, error: &AnswerError) -> anyhow::Error {
    anyhow::anyhow!(for_operator(error, &answers.client.clouds().addresses()))
}

/// The terms of a command line.
///
/// # Errors
/// A file that they name cannot be read.
pub fn terms(sampling: &SamplingArgs) -> anyhow::Result<Terms> {
    Ok(Terms {
        sampling: Some(sampling.message()),
        max_tokens: sampling.max_tokens,
        stop: sampling.stop.clone(),
        constraint: sampling.constraint()?,
        ..Terms::default()
    })
}

/// A user's message.
pub fn user(content: &str) -> v1::ChatMessage {
    message("user", content)
}

/// A message of that role.
pub fn message(role: &str, content: &str) -> v1::ChatMessage {
    v1::ChatMessage {
        role: role.to_owned(),
        content: content.to_owned(),
        ..v1::ChatMessage::default()
    }
}

impl From<v1::CodecUsage> for CodecUsage {
    fn from(usage: v1::CodecUsage) -> Self {
        Self {
            codec: usage.codec,
            rows: usage.rows,
            frame_bytes: usage.frame_bytes,
        }
    }
}

/// What an answer came to.
#[derive(Debug, Default)]
pub struct Collected {
    /// The text.
    pub text: String,
    token_ids: Vec<u32>,
    /// The end.
    pub finished: v1::Finished,
}

impl Collected {
    /// Takes note of an event.
    pub fn add(&mut self, event: AnswerEvent) {
        match event {
            AnswerEvent::Started(_) | AnswerEvent::Step(_) => {}
            AnswerEvent::Delta(delta) => {
                self.text.push_str(&delta.text);
                self.token_ids.extend(delta.token_ids);
            }
            AnswerEvent::Finished(finished) => self.finished = finished,
        }
    }

    fn document(self) -> Document {
        let finished = self.finished;
        let (timings, wire, drafts) = (
            finished.timings.unwrap_or_default(),
            finished.wire.clone().unwrap_or_default(),
            finished.drafts.unwrap_or_default(),
        );
        Document {
            text: self.text,
            token_ids: self.token_ids,
            finish_reason: tandem_wire::finish_name(finished.finish_reason()),
            stop: (!finished.stop.is_empty()).then_some(finished.stop),
            prompt_tokens: finished.prompt_tokens,
            completion_tokens: finished.completion_tokens,
            seed: finished.seed,
            timings: Timings {
                ttft_seconds: timings.ttft_seconds,
                decode_seconds: timings.decode_seconds,
                tokens_per_second: timings.tokens_per_second,
                edge_compute_seconds: timings.edge_compute_seconds,
                cloud_compute_seconds: timings.cloud_compute_seconds,
                cloud_queue_seconds: timings.cloud_queue_seconds,
            },
            wire: Wire {
                up_bytes: wire.up_bytes,
                down_bytes: wire.down_bytes,
                rows: wire.rows,
                frame_bytes: wire.frame_bytes,
                token_id_bytes: wire.token_id_bytes,
                bits_per_value: wire.bits_per_value,
                codecs: wire.codecs.into_iter().map(CodecUsage::from).collect(),
            },
            replays: finished.replays,
            drafts: Drafts {
                sent: drafts.sent,
                accepted: drafts.accepted,
            },
        }
    }
}
