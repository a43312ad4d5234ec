//! One answer, from prompt ids to streamed text.
//!
//! ```text
//! prompt ─► take or open a session ─► rows up, in chunks ─► first token
//!   ┌──────────────────────────────────────────────────────────┘
//!   └─► begin the next row ─► text to the client meanwhile ─► send the row ─► next token ─► …
//! ```

use crate::error::{AnswerError, RequestError};
use crate::events::Events;
use crate::metrics::{
    E2E_LATENCY, GENERATION_TOKENS, INTER_TOKEN_LATENCY, PROMPT_TOKENS, REQUEST_SUCCESS,
    REUSED_TOKENS, TIME_TO_FIRST_TOKEN,
};
use crate::request_span::{Served, say_answer, say_request};
use std::time::{Duration, Instant};
use tandem_client::{Asked, Asker, Generation, Kept, SessionPool, SplitClient, Usage};
use tandem_codec::Codec;
use tandem_proto::v1;
use tandem_telemetry::traces::Span;
use tandem_text::{Detokenizer, StopMatcher, StopOutcome, StopStrings, TextError, Tokenizer};

/// Makes answers, with what all of them share.
#[derive(Debug)]
pub struct Answers {
    /// Sessions with the cloud.
    pub client: SplitClient,
    /// Finished conversations.
    pub pool: SessionPool,
    /// Ids to text.
    pub tokenizer: Tokenizer,
    /// What traces say of the model.
    pub served: Served,
}

/// What is asked for, checked but for the prompt's length.
#[derive(Debug, Clone)]
pub struct AnswerRequest {
    /// For whom it is.
    pub asker: Asker,
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
    /// What the answer has to keep.
    pub constraint: Option<v1::Constraint>,
    /// Whether the conversation is not kept for a next turn.
    pub forgets: bool,
    /// Whether each step is told.
    pub tells_steps: bool,
    /// When the request came.
    pub began: Instant,
    /// When the client stops waiting.
    pub deadline: Option<Instant>,
}

/// One event of an answer.
#[derive(Debug, Clone)]
pub enum AnswerEvent {
    /// The prompt was accepted.
    Started(v1::Started),
    /// More text.
    Delta(v1::Delta),
    /// What the tokens since the last one have taken, where that is asked for.
    Step(Box<v1::Step>),
    /// The end.
    Finished(v1::Finished),
}

impl Answers {
    /// Makes an answer, and says in the request's span what it came to. Dropping the future ends it, and
    /// frees what it held in the cloud.
    ///
    /// # Errors
    /// As docs/protocol.md lists them for clients.
    pub async fn make(
        &self,
        request: AnswerRequest,
        events: &Events,
        span: &mut Span,
    ) -> Result<(), AnswerError> {
        say_request(span, &self.served, &request);
        let turn = self.pool.turn()?;
        let (asker, prompt) = (&request.asker, &request.prompt);
        let cloud = self.client.choose(asker, prompt).await?;
        let context = self.client.context(&cloud);
        check_length(request.prompt.len(), context)?;
        let found = self.client.would_begin_with(asker, prompt, &cloud);
        let kept = turn.take(asker, prompt, found);
        if kept.is_none() {
            turn.make_room();
        }
        let kept = kept.map(|(session, shared)| Kept { session, shared });
        let asked = self.asked(&request);
        let begun = Generation::begin(&self.client, asked, kept, cloud, span).await;
        let (generation, first) = begun?;
        let reused = generation.reused();
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
        let mut run = Running::new(&self.tokenizer, &request, generation)?;
        let streamed = run.stream(first, events, span).await;
        run.end_decode();
        let hidden = self.client.front().config.hidden;
        let finished = run.finished(&request, streamed?, hidden);
        say_answer(span, reused, &finished);
        if !request.forgets {
            run.generation.remember();
            if let Some(session) = run.generation.into_session() {
                turn.keep(request.asker, session);
            }
        }
        E2E_LATENCY.histogram(&[]).record(request.began.elapsed());
        events.send(AnswerEvent::Finished(finished)).await
    }

    /// What a generation is asked for.
    fn asked(&self, request: &AnswerRequest) -> Asked {
        Asked {
            asker: request.asker.clone(),
            prompt: request.prompt.clone(),
            run: v1::Run {
                sampling: Some(request.sampling.clone()),
                max_tokens: request.max_tokens.unwrap_or(0),
                eos_token_ids: self.tokenizer.eos_token_ids().to_vec(),
                constraint: request.constraint.clone(),
                ..v1::Run::default()
            },
            needs_token_ids: request.needs_token_ids,
            deadline: request.deadline,
        }
    }
}

fn check_length(prompt: usize, context: usize) -> Result<(), RequestError> {
    if prompt < context {
        return Ok(());
    }
    Err(RequestError::PromptTooLong {
        field: "prompt",
        problem: format!("has {prompt} tokens; the context is {context}, and an answer needs one"),
    })
}

/// An answer that has its first token.
struct Running {
    generation: Generation,
    detokenizer: Detokenizer,
    stop: StopStrings,
    stops: StopMatcher,
    began: Instant,
    first_token: Instant,
    last_token: Instant,
    tokens: u32,
    /// What the prompt has cost.
    prompt: Usage,
    /// What has been told of, where steps are told.
    told: Option<Usage>,
    /// The span of the tokens behind the first, once there is a second to come.
    decode: Span,
}

/// How an answer ended.
struct Finish {
    reason: v1::FinishReason,
    stop: String,
}

impl Running {
    fn new(
        tokenizer: &Tokenizer,
        request: &AnswerRequest,
        generation: Generation,
    ) -> Result<Self, AnswerError> {
        let now = Instant::now();
        TIME_TO_FIRST_TOKEN
            .histogram(&[])
            .record(now.duration_since(request.began));
        Ok(Self {
            prompt: generation.usage(),
            told: request.tells_steps.then(Usage::default),
            decode: Span::default(),
            generation,
            detokenizer: Detokenizer::after_prompt(tokenizer, &request.prompt)?,
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
    ) -> Result<Finish, AnswerError> {
        let mut message = first;
        let mut taken = self.first_token.duration_since(self.began);
        loop {
            if message.ids.is_empty() {
                return Err(AnswerError::NoToken);
            }
            let ended = message.finish_reason != i32::from(v1::FinishReason::Unspecified);
            if let Some(step) = self.step(message.ids.len(), taken) {
                events.send(AnswerEvent::Step(Box::new(step))).await?;
            }
            // The next rows compute while the text of these tokens is made and sent.
            let rows = if ended {
                None
            } else {
                Some(self.generation.begin_rows().await)
            };
            let mut logprobs = std::mem::take(&mut message.logprobs).into_iter();
            let mut behind = message.ids.len();
            for &id in &message.ids {
                behind -= 1;
                self.tokens += 1;
                GENERATION_TOKENS.counter(&[]).increment(1);
                let (text, stop) = self.text(id, ended && behind == 0)?;
                let delta = v1::Delta {
                    text,
                    token_ids: vec![id],
                    logprobs: logprobs.next().into_iter().collect(),
                    ..v1::Delta::default()
                };
                events.send(AnswerEvent::Delta(delta)).await?;
                if let Some(stop) = stop {
                    if !ended {
                        self.generation.end_early(behind).await;
                    }
                    return Ok(Finish {
                        reason: v1::FinishReason::Stop,
                        stop,
                    });
                }
            }
            let Some(rows) = rows else {
                return Ok(Finish {
                    reason: message.finish_reason(),
                    stop: String::new(),
                });
            };
            if self.tokens == 1 {
                self.decode = span.child("decode", self.first_token);
            }
            message = self.generation.next(rows, span).await?;
            let now = Instant::now();
            let mut since = now.duration_since(self.last_token);
            taken = since;
            for _ in &message.ids {
                INTER_TOKEN_LATENCY.histogram(&[]).record(since);
                // Those behind the first come with it.
                since = Duration::ZERO;
            }
            self.last_token = now;
        }
    }

    /// What the next tokens have taken, where that is told.
    fn step(&mut self, tokens: usize, time: Duration) -> Option<v1::Step> {
        let told = self.told.as_mut()?;
        let usage = self.generation.usage();
        let new = usage.since(told);
        *told = usage;
        let (round_trip, up_rate) = self.generation.link().choice().link_now();
        Some(v1::Step {
            tokens: count(tokens),
            seconds: time.as_secs_f64(),
            edge_compute_seconds: new.edge_compute.saturating_sub(new.encode).as_secs_f64(),
            encode_seconds: new.encode.as_secs_f64(),
            link_seconds: new.link.as_secs_f64(),
            cloud_queue_seconds: new.cloud_queue.as_secs_f64(),
            cloud_compute_seconds: new.cloud_compute.as_secs_f64(),
            rows: new.rows,
            frame_bytes: new.frame,
            up_bytes: new.up,
            down_bytes: new.down,
            drafts: Some(v1::DraftUsage {
                sent: new.drafted,
                accepted: new.accepted,
            }),
            codec: new.codec().map_or("", Codec::name).to_owned(),
            replays: self.generation.replays(),
            round_trip_seconds: round_trip.map(|time| time.as_secs_f64()),
            up_bytes_per_second: up_rate,
        })
    }

    /// Ends the span of the tokens behind the first, with where their time went.
    fn end_decode(&mut self) {
        let mut decode = std::mem::take(&mut self.decode);
        if !decode.is_recording() {
            return;
        }
        decode.set("tandem.tokens", u64::from(self.tokens.saturating_sub(1)));
        for (key, time) in self.generation.usage().times_since(&self.prompt) {
            decode.set(key, time);
        }
        decode.end(self.last_token);
    }

    /// The text that a token completes, and the stop string if one is among it.
    fn text(&mut self, id: u32, last: bool) -> Result<(String, Option<String>), TextError> {
        let mut new = self.detokenizer.push(id)?;
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

    fn finished(&self, request: &AnswerRequest, finish: Finish, hidden: usize) -> v1::Finished {
        let reason = tandem_wire::finish_name(finish.reason);
        REQUEST_SUCCESS.counter(&[reason]).increment(1);
        let usage = self.generation.usage();
        v1::Finished {
            finish_reason: finish.reason.into(),
            stop: finish.stop,
            prompt_tokens: count(request.prompt.len()),
            completion_tokens: self.tokens,
            seed: request.sampling.seed.unwrap_or(0),
            timings: Some(self.timings(&usage)),
            wire: Some(wire_usage(&usage, hidden)),
            replays: self.generation.replays(),
            exact: self.generation.is_exact(),
            drafts: Some(v1::DraftUsage {
                sent: usage.drafted,
                accepted: usage.accepted,
            }),
        }
    }

    fn timings(&self, usage: &Usage) -> v1::Timings {
        let decode = self.last_token.duration_since(self.first_token);
        let seconds = |d: Duration| d.as_secs_f64();
        v1::Timings {
            ttft_seconds: seconds(self.first_token.duration_since(self.began)),
            decode_seconds: seconds(decode),
            tokens_per_second: if decode.is_zero() {
                0.0
            } else {
                f64::from(self.tokens - 1) / seconds(decode)
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

/// As clients are told, for rows of `hidden` values.
fn wire_usage(usage: &Usage, hidden: usize) -> v1::WireUsage {
    let values = usage.rows * hidden as u64;
    v1::WireUsage {
        up_bytes: usage.up,
        down_bytes: usage.down,
        rows: usage.rows,
        frame_bytes: usage.frame,
        token_id_bytes: usage.token_ids,
        bits_per_value: match values {
            0 => 0.0,
            values => 8.0 * usage.frame as f64 / values as f64,
        },
        codecs: Codec::ALL
            .into_iter()
            .zip(usage.codecs)
            .filter(|(_, used)| used.rows > 0)
            .map(|(codec, used)| v1::CodecUsage {
                codec: codec.name().to_owned(),
                rows: used.rows,
                frame_bytes: used.frame,
            })
            .collect(),
    }
}
