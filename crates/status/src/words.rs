//! A status as a person reads it: the message, the code's name, and the reason where there is one.
//! What gRPC carries besides, details and metadata, is for programs.

use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::reason;

/// `MESSAGE (CODE, REASON)`. Of a broken connection the message is its deepest cause.
pub fn words(status: &Status) -> String {
    let message = match (cause(status), status.message()) {
        (Some(cause), _) => cause,
        (None, "") => "no reason was given".to_owned(),
        (None, message) => message.to_owned(),
    };
    let code = code_name(status.code());
    match reason(status) {
        Some(reason) => format!("{message} ({code}, {reason})"),
        None => format!("{message} ({code})"),
    }
}

/// Why a connection failed, where that is what a status tells of: the deepest cause there is. A status
/// that a server sent has none.
pub fn cause(status: &Status) -> Option<String> {
    let mut error = std::error::Error::source(status)?;
    while let Some(source) = error.source() {
        error = source;
    }
    Some(error.to_string())
}

/// Whether what answered speaks gRPC, by the content type of its answer or of the status that the answer
/// became. What has none is believed to: gRPC made it here.
pub fn speaks_grpc(metadata: &MetadataMap) -> bool {
    metadata
        .get("content-type")
        .is_none_or(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// What to say of a port that does not.
pub const NOT_GRPC: &str = "this port answers, but does not speak gRPC: it looks like the port of the OpenAI-compatible API \
     or of metrics";

/// The name that gRPC's own documents give a code: `INVALID_ARGUMENT`.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{bad_request, resource_exhausted};
    use tandem_shape::Reason;

    #[test]
    fn a_status_reads_as_message_code_and_reason_and_nothing_else() {
        let status = bad_request(Reason::Sampling, [("sampling.top_p", "is 2")]);
        assert_eq!(
            words(&status),
            "sampling.top_p: is 2 (INVALID_ARGUMENT, SAMPLING)"
        );
        let status = resource_exhausted(Reason::Sessions, "all are taken", None);
        assert_eq!(
            words(&status),
            "all are taken (RESOURCE_EXHAUSTED, SESSIONS)"
        );
        let mut foreign = Status::unimplemented("");
        foreign
            .metadata_mut()
            .insert("x-secret", "7".parse().unwrap());
        assert_eq!(words(&foreign), "no reason was given (UNIMPLEMENTED)");
        let mut broken = Status::unknown("h2 protocol error: error reading a body");
        broken.set_source(Arc::new(std::io::Error::other("the link is down")));
        assert_eq!(words(&broken), "the link is down (UNKNOWN)");
    }

    #[test]
    fn what_speaks_grpc_is_told_by_its_content_type() {
        let mut answer = MetadataMap::new();
        assert!(speaks_grpc(&answer));
        for (kind, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/json", false),
            ("text/plain; charset=utf-8", false),
        ] {
            answer.insert("content-type", kind.parse().unwrap());
            assert_eq!(speaks_grpc(&answer), grpc, "{kind}");
        }
    }
}
