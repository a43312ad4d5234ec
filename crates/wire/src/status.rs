//! The one mapping from the engine's errors to gRPC statuses. Reasons are part of the interface:
//! docs/protocol.md lists them.

use std::time::Duration;
use tandem_engine::sampler::ParameterErrors;
use tandem_engine::{EngineError, LedgerError};
use tandem_model::ModelError;
use tandem_shape::Reason;
use tandem_shape::ShapeError;
use tandem_status::{bad_request, failure, resource_exhausted, unavailable};
use tonic::{Code, Status};

/// How long a client refused for want of memory should wait: about an answer's length.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The status of a failed step.
pub fn engine_status(error: &EngineError) -> Status {
    let message = error.to_string();
    match error {
        EngineError::Model(model) => match model.as_ref() {
            ModelError::ContextFull { .. } | ModelError::ContextTooLong { .. } => {
                failure(Code::OutOfRange, Reason::ContextFull, message)
            }
            ModelError::TokenId { .. } => bad_request(Reason::TokenId, [("token_ids", message)]),
            ModelError::Shape(ShapeError::LayerRange { .. }) => {
                failure(Code::FailedPrecondition, Reason::Split, message)
            }
            // A backend's own words, with paths and traces of calls.
            error => {
                tracing::error!(%error, "a step failed");
                failure(Code::Internal, Reason::StepFailed, "a step failed")
            }
        },
        EngineError::Decode { .. } => bad_request(Reason::Frame, [("rows.frame", message)]),
        EngineError::Constraint { .. } => {
            bad_request(Reason::Constraint, [("constraint", message)])
        }
        EngineError::NoRun => failure(Code::FailedPrecondition, Reason::NoRun, message),
        EngineError::IdsUnknown { .. } => {
            bad_request(Reason::TokenIdsUnknown, [("rows.token_ids", message)])
        }
        EngineError::OutOfOrder { .. } => {
            bad_request(Reason::OutOfOrder, [("rows.start", message)])
        }
        EngineError::KvBudget { .. } => {
            resource_exhausted(Reason::KvMemory, message, Some(RETRY_AFTER))
        }
        EngineError::Encode(_) | EngineError::Sample { .. } | EngineError::Panicked(_) => {
            failure(Code::Internal, Reason::StepFailed, message)
        }
        EngineError::SessionGone => failure(Code::Aborted, Reason::SessionGone, message),
        EngineError::Stopped => unavailable(Reason::EngineStopped, message, None),
    }
}

/// The status of a message that does not fit its session.
pub fn ledger_status(error: &LedgerError) -> Status {
    let message = error.to_string();
    match error {
        LedgerError::PastContext { .. } => failure(Code::OutOfRange, Reason::ContextFull, message),
        LedgerError::Gap { .. } => bad_request(Reason::OutOfOrder, [("rows.start", message)]),
        LedgerError::FutureEpoch { .. } | LedgerError::WrongEpoch { .. } => {
            bad_request(Reason::Epoch, [("epoch", message)])
        }
        LedgerError::TruncateAhead { .. } => {
            bad_request(Reason::OutOfOrder, [("truncate.position", message)])
        }
        LedgerError::NotSampled { .. } => bad_request(Reason::NotSampled, [("rows.want", message)]),
    }
}

/// The status of parameters that cannot be met.
pub fn parameter_status(errors: &ParameterErrors) -> Status {
    bad_request(
        Reason::Sampling,
        errors
            .violations()
            .iter()
            .map(|v| (format!("sampling.{}", v.field), v.description.clone())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn no_peer_reads_what_a_panic_or_a_backend_says() {
        let panicked = EngineError::Panicked("index 7 of /home/operator/model".to_owned());
        let backend = ModelError::Read {
            path: PathBuf::from("/home/operator/model"),
            source: std::io::Error::other("gone"),
        };
        for error in [panicked, EngineError::from(backend)] {
            let status = engine_status(&error);
            assert_eq!(status.code(), Code::Internal);
            assert_eq!(status.message(), "a step failed");
        }
    }
}
