//! The one mapping from the engine's errors to gRPC statuses. Reasons are part of the interface:
//! docs/protocol.md lists them.

use std::time::Duration;
use tandem_engine::sampler::ParameterErrors;
use tandem_engine::{EngineError, LedgerError};
use tandem_model::ModelError;
use tandem_service::status::{bad_request, failure, resource_exhausted, unavailable};
use tandem_shape::ShapeError;
use tonic::{Code, Status};

/// How long a client refused for want of memory should wait: about an answer's length.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The status of a failed step.
pub fn engine_status(error: &EngineError) -> Status {
    let message = error.to_string();
    match error {
        EngineError::Model(model) => match model.as_ref() {
            ModelError::ContextFull { .. } | ModelError::ContextTooLong { .. } => {
                failure(Code::OutOfRange, "CONTEXT_FULL", message)
            }
            ModelError::TokenId { .. } => bad_request("TOKEN_ID", [("token_ids", message)]),
            ModelError::Shape(ShapeError::LayerRange { .. }) => {
                failure(Code::FailedPrecondition, "SPLIT", message)
            }
            _ => failure(Code::Internal, "STEP_FAILED", message),
        },
        EngineError::Decode { .. } => bad_request("FRAME", [("rows.frame", message)]),
        EngineError::NoRun => failure(Code::FailedPrecondition, "NO_RUN", message),
        EngineError::IdsUnknown { .. } => {
            bad_request("TOKEN_IDS_UNKNOWN", [("rows.token_ids", message)])
        }
        EngineError::OutOfOrder { .. } => bad_request("OUT_OF_ORDER", [("rows.start", message)]),
        EngineError::KvBudget { .. } => resource_exhausted("KV_MEMORY", message, Some(RETRY_AFTER)),
        EngineError::Encode(_) | EngineError::Sample { .. } | EngineError::Panicked(_) => {
            failure(Code::Internal, "STEP_FAILED", message)
        }
        EngineError::SessionGone => failure(Code::Aborted, "SESSION_GONE", message),
        EngineError::Stopped => unavailable("ENGINE_STOPPED", message, None),
    }
}

/// The status of a message that does not fit its session.
pub fn ledger_status(error: &LedgerError) -> Status {
    let message = error.to_string();
    match error {
        LedgerError::PastContext { .. } => failure(Code::OutOfRange, "CONTEXT_FULL", message),
        LedgerError::Gap { .. } => bad_request("OUT_OF_ORDER", [("rows.start", message)]),
        LedgerError::FutureEpoch { .. } | LedgerError::WrongEpoch { .. } => {
            bad_request("EPOCH", [("epoch", message)])
        }
        LedgerError::TruncateAhead { .. } => {
            bad_request("OUT_OF_ORDER", [("truncate.position", message)])
        }
        LedgerError::NotSampled { .. } => bad_request("NOT_SAMPLED", [("rows.want", message)]),
    }
}

/// The status of parameters that cannot be met.
pub fn parameter_status(errors: &ParameterErrors) -> Status {
    bad_request(
        "SAMPLING",
        errors
            .violations()
            .iter()
            .map(|v| (format!("sampling.{}", v.field), v.description.clone())),
    )
}
