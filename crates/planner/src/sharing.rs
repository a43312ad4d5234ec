//! How many devices a cloud carries, whose steps have rows of all sessions that are ready.
//!
//! A decode step with one row of each of `n` sessions takes
//! `S(n) = fixed(n) + (L − l) · layer(n) + n · ((L − l) · attention(w) + read) + head · layer(n) / layer(1)`:
//! the head's matrix is read once for all of them, as a layer's are. A token of theirs takes what it does alone but
//! for the step, `S(n)`, and half a step of waiting for the one under way. An answer with `m` tokens behind the
//! first takes the cloud `P + m · S(n)/n`, where `P` is its prompt's time, and a device that asks again at once
//! `first token + m · token`; the latter divided by the former is how
//! many devices keep the cloud busy.

use crate::candidate::Candidate;
use crate::estimate::Parts;
use crate::pipeline;
use crate::problem::Problem;

/// Rows of a decode step, at most.
const MOST_ROWS: usize = 64;

/// How much longer a token may take than alone, where there is no deadline.
const MOST_SLOWDOWN: f64 = 2.0;

/// What a cloud's steps cost that many sessions share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sharing {
    /// Compute seconds of the cloud for each token of the answer, the prompt's included, beside the sessions that it
    /// has at present.
    pub cloud_now: f64,
    /// Devices that the cloud carries when they ask without a pause, each as this one, and a token takes no longer than
    /// `token_limit`: at least this one.
    pub devices: usize,
    /// Compute seconds of the cloud for each token then.
    pub cloud_shared: f64,
    /// The deadline of a token, or else twice what one takes alone.
    pub token_limit: f64,
}

/// How a cloud's steps are shared at a candidate's cut.
pub fn sharing(problem: &Problem, candidate: &Candidate) -> Sharing {
    let parts = Parts::of(problem, candidate);
    let link = problem.link.expected();
    let workload = &problem.workload;
    let outputs = workload.output_tokens.max(1) as f64;
    let middle = workload.prompt_tokens + workload.output_tokens.max(1) / 2;
    let first = pipeline::first_token(&parts, link);
    let alone = parts.token_terms(link, middle);
    let apart = alone.sum() - alone.queue - parts.cloud_seconds(1, middle, true);
    let token_limit = match problem.constraints.token_deadline {
        Some(deadline) => deadline,
        None => MOST_SLOWDOWN * (apart + parts.cloud_seconds(1, middle, true)),
    };
    let behind = outputs - 1.0;
    let step = |rows: usize| parts.shared_step(rows, middle);
    let cloud = |rows: usize| first.cloud_seconds + behind * step(rows) / rows as f64;
    let token = |rows: usize| apart + 1.5 * step(rows);
    let devices = |rows: usize| (first.seconds + behind * token(rows)) / cloud(rows);
    let in_time = (1..=MOST_ROWS).filter(|&rows| token(rows) <= token_limit);
    let most = in_time.max_by(|&a, &b| devices(a).total_cmp(&devices(b)));
    let now = (problem.cloud.running + 1).min(MOST_ROWS);
    Sharing {
        cloud_now: cloud(now) / outputs,
        devices: most.map_or(1, |rows| devices(rows) as usize).max(1),
        cloud_shared: cloud(most.unwrap_or(1)) / outputs,
        token_limit,
    }
}
