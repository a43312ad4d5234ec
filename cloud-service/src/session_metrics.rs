//! What a session adds to the metrics.

use crate::intake::CheckedRows;
use crate::metrics::{
    BITS_PER_VALUE, COMPUTE, FAILURES, FRAME_READ, FRAME_READ_OLD, GENERATION_TOKENS,
    INTER_TOKEN_LATENCY, QUEUE, REQUEST_SUCCESS, ROWS, TIME_TO_FIRST_TOKEN, WIRE_BYTES, code_label,
};
use std::time::{Duration, Instant};
use tandem_engine::{RunToken, Want};
use tandem_proto::{encoded_len, v1};
use tandem_wire::{finish_name, finish_reason, message_bytes, token_id_bytes};
use tonic::Status;
use v1::{infer_request, infer_response};

/// Where one session's time and bytes go.
#[derive(Debug, Default)]
pub struct SessionMetrics {
    /// When the first rows of the running answer arrived.
    answer_began: Option<Instant>,
    /// When its last token was ready.
    last_token: Option<Instant>,
    /// Durations of finished steps that no message has carried yet.
    queue: Duration,
    compute: Duration,
}

impl SessionMetrics {
    /// A stream ended with an error.
    pub fn failure(status: &Status) {
        FAILURES.counter(&[code_label(status.code())]).increment(1);
    }

    /// A message came.
    pub fn received(request: &v1::InferRequest) {
        let total = message_bytes(encoded_len(request));
        let (frame, ids) = match &request.message {
            Some(infer_request::Message::Rows(rows)) => {
                (rows.frame.len() as u64, token_id_bytes(rows))
            }
            _ => (0, 0),
        };
        let up = |kind, bytes| WIRE_BYTES.counter(&["up", kind]).increment(bytes);
        up("frame", frame);
        up("token_ids", ids);
        up("control", total.saturating_sub(frame + ids));
    }

    /// A message went.
    pub fn sent(response: &v1::InferResponse) {
        let kind = match &response.message {
            Some(infer_response::Message::Tokens(_)) => "tokens",
            _ => "control",
        };
        WIRE_BYTES
            .counter(&["down", kind])
            .increment(message_bytes(encoded_len(response)));
    }

    /// An answer begins with the next rows.
    pub fn begin_run(&mut self) {
        self.answer_began = None;
        self.last_token = None;
    }

    /// Rows were accepted.
    pub fn rows(&mut self, rows: &CheckedRows) {
        self.answer_began.get_or_insert_with(Instant::now);
        ROWS.histogram(&[phase(rows.step.count, rows.step.want)])
            .record(rows.step.count as f64);
        if rows.values > 0 {
            let bits = 8.0 * rows.frame_bytes as f64 / rows.values as f64;
            BITS_PER_VALUE.histogram(&[]).record(bits);
        }
    }

    /// A step of a phase ended; reading its frames took `frames` of `compute`.
    pub fn step(
        &mut self,
        phase: &'static str,
        queue: Duration,
        compute: Duration,
        frames: Duration,
    ) {
        self.queue += queue;
        self.compute += compute;
        QUEUE.histogram(&[phase]).record(queue);
        if !compute.is_zero() {
            COMPUTE.histogram(&[phase]).record(compute);
        }
        if !frames.is_zero() {
            FRAME_READ.histogram(&[phase]).record(frames);
            FRAME_READ_OLD.histogram(&[phase]).record(frames);
        }
    }

    /// A token is ready.
    pub fn token(&mut self, token: &RunToken) {
        GENERATION_TOKENS.counter(&[]).increment(1);
        let now = Instant::now();
        match (self.last_token.replace(now), self.answer_began) {
            (Some(last), _) => INTER_TOKEN_LATENCY
                .histogram(&[])
                .record(now.duration_since(last)),
            (None, Some(began)) => TIME_TO_FIRST_TOKEN
                .histogram(&[])
                .record(now.duration_since(began)),
            (None, None) => {}
        }
        if token.finish.is_some() {
            let reason = finish_name(finish_reason(token.finish));
            REQUEST_SUCCESS.counter(&[reason]).increment(1);
        }
    }

    /// The durations gathered since the last call, in microseconds: queue, compute.
    pub fn take_durations(&mut self) -> (u32, u32) {
        let micros = |d: Duration| u32::try_from(d.as_micros()).unwrap_or(u32::MAX);
        let taken = (micros(self.queue), micros(self.compute));
        (self.queue, self.compute) = (Duration::ZERO, Duration::ZERO);
        taken
    }
}

/// Rows of an answer: a single one, or drafts behind it.
pub const DECODE: &str = "decode";

/// Whether rows are of an answer or of a prompt.
pub fn phase(rows: usize, want: Want) -> &'static str {
    match rows {
        1 => DECODE,
        _ if want == Want::EachToken => DECODE,
        _ => "prefill",
    }
}
