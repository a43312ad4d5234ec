//! The line of the log that each answer ends with, and each refused request. What the service is at fault
//! for is a warning; what the client did is not. The trace id is in the line's span, where there is one.

use crate::events::Events;
use std::time::Instant;
use tandem_status::{code_name, reason};
use tandem_transport::auth::Peer;
use tonic::{Code, Status};

/// What a line says of an answer besides its end.
#[derive(Debug)]
pub struct AnswerLog {
    /// Who asked.
    pub peer: Peer,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// When the request came.
    pub began: Instant,
}

impl AnswerLog {
    /// Writes how the answer ended, with an error or without.
    pub fn end(&self, events: &Events, failure: Option<&Status>) {
        let Self {
            peer,
            prompt_tokens,
            began,
        } = self;
        let (tokens, seconds) = (events.tokens(), seconds(*began));
        let Some(status) = failure else {
            let reason = tandem_wire::finish_name(events.finish().unwrap_or_default());
            tracing::info!(%peer, reason, prompt_tokens, tokens, seconds, "answer ended");
            return;
        };
        let Failure {
            reason,
            code,
            error,
        } = Failure::of(status);
        if is_ours(status.code()) {
            tracing::warn!(%peer, reason, code, prompt_tokens, tokens, seconds, error, "answer failed");
        } else {
            tracing::info!(%peer, reason, code, prompt_tokens, tokens, seconds, error, "answer failed");
        }
    }
}

/// Writes why a request was refused before its answer began. `call` is what was called.
pub fn refused(call: &'static str, status: &Status) {
    let Failure {
        reason,
        code,
        error,
    } = Failure::of(status);
    if is_ours(status.code()) {
        tracing::warn!(call, reason, code, error, "request refused")
    } else {
        tracing::info!(call, reason, code, error, "request refused")
    }
}

struct Failure<'a> {
    reason: String,
    code: &'static str,
    error: &'a str,
}

impl<'a> Failure<'a> {
    fn of(status: &'a Status) -> Self {
        let code = code_name(status.code());
        Self {
            // A cancellation has none of its own.
            reason: reason(status).unwrap_or_else(|| code.to_owned()),
            code,
            error: status.message(),
        }
    }
}

/// Whether a failure is the service's, its setting up or its slowness included, rather than the client's:
/// what the alerts count as an error.
fn is_ours(code: Code) -> bool {
    match code {
        Code::Ok
        | Code::Cancelled
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::OutOfRange
        | Code::Unimplemented => false,
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
    }
}

/// Seconds since a moment, to the millisecond.
fn seconds(began: Instant) -> f64 {
    (1e3 * began.elapsed().as_secs_f64()).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_shape::Reason;
    use tandem_status::unavailable;

    #[test]
    fn what_the_client_did_is_no_warning() {
        for code in [Code::Cancelled, Code::InvalidArgument, Code::OutOfRange] {
            assert!(!is_ours(code), "{code:?}");
        }
        for code in [Code::Unavailable, Code::Internal, Code::DeadlineExceeded] {
            assert!(is_ours(code), "{code:?}");
        }
    }

    #[test]
    fn a_failure_has_a_reason_even_where_its_status_has_none() {
        let gone = Status::cancelled("the client went away");
        assert_eq!(Failure::of(&gone).reason, "CANCELLED");
        let away = unavailable(Reason::CloudUnreachable, "away", None);
        assert_eq!(Failure::of(&away).reason, "CLOUD_UNREACHABLE");
    }
}
