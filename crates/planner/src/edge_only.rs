//! The whole model on the edge: told, so that a user hears when not to split, and not run.

use crate::candidate::Candidate;
use crate::estimate::Parts;
use crate::problem::{Problem, WeightChoice};

/// What the whole model on the edge would cost.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeOnly {
    /// The type of its weights.
    pub weights: String,
    /// Bytes on the edge, the head's left out.
    pub memory: u64,
    /// Seconds of a token in the middle of the answer.
    pub token: f64,
    /// Seconds of a whole request.
    pub request: f64,
    /// Nats of divergence, the head's left out.
    pub kl: f64,
    /// Whether a part of the divergence is an upper bound.
    pub kl_is_bound: bool,
    /// Whether it holds all limits.
    pub fits: bool,
}

/// The fastest that holds all limits, or that which needs the least memory; `None` where the edge has
/// no head.
pub(crate) fn edge_only(problem: &Problem) -> Option<EdgeOnly> {
    let head = problem.edge.head_seconds?;
    let WeightChoice::Among(options) = &problem.space.weights else {
        return None;
    };
    let all = options.iter().flat_map(|&option| {
        let kv = problem.space.kv.iter();
        kv.map(move |&kv| whole(problem, option, kv, head))
    });
    all.min_by(|a, b| {
        let fits = b.fits.cmp(&a.fits);
        fits.then_with(|| {
            if a.fits {
                a.request.total_cmp(&b.request)
            } else {
                a.memory.cmp(&b.memory)
            }
        })
    })
}

fn whole(problem: &Problem, option: usize, kv: usize, head: f64) -> EdgeOnly {
    let layers = problem.edge.layers;
    let candidate = Candidate {
        split: layers,
        weights: vec![option; layers],
        kv,
        codec: usize::MAX,
    };
    let parts = Parts::of(problem, &candidate);
    let (workload, limits) = (&problem.workload, &problem.constraints);
    let token = |position| parts.edge_seconds(1, position) + head;
    let mut first = head;
    let mut position = 0;
    while position < workload.prompt_tokens {
        let rows = workload
            .chunk_rows
            .max(1)
            .min(workload.prompt_tokens - position);
        first += parts.edge_seconds(rows, position);
        position += rows;
    }
    let outputs = workload.output_tokens.max(1);
    let middle = token(workload.prompt_tokens + outputs / 2);
    let memory = parts.memory(limits.min_context);
    let kl = parts.kl();
    let fits = limits.memory.is_none_or(|most| memory <= most)
        && limits.max_kl.is_none_or(|most| kl <= most)
        && limits
            .token_deadline
            .is_none_or(|most| token(limits.min_context) <= most)
        && limits.first_token.is_none_or(|most| first <= most);
    EdgeOnly {
        weights: problem.edge.weights[option].name.clone(),
        memory,
        token: middle,
        request: first + (outputs - 1) as f64 * middle,
        kl,
        kl_is_bound: parts.kl_is_bound(),
        fits,
    }
}
