//! The trace of an answer as the cloud makes it: the span `infer` from the `Run` to the last token. In
//! it, for each step of the prompt, `queue`, `read frames` and `back`; and `decode` for the tokens
//! behind the first, whose steps are summed: a span for each would cost more than it tells.

use std::time::{Duration, Instant};
use tandem_engine::{BackOutput, Completed, RunToken};
use tandem_proto::v1;
use tandem_status::error_type;
use tandem_telemetry::traces::{STEPS_WITH_SPANS, Span, TraceContext, Value};
use tandem_wire::{finish_name, finish_reason};
use tonic::{Code, Status};

/// What happens to an answer, as it happens; it ends when dropped. Of no effect where it is not traced.
#[derive(Debug, Default)]
pub struct AnswerTrace {
    span: Span,
    steps: usize,
    /// Up to the first token.
    prompt: Sums,
    /// Behind it.
    decode: Sums,
    tokens: usize,
    /// When the first token was there, and the last.
    between: Option<(Instant, Instant)>,
}

/// Where the time of steps went.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    queue: Duration,
    frames: Duration,
    back: Duration,
}

impl AnswerTrace {
    /// An answer begins, in the trace that its edge names.
    pub fn begin(run: &v1::Run, split: usize) -> Self {
        let caller = || TraceContext::parse(&run.traceparent, &run.tracestate);
        let mut span = Span::request("infer", Instant::now(), caller);
        span.set("tandem.split", split);
        Self {
            span,
            steps: 0,
            prompt: Sums::default(),
            decode: Sums::default(),
            tokens: 0,
            between: None,
        }
    }

    /// A step of rows ended.
    pub fn step(&mut self, rows: usize, completed: &Completed<BackOutput>) {
        if !self.span.is_recording() {
            return;
        }
        let frames = completed.output.frames;
        let back = completed.compute.saturating_sub(frames);
        match self.tokens {
            0 => self.prompt.add(completed.queue, frames, back),
            _ => self.decode.add(completed.queue, frames, back),
        }
        // Rows that were merged into a later step are part of that one.
        let merged = completed.compute.is_zero();
        if self.tokens > 0 || merged || self.steps == STEPS_WITH_SPANS {
            return;
        }
        self.steps += 1;
        let start = completed.start;
        let queued = start.checked_sub(completed.queue).unwrap_or(start);
        let span = &self.span;
        span.step("queue", queued, completed.queue, &[]);
        if !frames.is_zero() {
            span.step("read frames", start, frames, &[]);
        }
        let rows = [("tandem.rows", rows.into())];
        span.step("back", start + frames, back, &rows);
    }

    /// A token is there.
    pub fn token(&mut self, token: &RunToken) {
        if !self.span.is_recording() {
            return;
        }
        self.tokens += 1;
        let now = Instant::now();
        let (first, _) = self.between.unwrap_or((now, now));
        self.between = Some((first, now));
        if token.finish.is_some() {
            let reason = finish_name(finish_reason(token.finish));
            let reason = Value::OneOf(reason);
            self.span.set("gen_ai.response.finish_reasons", reason);
        }
    }

    /// The stream ended with an error.
    pub fn fail(&mut self, status: &Status) {
        let kind = error_type(status);
        let is_error = status.code() != Code::Cancelled;
        self.span.fail(&kind, is_error.then(|| status.message()));
    }
}

impl Drop for AnswerTrace {
    fn drop(&mut self) {
        if !self.span.is_recording() {
            return;
        }
        let span = &mut self.span;
        if let Some((first, last)) = self.between
            && self.tokens > 1
        {
            let [queue, frames, back] = self.decode.attributes();
            let tokens = ("tandem.tokens", (self.tokens - 1).into());
            let took = last.duration_since(first);
            span.step("decode", first, took, &[tokens, queue, frames, back]);
        }
        for (key, value) in self.prompt.attributes() {
            span.set(key, value);
        }
        span.set("gen_ai.usage.output_tokens", self.tokens);
    }
}

impl Sums {
    fn add(&mut self, queue: Duration, frames: Duration, back: Duration) {
        self.queue += queue;
        self.frames += frames;
        self.back += back;
    }

    fn attributes(&self) -> [(&'static str, Value); 3] {
        [
            ("tandem.queue_seconds", self.queue.into()),
            ("tandem.read_frames_seconds", self.frames.into()),
            ("tandem.back_seconds", self.back.into()),
        ]
    }
}
