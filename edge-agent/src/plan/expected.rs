//! What an edge that planned for itself expects of its plan, kept and told with it.

use super::advice::advice;
use super::figures::{bytes, limit_name};
use serde::{Deserialize, Serialize};
use tandem_planner::{Outcome, Plan, Problem};

/// A plan's costs, and what shaped it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// Bytes of the edge.
    memory_bytes: u64,
    /// The limit of that, if there is one.
    memory_limit: Option<u64>,
    /// The limits that bind, by name.
    binding: Vec<String>,
    /// Divergence from the model in f32, in nats.
    pub kl: f64,
    /// Whether that is an upper bound.
    pub kl_is_bound: bool,
    /// Of a token in the middle of the answer.
    pub token_seconds: f64,
    /// Compute of the cloud for each token of the answer.
    pub cloud_seconds_per_token: f64,
    /// Why not to split, where that is the answer.
    pub advice: Option<String>,
}

impl Expected {
    /// Of the plan that was chosen.
    pub fn of(problem: &Problem, outcome: &Outcome, chosen: &Plan) -> Self {
        let e = &chosen.estimate;
        let binding = outcome.binding.iter();
        Self {
            memory_bytes: e.memory,
            memory_limit: problem.constraints.memory,
            binding: binding
                .map(|b| limit_name(b.constraint).to_owned())
                .collect(),
            kl: e.kl,
            kl_is_bound: e.kl_is_bound,
            token_seconds: e.token,
            cloud_seconds_per_token: e.cloud,
            advice: advice(problem, outcome),
        }
    }

    /// `310 MiB of 6.0 GiB`.
    pub fn memory(&self) -> String {
        let used = bytes(self.memory_bytes as f64);
        match self.memory_limit {
            Some(limit) => format!("{used} of {}", bytes(limit as f64)),
            None => used,
        }
    }

    /// `memory, KL divergence`, or `nothing`.
    pub fn binds(&self) -> String {
        if self.binding.is_empty() {
            "nothing".to_owned()
        } else {
            self.binding.join(", ")
        }
    }
}
