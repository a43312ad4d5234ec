//! What can go wrong in a step, cheap to copy to everyone who waits for it.

use crate::constraint::ConstraintError;
use crate::sampler::SampleError;
use std::sync::Arc;
use tandem_codec::{DecodeError, EncodeError};
use tandem_model::ModelError;
use tandem_shape::ShapeError;

/// An error of the engine.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The model refused, or its backend failed.
    #[error(transparent)]
    Model(Arc<ModelError>),
    /// Hidden rows could not be encoded: they hold values that are not finite.
    #[error("the front's rows cannot be sent: {0}")]
    Encode(#[from] EncodeError),
    /// A frame could not be decoded.
    #[error("the frame at position {position} is refused: {source}")]
    Decode {
        /// Position of the frame's first row.
        position: usize,
        /// Why.
        source: DecodeError,
    },
    /// No token could be chosen.
    #[error("no token can be chosen at position {position}: {source}")]
    Sample {
        /// Position of the token.
        position: usize,
        /// Why.
        source: SampleError,
    },
    /// The answer cannot go on within the bounds of what it has to keep.
    #[error("the answer cannot go on at position {position}: {source}")]
    Constraint {
        /// Position of the token.
        position: usize,
        /// Why.
        source: ConstraintError,
    },
    /// A token was wanted before a run began.
    #[error("a token is wanted, but no run has begun")]
    NoRun,
    /// Penalties are on, and the ids of some positions are not known.
    #[error("sampling needs the ids of positions 0..{needed}, of which only 0..{known} are known")]
    IdsUnknown {
        /// Positions of the session.
        needed: usize,
        /// Positions whose ids are known.
        known: usize,
    },
    /// The rows do not follow what the session holds.
    #[error("rows start at {found}, the session is at {expected}")]
    OutOfOrder {
        /// Position of the first row.
        found: usize,
        /// Position expected.
        expected: usize,
    },
    /// The memory for keys and values is spoken for.
    #[error("{needed} bytes for keys and values are needed, {used} of {budget} are in use")]
    KvBudget {
        /// Bytes of the session.
        needed: u64,
        /// Bytes in use.
        used: u64,
        /// Bytes there are.
        budget: u64,
    },
    /// A step panicked: the session is lost, the engine is not. The panic's text is for the log alone: nobody
    /// knows what it says.
    #[error("a step failed")]
    Panicked(String),
    /// The session was closed or lost.
    #[error("the session is gone")]
    SessionGone,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

impl From<ModelError> for EngineError {
    fn from(error: ModelError) -> Self {
        Self::Model(Arc::new(error))
    }
}

impl From<ShapeError> for EngineError {
    fn from(error: ShapeError) -> Self {
        ModelError::from(error).into()
    }
}
