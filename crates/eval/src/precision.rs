//! What a result says of the types it was measured in.

use crate::cli::PrecisionArgs;
use serde::Serialize;
use std::fmt;

/// The types of both sides, as they are named on the command line. Without a front the back's are
/// those of the whole model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrecisionReport {
    /// The front's matrices.
    pub front_weights: String,
    /// The front's keys and values.
    pub front_kv: String,
    /// The back's matrices.
    pub back_weights: String,
    /// The back's keys and values.
    pub back_kv: String,
}

impl PrecisionReport {
    /// What was asked for, and what followed from it.
    pub fn of(args: &PrecisionArgs) -> Self {
        let (front, back) = (args.front(), args.back());
        Self {
            front_kv: front.kv().to_string(),
            front_weights: front.weights.to_string(),
            back_kv: back.kv().to_string(),
            back_weights: back.weights.to_string(),
        }
    }
}

impl fmt::Display for PrecisionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "front {} (keys and values {}), back {} ({})",
            self.front_weights, self.front_kv, self.back_weights, self.back_kv
        )
    }
}
