//! The trace of a prompt on its way to its first token: the span `prefill`, in it `front` and `encode`
//! of each chunk, and `link` from the first rows that were sent to the token.

use crate::usage::Usage;
use std::time::{Duration, Instant};
use tandem_engine::{Completed, FrontOutput};
use tandem_telemetry::traces::{STEPS_WITH_SPANS, Span};

/// What happens to a prompt, as it happens. Of no effect where its request is not traced.
#[derive(Debug, Default)]
pub struct PromptTrace {
    span: Span,
    chunks: usize,
    /// When the first rows were sent.
    sent: Option<Instant>,
}

impl PromptTrace {
    /// The prompt of a request, from now on.
    pub fn begin(request: &Span) -> Self {
        Self {
            span: request.child("prefill", Instant::now()),
            chunks: 0,
            sent: None,
        }
    }

    /// A chunk was computed and encoded.
    pub fn chunk(&mut self, rows: usize, completed: &Completed<FrontOutput>) {
        if !self.span.is_recording() {
            return;
        }
        self.chunks += 1;
        if self.chunks > STEPS_WITH_SPANS {
            return;
        }
        let encode = completed.output.encode;
        let front = completed.compute.saturating_sub(encode);
        let rows = [("tandem.rows", rows.into())];
        self.span.step("front", completed.start, front, &rows);
        let encoding = completed.start + front;
        self.span.step("encode", encoding, encode, &rows);
    }

    /// Rows are sent.
    pub fn sent(&mut self) {
        if self.sent.is_none() && self.span.is_recording() {
            self.sent = Some(Instant::now());
        }
    }

    /// The first token is there, which ends the prompt's trace; `link` is the time after the last rows
    /// that the cloud does not account for.
    pub fn token(&mut self, link: Duration, usage: &Usage) {
        if !self.span.is_recording() {
            return;
        }
        let Self {
            mut span,
            chunks,
            sent,
        } = std::mem::take(self);
        let now = Instant::now();
        if let Some(sent) = sent {
            let link = [("tandem.link_seconds", link.into())];
            span.step("link", sent, now.duration_since(sent), &link);
        }
        span.set("tandem.rows", usage.rows);
        span.set("tandem.chunks", chunks);
        for (key, time) in usage.times_since(&Usage::default()) {
            span.set(key, time);
        }
        span.end(now);
    }
}
