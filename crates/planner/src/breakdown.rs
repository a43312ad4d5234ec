//! Where a candidate's memory, time and loss go, term by term.

use crate::candidate::Candidate;
use crate::estimate::Parts;
use crate::problem::Problem;
use serde::Serialize;

/// The terms of a candidate's costs. The times are those of a token in the middle of the workload's
/// answer, on the expected link.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Breakdown {
    /// Of a token.
    pub token_seconds: TokenTerms,
    /// Of the edge, with sessions of the least context that is asked for.
    pub memory_bytes: MemoryTerms,
    /// In nats.
    pub kl: LossTerms,
}

/// Seconds of a token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TokenTerms {
    /// The edge: embedding and hand-over.
    pub edge_fixed: f64,
    /// The edge: matrices.
    pub edge_layers: f64,
    /// The edge: attention.
    pub edge_attention: f64,
    /// The edge: the codec.
    pub encode: f64,
    /// The row on its way up, beyond the round trip.
    pub up: f64,
    /// There and back.
    pub round_trip: f64,
    /// Waiting for other sessions in the cloud.
    pub queue: f64,
    /// The cloud: the codec.
    pub decode: f64,
    /// The cloud: hand-over.
    pub cloud_fixed: f64,
    /// The cloud: matrices.
    pub cloud_layers: f64,
    /// The cloud: attention.
    pub cloud_attention: f64,
    /// The cloud: norm, head and sampling.
    pub head: f64,
    /// The token on its way down, beyond the round trip.
    pub down: f64,
}

/// Bytes of the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryTerms {
    /// What is there without a layer.
    pub base: u64,
    /// A chunk of prompt rows.
    pub chunk: u64,
    /// Weights.
    pub weights: u64,
    /// Keys and values of all sessions.
    pub kv: u64,
}

/// Nats of divergence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LossTerms {
    /// Weights.
    pub weights: f64,
    /// Keys and values.
    pub kv: f64,
    /// The codec.
    pub codec: f64,
}

impl TokenTerms {
    /// All of them: the time of the token.
    pub fn sum(&self) -> f64 {
        self.edge_fixed
            + self.edge_layers
            + self.edge_attention
            + self.encode
            + self.up
            + self.round_trip
            + self.queue
            + self.decode
            + self.cloud_fixed
            + self.cloud_layers
            + self.cloud_attention
            + self.head
            + self.down
    }
}

impl MemoryTerms {
    /// All of them.
    pub fn sum(&self) -> u64 {
        self.base + self.chunk + self.weights + self.kv
    }
}

impl LossTerms {
    /// All of them: the candidate's divergence.
    pub fn sum(&self) -> f64 {
        self.weights + self.kv + self.codec
    }
}

/// A candidate's terms.
pub fn breakdown(problem: &Problem, candidate: &Candidate) -> Breakdown {
    let workload = &problem.workload;
    let position = workload.prompt_tokens + workload.output_tokens.max(1) / 2;
    let parts = Parts::of(problem, candidate);
    Breakdown {
        token_seconds: parts.token_terms(problem.link.expected(), position),
        memory_bytes: parts.memory_terms(problem.constraints.min_context),
        kl: parts.loss_terms(),
    }
}
