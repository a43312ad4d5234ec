//! The one mapping from errors to gRPC statuses. What the OpenAI-compatible API says is made of these, so that
//! both doors say the same; docs/protocol.md lists them.

use crate::error::{AnswerError, RequestError};
use std::time::Duration;
use tandem_client::{CloudError, CloudStatus, SessionError};
use tandem_shape::Reason;
use tandem_status::{bad_request, failure, resource_exhausted, unavailable, words};
use tandem_wire::{engine_status, parameter_status};
use tonic::{Code, Status};

/// When to come back to an edge that measures its machine, or waits for its cloud.
const PLANNING_TAKES: Duration = Duration::from_secs(5);
/// When to come back to an edge that loads its model.
const LOADING_TAKES: Duration = Duration::from_secs(1);
/// When to come back to an edge that is busy, or to a cloud that is away.
const SOON: Duration = Duration::from_secs(1);

impl From<AnswerError> for Status {
    fn from(error: AnswerError) -> Self {
        Self::from(&error)
    }
}

impl From<&AnswerError> for Status {
    fn from(error: &AnswerError) -> Self {
        let message = error.to_string();
        match error {
            AnswerError::Planning => unavailable(Reason::Planning, message, Some(PLANNING_TAKES)),
            AnswerError::Loading => unavailable(Reason::Loading, message, Some(LOADING_TAKES)),
            AnswerError::Draining => unavailable(Reason::Draining, message, None),
            AnswerError::Request(error) => request_status(error),
            AnswerError::TooManyPrompts { .. } => {
                resource_exhausted(Reason::Prompts, message, Some(SOON))
            }
            AnswerError::AllRunning(_) => resource_exhausted(Reason::Sessions, message, Some(SOON)),
            AnswerError::Session(SessionError::Cloud(error)) => cloud_status(error),
            AnswerError::Session(SessionError::Front(error)) => engine_status(error),
            AnswerError::NoToken => failure(Code::Internal, Reason::NoToken, message),
            AnswerError::Text(_) | AnswerError::Tokenising => {
                failure(Code::Internal, Reason::Text, message)
            }
            AnswerError::Deadline => failure(Code::DeadlineExceeded, Reason::Deadline, message),
            AnswerError::ClientGone => Self::cancelled(message),
            AnswerError::NotRead => failure(Code::Cancelled, Reason::NotRead, message),
            AnswerError::EndedEarly => failure(Code::Internal, Reason::EndedEarly, message),
        }
    }
}

fn request_status(error: &RequestError) -> Status {
    let message = error.to_string();
    match error {
        RequestError::Prompt(problem) => bad_request(Reason::Prompt, [("prompt", *problem)]),
        RequestError::NoInput => bad_request(Reason::Input, [("input", "is absent")]),
        RequestError::NoMessages => bad_request(Reason::Messages, [("messages", "is empty")]),
        RequestError::Messages(error) => {
            bad_request(Reason::Messages, [("messages", error.to_string())])
        }
        RequestError::ChatTemplate(_) => {
            failure(Code::FailedPrecondition, Reason::ChatTemplate, message)
        }
        RequestError::TokenId { id, vocabulary } => {
            let problem = format!("{id} is outside the vocabulary of {vocabulary}");
            bad_request(Reason::TokenId, [("token_ids", problem)])
        }
        RequestError::PromptTooLong { field, problem } => {
            bad_request(Reason::PromptTooLong, [(*field, problem.clone())])
        }
        RequestError::MaxTokens => bad_request(
            Reason::MaxTokens,
            [("max_tokens", "is 0, must be at least 1")],
        ),
        RequestError::Constraint(problem) => {
            bad_request(Reason::Constraint, [("constraint", *problem)])
        }
        RequestError::Stop(error) => bad_request(Reason::Stop, [("stop", error.to_string())]),
        RequestError::Sampling(errors) => parameter_status(errors),
        RequestError::Timeout(error) => {
            bad_request(Reason::Timeout, [("grpc-timeout", error.to_string())])
        }
        RequestError::Body(_) => failure(Code::InvalidArgument, Reason::Body, message),
        RequestError::Field { path, problem } => {
            bad_request(Reason::Field, [(path.clone(), problem.clone())])
        }
        RequestError::Model { asked, served } => {
            let problem = format!("{asked} is not served here, {served} is");
            bad_request(Reason::ModelNotFound, [("model", problem)])
        }
    }
}

fn cloud_status(error: &CloudError) -> Status {
    let message = error.to_string();
    match error {
        CloudError::Unreachable { .. } | CloudError::Lost { .. } => {
            unavailable(Reason::CloudUnreachable, message, Some(SOON))
        }
        CloudError::Refused { .. } => unavailable(Reason::CloudRefused, message, Some(SOON)),
        CloudError::Gone => unavailable(Reason::CloudGone, message, None),
        CloudError::Unasked { .. } => failure(Code::Internal, Reason::CloudAnswer, message),
        CloudError::Unconstrained => bad_request(Reason::Constraint, [("constraint", message)]),
        CloudError::HeldOtherwise { .. } => {
            unavailable(Reason::CloudChanged, message, Some(Duration::ZERO))
        }
        CloudError::GrantedLess { .. } => {
            unavailable(Reason::GrantedLess, message, Some(Duration::ZERO))
        }
        CloudError::Status(CloudStatus {
            code,
            message,
            details,
            ..
        }) => Status::with_details(*code, message.clone(), details.clone()),
    }
}

/// An error for whoever runs this edge: as a status reads, with the cloud's address where it tells of the
/// cloud.
pub fn for_operator(error: &AnswerError, cloud: &str) -> String {
    let said = words(&Status::from(error));
    match error {
        AnswerError::Session(SessionError::Cloud(_)) => format!("{cloud}: {said}"),
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_status::{reason, retry_after};

    #[test]
    fn the_clouds_own_statuses_are_passed_on_whole() {
        let full = resource_exhausted(Reason::KvMemory, "there is no room", Some(SOON));
        let error = AnswerError::from(CloudError::of_call(&full));
        let passed = Status::from(&error);
        assert_eq!(passed.code(), full.code());
        assert_eq!(passed.message(), full.message());
        assert_eq!(passed.details(), full.details());
        assert_eq!(
            for_operator(&error, "http://cloud:1"),
            "http://cloud:1: there is no room (RESOURCE_EXHAUSTED, KV_MEMORY)"
        );
    }

    #[test]
    fn what_mends_itself_says_when_to_come_back() {
        let away = CloudError::Unreachable {
            why: "refused".to_owned(),
            sent: true,
        };
        for (error, name, after) in [
            (AnswerError::from(away), "CLOUD_UNREACHABLE", Some(SOON)),
            (AnswerError::Planning, "PLANNING", Some(PLANNING_TAKES)),
            (AnswerError::Loading, "LOADING", Some(LOADING_TAKES)),
            (AnswerError::Draining, "DRAINING", None),
        ] {
            let status = Status::from(error);
            assert_eq!(status.code(), Code::Unavailable);
            assert_eq!(reason(&status).as_deref(), Some(name));
            assert_eq!(retry_after(&status), after);
        }
    }

    #[test]
    fn what_is_wrong_with_a_request_names_the_field() {
        let error = RequestError::TokenId {
            id: 9,
            vocabulary: 8,
        };
        let status = Status::from(AnswerError::from(error));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(
            status.message(),
            "token_ids: 9 is outside the vocabulary of 8"
        );
        assert_eq!(reason(&status).as_deref(), Some("TOKEN_ID"));
    }
}
