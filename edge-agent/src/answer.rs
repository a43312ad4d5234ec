//! One answer, from prompt ids to streamed text.
//!
//! ```text
//! prompt ─► take or open a session ─► rows up, in chunks ─► first token
//!   ┌──────────────────────────────────────────────────────────┘
//!   └─► begin the next row ─► text to the client meanwhile ─► send the row ─► next token ─► …
//! ```

use crate::edge::Edge;
use crate::events::Events;
use crate::link::never_sent;
use crate::metrics::{
    E2E_LATENCY, GENERATION_TOKENS, INTER_TOKEN_LATENCY, PROMPT_TOKENS, REQUEST_SUCCESS,
    REUSED_TOKENS, TIME_TO_FIRST_TOKEN,
};
use crate::pool::Turn;
use crate::prompt_trace::PromptTrace;
use crate::request_span::{say_answer, say_request};
use crate::session::Session;
use crate::usage::Usage;
use std::time::{Duration, Instant};
use tandem_proto::v1;
use tandem_shape::Reason;
use tandem_status::{bad_request, failure};
use tandem_telemetry::traces::Span;
use tandem_text::{Detokenizer, StopMatcher, StopOutcome, StopStrings};
use tonic::{Code, Status};

/// What is asked for, checked but for the prompt's length.
#[derive(Debug, Clone)]
pub struct AnswerRequest {
    /// Token ids, at least one, each within the vocabulary.
    pub prompt: Vec<u32>,
    /// How tokens are chosen, with a seed.
    pub sampling: v1::SamplingParameters,
    /// Whether sampling needs the ids of prompt and answer.
    pub needs_token_ids: bool,
    /// The most tokens; `None` for up to the context's end.
    pub max_tokens: Option<u32>,
    /// What ends the answer.
    pub stop: StopStrings,
    /// When the request came.
    pub began: Instant,
}

/// One event of an answer.
#[derive(Debug, Clone)]
pub enum AnswerEvent {
    /// The prompt was accepted.
    Started(v1::Started),
    /// More text.
    Delta(v1::Delta),
    /// The end.
    Finished(v1::Finished),
}

/// Makes an answer, and says in the request's span what it came to. Dropping the future ends it, and
/// frees what it held in the cloud.
///
/// # Errors
/// As docs/protocol.md lists them for clients.
pub async fn answer(
    edge: &Edge,
    request: AnswerRequest,
    events: &Events,
    span: &mut Span,
) -> Result<(), Status> {
    say_request(span, edge, &request);
    let turn = edge.pool.turn()?;
    let cloud = edge.link.describe().await?;
    let context = edge.context(&cloud);
    check_length(request.prompt.len(), context)?;
    let (session, first, reused) = match start(edge, &request, context, &cloud, &turn, span).await {
        Ok(started) => started,
        Err(status) => {
            if status.code() == Code::FailedPrecondition || status.code() == Code::Unavailable {
                edge.link.forget();
            }
            return Err(status);
        }
    };
    PROMPT_TOKENS
        .counter(&[])
        .increment(request.prompt.len() as u64);
    REUSED_TOKENS.counter(&[]).increment(reused as u64);
    let started = v1::Started {
        prompt_tokens: count(request.prompt.len()),
        reused_tokens: count(reused),
        context: count(context),
    };
    events.send(AnswerEvent::Started(started)).await?;
    let mut run = Running::new(edge, &request, session)?;
    let streamed = run.stream(first, events, span).await;
    run.end_decode();
    let finished = run.finished(&request, streamed?, edge);
    say_answer(span, reused, &finished);
    turn.keep(run.session);
    E2E_LATENCY.histogram(&[]).record(request.began.elapsed());
    events.send(AnswerEvent::Finished(finished)).await
}

fn check_length(prompt: usize, context: usize) -> Result<(), Status> {
    if prompt < context {
        return Ok(());
    }
    Err(bad_request(
        Reason::PromptTooLong,
        [(
            "prompt",
            format!("has {prompt} tokens; the context is {context}, and an answer needs one"),
        )],
    ))
}

/// Takes or opens a session and runs the prompt. A kept session may have been given up by the
/// cloud meanwhile; nothing was seen of this answer yet, so another session can begin it again.
async fn start(
    edge: &Edge,
    request: &AnswerRequest,
    context: usize,
    cloud: &v1::DescribeBackResponse,
    turn: &Turn<'_>,
    span: &Span,
) -> Result<(Session, v1::Tokens, usize), Status> {
    if let Some((mut session, shared)) = turn.take(&request.prompt) {
        // The last token's row must run again: its logits are not kept.
        let kept = shared.min(request.prompt.len() - 1);
        match run_prompt(edge, request, &mut session, kept, span).await {
            Ok(first) => return Ok((session, first, kept)),
            Err(status) if matches!(status.code(), Code::Aborted | Code::Unavailable) => {
                tracing::debug!(message = status.message(), "a kept session was given up");
            }
            Err(status) => return Err(status),
        }
    }
    turn.make_room();
    match begin(edge, request, context, cloud, span).await {
        Err(status) if never_sent(&status) => {
            tracing::debug!(message = status.message(), "beginning on a new connection");
            begin(edge, request, context, cloud, span).await
        }
        begun => begun,
    }
}

async fn begin(
    edge: &Edge,
    request: &AnswerRequest,
    context: usize,
    cloud: &v1::DescribeBackResponse,
    span: &Span,
) -> Result<(Session, v1::Tokens, usize), Status> {
    let mut session = Session::open(edge, context, cloud).await?;
    let first = run_prompt(edge, request, &mut session, 0, span).await?;
    Ok((session, first, 0))
}

async fn run_prompt(
    edge: &Edge,
    request: &AnswerRequest,
    session: &mut Session,
    kept: usize,
    span: &Span,
) -> Result<v1::Tokens, Status> {
    let (traceparent, tracestate) = span.carried().unwrap_or_default();
    let run = v1::Run {
        sampling: Some(request.sampling.clone()),
        max_tokens: request.max_tokens.unwrap_or(0),
        eos_token_ids: edge.tokenizer.eos_token_ids().to_vec(),
        traceparent,
        tracestate,
        ..v1::Run::default()
    };
    let trace = PromptTrace::begin(span);
    session
        .begin(kept, run, request.needs_token_ids, trace)
        .await?;
    session.prompt(&request.prompt[kept..], edge).await?;
    session.token(edge).await
}

/// An answer that has its first token.
struct Running<'a> {
    edge: &'a Edge,
    session: Session,
    detokenizer: Detokenizer,
    stop: StopStrings,
    stops: StopMatcher,
    began: Instant,
    first_token: Instant,
    last_token: Instant,
    tokens: u32,
    /// What the prompt has cost.
    prompt: Usage,
    /// The span of the tokens behind the first, once there is a second to come.
    decode: Span,
}

/// How an answer ended.
struct Finish {
    reason: v1::FinishReason,
    stop: String,
}

impl<'a> Running<'a> {
    fn new(edge: &'a Edge, request: &AnswerRequest, session: Session) -> Result<Self, Status> {
        let now = Instant::now();
        TIME_TO_FIRST_TOKEN
            .histogram(&[])
            .record(now.duration_since(request.began));
        Ok(Self {
            edge,
            prompt: session.usage(),
            decode: Span::default(),
            session,
            detokenizer: Detokenizer::after_prompt(&edge.tokenizer, &request.prompt)
                .map_err(|error| internal(&error))?,
            stop: request.stop.clone(),
            stops: request.stop.matcher(),
            began: request.began,
            first_token: now,
            last_token: now,
            tokens: 0,
        })
    }

    async fn stream(
        &mut self,
        first: v1::Tokens,
        events: &Events,
        span: &Span,
    ) -> Result<Finish, Status> {
        let mut message = first;
        loop {
            let Some(&id) = message.ids.first() else {
                return Err(failure(
                    Code::Internal,
                    Reason::NoToken,
                    "the cloud sent no token",
                ));
            };
            self.tokens += 1;
            GENERATION_TOKENS.counter(&[]).increment(1);
            let ended = message.finish_reason != i32::from(v1::FinishReason::Unspecified);
            // The next row computes while the text of this token is made and sent.
            let row = match ended {
                true => None,
                false => Some(self.session.begin_row(id, self.edge).await?),
            };
            let (text, stop) = self.text(id, ended)?;
            let delta = v1::Delta {
                text,
                token_ids: vec![id],
                logprobs: std::mem::take(&mut message.logprobs),
            };
            events.send(AnswerEvent::Delta(delta)).await?;
            if let Some(stop) = stop {
                if !ended {
                    self.session.end_early().await?;
                }
                return Ok(Finish {
                    reason: v1::FinishReason::Stop,
                    stop,
                });
            }
            let Some(row) = row else {
                return Ok(Finish {
                    reason: message.finish_reason(),
                    stop: String::new(),
                });
            };
            if self.tokens == 1 {
                self.decode = span.child("decode", self.first_token);
            }
            self.session.send_row(row, self.edge).await?;
            message = self.session.token(self.edge).await?;
            let now = Instant::now();
            INTER_TOKEN_LATENCY
                .histogram(&[])
                .record(now.duration_since(self.last_token));
            self.last_token = now;
        }
    }

    /// Ends the span of the tokens behind the first, with where their time went.
    fn end_decode(&mut self) {
        let mut decode = std::mem::take(&mut self.decode);
        if !decode.is_recording() {
            return;
        }
        decode.set("tandem.tokens", u64::from(self.tokens.saturating_sub(1)));
        for (key, time) in self.session.usage().times_since(&self.prompt) {
            decode.set(key, time);
        }
        decode.end(self.last_token);
    }

    /// The text that a token completes, and the stop string if one is among it.
    fn text(&mut self, id: u32, last: bool) -> Result<(String, Option<String>), Status> {
        let mut new = self
            .detokenizer
            .push(id)
            .map_err(|error| internal(&error))?;
        if last {
            new.push_str(&self.detokenizer.finish());
        }
        match self.stops.push(&new) {
            StopOutcome::Continue(mut text) => {
                if last {
                    text.push_str(&self.stops.finish());
                }
                Ok((text, None))
            }
            StopOutcome::Stopped { text, index } => {
                let stop = self.stop.get(index).unwrap_or_default().to_owned();
                Ok((text, Some(stop)))
            }
        }
    }

    fn finished(&self, request: &AnswerRequest, finish: Finish, edge: &Edge) -> v1::Finished {
        let reason = match finish.reason {
            v1::FinishReason::Length => "length",
            _ => "stop",
        };
        REQUEST_SUCCESS.counter(&[reason]).increment(1);
        let usage = self.session.usage();
        v1::Finished {
            finish_reason: finish.reason.into(),
            stop: finish.stop,
            prompt_tokens: count(request.prompt.len()),
            completion_tokens: self.tokens,
            seed: request.sampling.seed.unwrap_or(0),
            timings: Some(self.timings(&usage)),
            wire: Some(usage.wire(edge.config.hidden)),
            replays: 0,
        }
    }

    fn timings(&self, usage: &Usage) -> v1::Timings {
        let decode = self.last_token.duration_since(self.first_token);
        let seconds = |d: Duration| d.as_secs_f64();
        v1::Timings {
            ttft_seconds: seconds(self.first_token.duration_since(self.began)),
            decode_seconds: seconds(decode),
            tokens_per_second: match decode.is_zero() {
                true => 0.0,
                false => f64::from(self.tokens - 1) / seconds(decode),
            },
            edge_compute_seconds: seconds(usage.edge_compute),
            cloud_compute_seconds: seconds(usage.cloud_compute),
            cloud_queue_seconds: seconds(usage.cloud_queue),
        }
    }
}

fn count(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn internal(error: &tandem_text::TextError) -> Status {
    failure(Code::Internal, Reason::Text, error.to_string())
}
