//! The one mapping from statuses to HTTP's and to OpenAI's errors.
//!
//! | gRPC | HTTP | `type` |
//! | --- | --- | --- |
//! | INVALID_ARGUMENT, OUT_OF_RANGE, a model without a chat template | 400 | `invalid_request_error` |
//! | UNAUTHENTICATED | 401 | `invalid_request_error` |
//! | another model's name | 404 | `invalid_request_error` |
//! | RESOURCE_EXHAUSTED | 429 | `rate_limit_error` |
//! | UNAVAILABLE, ABORTED, other FAILED_PRECONDITION | 503 | `server_error` |
//! | DEADLINE_EXCEEDED | 504 | `server_error` |
//! | the rest | 500 | `server_error` |
//!
//! `code` is the status's reason in small letters, but for the three that clients look for.

use crate::error::{AnswerError, RequestError};
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::time::Duration;
use tandem_status::{reason, retry_after};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// How long a refused client should wait where nobody says, and the longest it is told to.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A failure as clients of OpenAI know it.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    body: Box<Body>,
    retry_after: Option<Duration>,
    /// The methods of a path that was called by another.
    allow: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Body {
    error: ErrorObject,
}

#[derive(Debug, Serialize)]
struct ErrorObject {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<String>,
    code: Option<String>,
}

impl Failure {
    /// A request that is wrong before it is read.
    pub(super) fn http(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            body: Box::new(Body {
                error: ErrorObject {
                    message: message.into(),
                    kind: "invalid_request_error",
                    param: None,
                    code: Some(code.to_owned()),
                },
            }),
            retry_after: None,
            allow: None,
        }
    }

    /// The same path takes other methods.
    pub(super) fn method(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::http(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                format!("only {allow} is served here"),
            )
        }
    }

    /// The JSON object `{"error": …}`.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(&self.body).unwrap_or_default()
    }
}

impl From<AnswerError> for Failure {
    fn from(error: AnswerError) -> Self {
        Status::from(error).into()
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        AnswerError::from(error).into()
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let reason = reason(&status);
        let (http, kind) = http_status(status.code(), reason.as_deref());
        let code = match reason.as_deref() {
            Some("PROMPT_TOO_LONG") => Some("context_length_exceeded".to_owned()),
            Some("TOKEN") => Some("invalid_api_key".to_owned()),
            reason => reason.map(str::to_ascii_lowercase),
        };
        let retry_after = match http {
            StatusCode::TOO_MANY_REQUESTS => Some(retry_after(&status).unwrap_or(WAIT.0)),
            _ => retry_after(&status),
        };
        Self {
            status: http,
            body: Box::new(Body {
                error: ErrorObject {
                    message: in_the_requests_words(status.message()),
                    kind,
                    param: param(&status),
                    code,
                },
            }),
            retry_after,
            allow: None,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        let mut response = (self.status, [(CONTENT_TYPE, json)], self.json()).into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            // Whole seconds, and never at once.
            let wait = wait.clamp(WAIT.0, WAIT.1).as_millis().div_ceil(1000);
            let wait = u32::try_from(wait).unwrap_or(u32::MAX);
            headers.insert(RETRY_AFTER, HeaderValue::from(wait));
        }
        if let Some(methods) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        response
    }
}

fn http_status(code: Code, reason: Option<&str>) -> (StatusCode, &'static str) {
    const INVALID: &str = "invalid_request_error";
    const SERVER: &str = "server_error";
    match (code, reason) {
        (_, Some("MODEL_NOT_FOUND")) => (StatusCode::NOT_FOUND, INVALID),
        (_, Some("CHAT_TEMPLATE")) => (StatusCode::BAD_REQUEST, INVALID),
        (Code::InvalidArgument | Code::OutOfRange, _) => (StatusCode::BAD_REQUEST, INVALID),
        (Code::Unauthenticated, _) => (StatusCode::UNAUTHORIZED, INVALID),
        (Code::PermissionDenied, _) => (StatusCode::FORBIDDEN, INVALID),
        (Code::ResourceExhausted, _) => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error"),
        (Code::Unavailable | Code::Aborted | Code::FailedPrecondition, _) => {
            (StatusCode::SERVICE_UNAVAILABLE, SERVER)
        }
        (Code::DeadlineExceeded, _) => (StatusCode::GATEWAY_TIMEOUT, SERVER),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, SERVER),
    }
}

/// The first field concerned.
fn param(status: &Status) -> Option<String> {
    let violations = status.get_details_bad_request()?.field_violations;
    let field = in_the_requests_words(&violations.first()?.field);
    Some(match field.as_str() {
        "token_ids" => "prompt".to_owned(),
        "constraint" => "response_format".to_owned(),
        _ => field,
    })
}

/// Here sampling parameters stand beside the others.
fn in_the_requests_words(text: &str) -> String {
    text.strip_prefix("sampling.").unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use tandem_shape::Reason;
    use tandem_status::{bad_request, failure, resource_exhausted, unavailable};

    fn seen(status: Status) -> (u16, Value, Option<String>) {
        let failure = Failure::from(status);
        let error: Value = serde_json::from_str(&failure.json()).unwrap();
        let response = failure.into_response();
        let retry = response.headers().get(RETRY_AFTER);
        let retry = retry.map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), error["error"].clone(), retry)
    }

    #[test]
    fn a_field_is_named_as_the_request_names_it() {
        let status = bad_request(
            Reason::Sampling,
            [("sampling.top_p", "must be at most 1, is 2")],
        );
        let error = json!({
            "message": "top_p: must be at most 1, is 2", "type": "invalid_request_error",
            "param": "top_p", "code": "sampling",
        });
        assert_eq!(seen(status), (400, error, None));
        let (code, error, _) = seen(bad_request(
            Reason::TokenId,
            [("token_ids", "9 is outside")],
        ));
        assert_eq!((code, &error["param"]), (400, &json!("prompt")));
    }

    #[test]
    fn what_clients_look_for_has_openais_name() {
        let (code, error, _) = seen(bad_request(
            Reason::ModelNotFound,
            [("model", "is not served")],
        ));
        assert_eq!((code, &error["code"]), (404, &json!("model_not_found")));
        let (code, error, _) = seen(bad_request(Reason::PromptTooLong, [("prompt", "has 9")]));
        assert_eq!(
            (code, &error["code"]),
            (400, &json!("context_length_exceeded"))
        );
    }

    #[test]
    fn overload_says_when_to_come_again() {
        let soon = Some(Duration::from_millis(1200));
        let (code, error, retry) = seen(resource_exhausted(Reason::Sessions, "all run", soon));
        assert_eq!(code, 429);
        assert_eq!(error["type"], "rate_limit_error");
        assert_eq!(retry.as_deref(), Some("2"));
        let (_, _, retry) = seen(resource_exhausted(Reason::Sessions, "all run", None));
        assert_eq!(retry.as_deref(), Some("1"));
        let late = Some(Duration::from_secs(1 << 30));
        let (code, _, retry) = seen(unavailable(Reason::CloudUnreachable, "is away", late));
        assert_eq!((code, retry.as_deref()), (503, Some("60")));
        let (code, _, retry) = seen(unavailable(Reason::Draining, "shutting down", None));
        assert_eq!((code, retry), (503, None));
    }

    #[test]
    fn every_code_has_its_status() {
        for (code, reason, http) in [
            (Code::OutOfRange, Reason::ContextFull, 400),
            (Code::FailedPrecondition, Reason::ChatTemplate, 400),
            (Code::FailedPrecondition, Reason::Model, 503),
            (Code::Aborted, Reason::SessionGone, 503),
            (Code::Unauthenticated, Reason::Token, 401),
            (Code::PermissionDenied, Reason::Certificate, 403),
            (Code::DeadlineExceeded, Reason::Deadline, 504),
            (Code::Internal, Reason::StepFailed, 500),
            (Code::DataLoss, Reason::Checksum, 500),
        ] {
            assert_eq!(seen(failure(code, reason, "x")).0, http, "{code:?}");
        }
    }
}
