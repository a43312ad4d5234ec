//! What a candidate costs: memory, time and quality.
//!
//! **Memory** of the edge for split `l` and sessions of `W` positions, in bytes:
//! `M = base + chunk + Σ_{i<l} B_w(i) + sessions · l · W · B_kv`, where `B_w` counts scales and zero
//! points and `B_kv` is a position's key and value of one layer, `2 · H_kv · D · Q_a1 / 8` and their
//! scales. The embedding is mapped and not counted: the system takes its pages back when it needs them.
//!
//! **Time of the token** behind `w` positions, in seconds:
//! `t(w) = t_edge(l, w) + encode + (bytes + overhead)/rate_up + RTT + queue + decode + t_cloud(l, w) +
//! overhead/rate_down`, with `t_edge = fixed + Σ_{i<l} layer(Q_w1(i)) + l · attention(Q_a1, w)` and
//! `t_cloud = fixed + (L − l) · (layer + attention(w)) + head`, all measured.
//!
//! **Quality** in nats of Kullback-Leibler divergence from the exact model: what each layer, its keys
//! and values, and the codec at the cut cost alone, added up. What was not measured counts with an upper bound.

use crate::breakdown::{LossTerms, MemoryTerms, TokenTerms};
use crate::candidate::Candidate;
use crate::link::Link;
use crate::pipeline;
use crate::problem::Problem;
use crate::profiles::{CodecCost, KvOption};

/// Bytes of a message around what it carries: HTTP/2's and gRPC's headers (9 and 5 bytes), and the
/// fields of the message itself.
pub const MESSAGE_OVERHEAD: f64 = 32.0;
/// Bytes of a token id on its way up.
pub(crate) const TOKEN_ID_BYTES: f64 = 3.0;

/// What a candidate costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Bytes on the edge with sessions of the least context that is asked for.
    pub memory: u64,
    /// The most positions of a session within memory, deadline and what model and cloud allow.
    pub context: usize,
    /// Seconds to the first token on the expected link.
    pub first_token: f64,
    /// The same on the outage link.
    pub late_first_token: f64,
    /// Seconds of a token on the expected link, in the middle of the answer.
    pub token: f64,
    /// Seconds of the token behind the least context that is asked for, on the outage link.
    pub late_token: f64,
    /// Seconds of a whole request on the expected link.
    pub request: f64,
    /// Compute seconds of the cloud for each token of the answer, the prompt's included.
    pub cloud: f64,
    /// Bytes that go up for a token.
    pub up_bytes: f64,
    /// Nats of divergence.
    pub kl: f64,
    /// Whether a part of the divergence is an upper bound and was not measured: it is then at most `kl`.
    pub kl_is_bound: bool,
}

/// A candidate's parts, looked up once.
pub(crate) struct Parts<'a> {
    pub(crate) problem: &'a Problem,
    pub(crate) split: usize,
    /// Layers of each weight option.
    counts: Vec<usize>,
    kv: Option<&'a KvOption>,
    codec: Option<&'a CodecCost>,
    weight_bytes: u64,
    weight_kl: f64,
    weight_kl_is_bound: bool,
}

impl<'a> Parts<'a> {
    pub(crate) fn of(problem: &'a Problem, candidate: &Candidate) -> Self {
        let options = &problem.edge.weights;
        let mut counts = vec![0; options.len()];
        let (mut weight_kl, mut weight_kl_is_bound) = (0.0, false);
        for (layer, &option) in candidate.weights.iter().enumerate() {
            counts[option] += 1;
            weight_kl += options[option].layer_kl.get(layer).copied().unwrap_or(0.0);
            weight_kl_is_bound |= options[option].kl_is_bound;
        }
        let bytes = |(option, &count): (usize, &usize)| count as u64 * options[option].layer_bytes;
        Self {
            problem,
            split: candidate.split,
            weight_bytes: counts.iter().enumerate().map(bytes).sum(),
            counts,
            kv: problem
                .edge
                .kv
                .get(candidate.kv)
                .filter(|_| candidate.split > 0),
            codec: problem
                .codecs
                .get(candidate.codec)
                .and_then(|codec| codec.at(candidate.split)),
            weight_kl,
            weight_kl_is_bound,
        }
    }

    /// The same with another codec.
    pub(crate) fn set_codec(&mut self, codec: usize) {
        self.codec = self
            .problem
            .codecs
            .get(codec)
            .and_then(|c| c.at(self.split));
    }

    pub(crate) fn has_codec(&self) -> bool {
        self.split == 0 || self.codec.is_some()
    }

    /// Seconds of an edge step of `rows` behind `position` positions, encoding included.
    pub(crate) fn edge_seconds(&self, rows: usize, position: usize) -> f64 {
        let (fixed, layers, attention, encode) = self.edge_terms(rows, position);
        fixed + layers + attention + encode
    }

    /// What is fixed of it, layers, attention, and encoding.
    fn edge_terms(&self, rows: usize, position: usize) -> (f64, f64, f64, f64) {
        let (mut fixed, mut layers) = (0.0f64, 0.0);
        for (option, &count) in self.problem.edge.weights.iter().zip(&self.counts) {
            if count > 0 {
                layers += count as f64 * option.times.layer.at(rows as f64);
                fixed = fixed.max(option.times.fixed.at(rows as f64));
            }
        }
        let attention = self
            .kv
            .map_or(0.0, |kv| kv.attention.seconds(rows, position));
        let encode = self.codec.map_or(0.0, |codec| codec.encode_seconds);
        (
            fixed,
            layers,
            self.split as f64 * attention,
            rows as f64 * encode,
        )
    }

    /// Seconds of a cloud step of `rows` behind `position` positions, with or without a token sampled.
    pub(crate) fn cloud_seconds(&self, rows: usize, position: usize, want: bool) -> f64 {
        let (fixed, layers, attention, decode) = self.cloud_terms(rows, position);
        let head = if want {
            self.problem.cloud.head_seconds
        } else {
            0.0
        };
        fixed + layers + attention + decode + head
    }

    /// Seconds of a cloud step with one row of each of several sessions behind `position` positions, a token sampled
    /// for each.
    pub(crate) fn shared_step(&self, sessions: usize, position: usize) -> f64 {
        let (fixed, layers, _, decode) = self.cloud_terms(sessions, position);
        let (_, layer, attention, _) = self.cloud_terms(1, position);
        // All time of a cloud without layers is the head's.
        let growth = if layer > 0.0 { layers / layer } else { 1.0 };
        fixed
            + layers
            + sessions as f64 * attention
            + decode
            + growth * self.problem.cloud.head_seconds
    }

    /// What is fixed of it, layers, attention, and decoding.
    fn cloud_terms(&self, rows: usize, position: usize) -> (f64, f64, f64, f64) {
        let cloud = &self.problem.cloud;
        let layers = (self.problem.edge.layers - self.split) as f64;
        let decode = self.codec.map_or(0.0, |codec| codec.decode_seconds);
        (
            cloud.times.fixed.at(rows as f64),
            layers * cloud.times.layer.at(rows as f64),
            layers * cloud.attention.seconds(rows, position),
            rows as f64 * decode,
        )
    }

    /// Bytes of one row of a prompt, or of a decode step.
    pub(crate) fn row_bytes(&self, decode: bool) -> f64 {
        match (self.codec, decode) {
            (Some(codec), true) => codec.decode_bytes,
            (Some(codec), false) => codec.prefill_bytes,
            (None, _) => TOKEN_ID_BYTES,
        }
    }

    /// Seconds of the token behind `position` positions.
    pub(crate) fn token_seconds(&self, link: Link, position: usize) -> f64 {
        self.token_terms(link, position).sum()
    }

    /// Where they go.
    pub(crate) fn token_terms(&self, link: Link, position: usize) -> TokenTerms {
        let (edge_fixed, edge_layers, edge_attention, encode) = self.edge_terms(1, position);
        let (cloud_fixed, cloud_layers, cloud_attention, decode) = self.cloud_terms(1, position);
        TokenTerms {
            edge_fixed,
            edge_layers,
            edge_attention,
            encode,
            up: (self.row_bytes(true) + MESSAGE_OVERHEAD) / link.up,
            round_trip: link.round_trip,
            queue: self.problem.cloud.queue_seconds,
            decode,
            cloud_fixed,
            cloud_layers,
            cloud_attention,
            head: self.problem.cloud.head_seconds,
            down: MESSAGE_OVERHEAD / link.down,
        }
    }

    /// Bytes on the edge with sessions of `context` positions.
    pub(crate) fn memory(&self, context: usize) -> u64 {
        self.memory_terms(context).sum()
    }

    /// Where they go.
    pub(crate) fn memory_terms(&self, context: usize) -> MemoryTerms {
        let edge = &self.problem.edge;
        let positions = context.next_multiple_of(edge.kv_positions.max(1)) as u64;
        let sessions = self.problem.workload.sessions as u64;
        let kv = self.kv.map_or(0, |kv| kv.layer_position_bytes);
        MemoryTerms {
            base: edge.base_bytes,
            chunk: if self.split > 0 { edge.chunk_bytes } else { 0 },
            weights: self.weight_bytes,
            kv: sessions * self.split as u64 * positions * kv,
        }
    }

    /// Nats of divergence.
    pub(crate) fn kl(&self) -> f64 {
        self.loss_terms().sum()
    }

    /// Whether a part of them is an upper bound.
    pub(crate) fn kl_is_bound(&self) -> bool {
        self.weight_kl_is_bound
            || self.kv.is_some_and(|kv| kv.kl_is_bound)
            || self.codec.is_some_and(|codec| codec.kl_is_bound)
    }

    /// Where they come from.
    pub(crate) fn loss_terms(&self) -> LossTerms {
        LossTerms {
            weights: self.weight_kl,
            kv: self.kv.map_or(0.0, |kv| kv.layer_kl * self.split as f64),
            codec: self.codec.map_or(0.0, |codec| codec.kl),
        }
    }

    /// What needs no simulation: the rest is zero.
    pub(crate) fn quick(&self, late: Link) -> Estimate {
        let least = self.problem.constraints.min_context;
        Estimate {
            memory: self.memory(least),
            context: 0,
            first_token: 0.0,
            late_first_token: 0.0,
            token: 0.0,
            late_token: self.token_seconds(late, least),
            request: 0.0,
            cloud: 0.0,
            up_bytes: 0.0,
            kl: self.kl(),
            kl_is_bound: self.kl_is_bound(),
        }
    }

    /// What model and cloud allow, whatever else.
    fn context_limit(&self) -> usize {
        self.problem.cloud.max_context
    }

    /// The most positions within memory and deadline: both grow with the context, so it lies where
    /// they cease to hold, which halving an interval finds exactly. 0 if nothing fits.
    pub(crate) fn context(&self, late: Link) -> usize {
        let constraints = &self.problem.constraints;
        let holds = |context: usize| {
            let memory = constraints.memory.is_none_or(|m| self.memory(context) <= m);
            memory
                && constraints
                    .token_deadline
                    .is_none_or(|deadline| self.token_seconds(late, context) <= deadline)
        };
        let (mut fits, mut too_many) = (0, self.context_limit() + 1);
        while too_many - fits > 1 {
            let middle = fits + (too_many - fits) / 2;
            if holds(middle) {
                fits = middle
            } else {
                too_many = middle
            }
        }
        fits
    }

    /// Everything.
    pub(crate) fn estimate(&self, expected: Link, late: Link) -> Estimate {
        let problem = self.problem;
        let workload = &problem.workload;
        let outputs = workload.output_tokens.max(1);
        let first = pipeline::first_token(self, expected);
        let late_first = if late == expected {
            first.seconds
        } else {
            pipeline::first_token(self, late).seconds
        };
        // Times grow in straight lines with the context: the middle token's is the mean.
        let middle = workload.prompt_tokens + outputs / 2;
        let token = self.token_seconds(expected, middle);
        let behind = (outputs - 1) as f64;
        let cloud = first.cloud_seconds + behind * self.cloud_seconds(1, middle, true);
        let least = problem.constraints.min_context;
        Estimate {
            memory: self.memory(least),
            context: self.context(late),
            first_token: first.seconds,
            late_first_token: late_first,
            token,
            late_token: self.token_seconds(late, least),
            request: first.seconds + behind * token,
            cloud: cloud / outputs as f64,
            up_bytes: self.row_bytes(true) + MESSAGE_OVERHEAD,
            kl: self.kl(),
            kl_is_bound: self.kl_is_bound(),
        }
    }
}

/// What a candidate costs.
pub fn estimate(problem: &Problem, candidate: &Candidate) -> Estimate {
    let expected = problem.link.expected();
    let late = problem.link.outage(problem.constraints.outage);
    Parts::of(problem, candidate).estimate(expected, late)
}
