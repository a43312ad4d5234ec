//! Statuses with details, as gRPC's richer error model has them (`google.rpc` in the trailer
//! `grpc-status-details-bin`), so that a program can tell what a person reads in the message.
//!
//! Every one carries an `ErrorInfo` with the domain `tandem` and a reason in capitals
//! (`PROMPT_TOO_LONG`), a [`Reason`], which is part of the interface: messages may change, reasons do not.
//! Trailers have to fit a client's limit for headers (16 KiB as a rule), or the client sees a broken
//! stream in place of the status; so texts are cut and lists bounded.

mod words;

use std::time::Duration;

use tandem_shape::Reason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

pub use words::{NOT_GRPC, cause, code_name, speaks_grpc, words};

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "tandem";

/// The longest text in a status, in bytes.
const MAX_TEXT: usize = 512;
/// The most field violations in a status.
const MAX_VIOLATIONS: usize = 8;

/// INVALID_ARGUMENT: fields of the request cannot be, each with the reason why. The first eight
/// travel; the message is the first one.
pub fn bad_request<F, D>(reason: Reason, violations: impl IntoIterator<Item = (F, D)>) -> Status
where
    F: Into<String>,
    D: Into<String>,
{
    let mut details = ErrorDetails::new();
    let mut message = String::new();
    for (field, description) in violations.into_iter().take(MAX_VIOLATIONS) {
        let (field, description) = (cut(field), cut(description));
        if message.is_empty() {
            message = format!("{field}: {description}");
        }
        details.add_bad_request_violation(field, description);
    }
    with_reason(Code::InvalidArgument, reason, message, details)
}

/// RESOURCE_EXHAUSTED: there is no room now; try again after the delay, or never without one.
pub fn resource_exhausted(
    reason: Reason,
    message: impl Into<String>,
    retry_after: Option<Duration>,
) -> Status {
    with_reason(Code::ResourceExhausted, reason, message, retry(retry_after))
}

/// UNAVAILABLE: this server cannot serve now; another may, or this one after the delay.
pub fn unavailable(
    reason: Reason,
    message: impl Into<String>,
    retry_after: Option<Duration>,
) -> Status {
    with_reason(Code::Unavailable, reason, message, retry(retry_after))
}

/// FAILED_PRECONDITION: the two sides do not fit. The reason says what (`MODEL`), the subject which
/// one, the description in which way; the message is the description.
pub fn precondition_failure(
    reason: Reason,
    subject: impl Into<String>,
    description: impl Into<String>,
) -> Status {
    let description = cut(description);
    let mut details = ErrorDetails::new();
    details.add_precondition_failure_violation(reason.name(), cut(subject), description.clone());
    with_reason(Code::FailedPrecondition, reason, description, details)
}

/// Any code with a reason and nothing more: DATA_LOSS for a failed checksum, INTERNAL for a failed
/// step, DEADLINE_EXCEEDED.
pub fn failure(code: Code, reason: Reason, message: impl Into<String>) -> Status {
    with_reason(code, reason, message, ErrorDetails::new())
}

/// The reason in a status of ours.
pub fn reason(status: &Status) -> Option<String> {
    let info = status.get_details_error_info()?;
    (info.domain == DOMAIN).then_some(info.reason)
}

/// The same, where this release knows it.
pub fn known_reason(status: &Status) -> Option<Reason> {
    reason(status)?.parse().ok()
}

/// What an error is called in traces: its reason, or its code where it has none.
pub fn error_type(status: &Status) -> String {
    reason(status).unwrap_or_else(|| format!("{:?}", status.code()))
}

/// How long a status asks to wait before another try. It comes from a peer: bound it.
pub fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

fn retry(after: Option<Duration>) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    if after.is_some() {
        details.set_retry_info(after);
    }
    details
}

fn with_reason(
    code: Code,
    reason: Reason,
    message: impl Into<String>,
    mut details: ErrorDetails,
) -> Status {
    details.set_error_info(reason.name(), DOMAIN, [] as [(String, String); 0]);
    Status::with_error_details(code, cut(message), details)
}

/// At most [`MAX_TEXT`] bytes of a text, cut between characters.
fn cut(text: impl Into<String>) -> String {
    let mut text = text.into();
    if text.len() > MAX_TEXT {
        let room = MAX_TEXT - '…'.len_utf8();
        let end = (0..=room).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;

    use tokio_util::task::AbortOnDropHandle;
    use tonic::body::Body;
    use tonic::transport::{Endpoint, Server};
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;
    use tokio_stream::wrappers::TcpListenerStream;

    #[test]
    fn field_violations_travel() {
        let status = bad_request(
            Reason::Sampling,
            [
                ("sampling.top_p", "is 2, must be at most 1"),
                ("max_tokens", "is 0"),
            ],
        );
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "sampling.top_p: is 2, must be at most 1");
        assert_eq!(reason(&status).as_deref(), Some("SAMPLING"));
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[1].field, "max_tokens");
        assert_eq!(violations[1].description, "is 0");
    }

    #[test]
    fn retries_preconditions_and_reasons_travel() {
        let delay = Duration::from_millis(250);
        let status = resource_exhausted(Reason::Sessions, "all 4 sessions are taken", Some(delay));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(retry_after(&status), Some(delay));

        let status = unavailable(Reason::Draining, "shutting down", None);
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(retry_after(&status), None);

        let status = precondition_failure(Reason::Model, "weights", "a, not b");
        assert_eq!(status.code(), Code::FailedPrecondition);
        let violations = status
            .get_details_precondition_failure()
            .unwrap()
            .violations;
        assert_eq!(violations[0].r#type, "MODEL");
        assert_eq!(violations[0].subject, "weights");
        assert_eq!(reason(&status).as_deref(), Some("MODEL"));

        let status = failure(Code::DataLoss, Reason::Checksum, "the frame is damaged");
        assert_eq!(
            (status.code(), reason(&status).as_deref()),
            (Code::DataLoss, Some("CHECKSUM"))
        );
    }

    #[test]
    fn a_status_fits_into_trailers_whatever_the_request_held() {
        let long = "ü".repeat(1 << 20);
        let many = std::iter::repeat_n((long.clone(), long.clone()), 10_000);
        let status = bad_request(Reason::Sampling, many);
        assert!(
            status.details().len() < 10 << 10,
            "{}",
            status.details().len()
        );
        assert!(status.message().len() <= MAX_TEXT);
        let status = precondition_failure(Reason::Model, long.clone(), long);
        assert!(status.message().ends_with('…'));
    }

    #[tokio::test]
    async fn the_largest_status_reaches_a_client() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let long = "ü".repeat(MAX_TEXT);
        let many = std::iter::repeat_n((long.clone(), long), MAX_VIOLATIONS);
        let largest = bad_request(Reason::Sampling, many);
        let sent = largest.clone();
        let service = tower::service_fn(move |_| {
            let answer = sent.clone().into_http::<Body>();
            async { Ok::<_, Infallible>(answer) }
        });
        let serving =
            Server::builder().serve_with_incoming(service, TcpListenerStream::new(listener));
        let _server = AbortOnDropHandle::new(tokio::spawn(serving));

        let channel = Endpoint::from_shared(address)
            .unwrap()
            .connect()
            .await
            .unwrap();
        let mut client = HealthClient::new(channel);
        let received = client
            .check(HealthCheckRequest::default())
            .await
            .unwrap_err();
        assert_eq!(received.code(), Code::InvalidArgument);
        assert_eq!(received.message(), largest.message());
        assert_eq!(received.details(), largest.details());
    }

    #[test]
    fn details_of_strangers_are_not_ours() {
        assert_eq!(reason(&Status::internal("plain")), None);
        let garbage = Status::with_details(Code::Internal, "x", vec![0xff; 64].into());
        assert_eq!(reason(&garbage), None);
        assert_eq!(retry_after(&garbage), None);
        let foreign = ErrorDetails::with_error_info("REASON", "elsewhere", HashMap::new());
        let foreign = Status::with_error_details(Code::Internal, "x", foreign);
        assert_eq!(reason(&foreign), None);
    }
}
