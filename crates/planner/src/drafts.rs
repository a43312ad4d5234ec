//! What a token takes in answers whose tokens are drafted.
//!
//! A round trip with `n` drafts that are right with chances `p_1 … p_n`, each if those before it are, brings
//! `1 + p_1 + p_1·p_2 + …` tokens. It takes what one with `1 + n` rows does: the edge's step, the bytes of the rows and of the
//! drafts' ids over the rate up, the round trip, the cloud's queue, and its step, whose rows cost what rows of as many
//! sessions do. As an edge does, it has one draft more while
//! `chance of all of them · seconds > 1.2 · seconds that its row adds · tokens`, where a row adds 3% of a round trip at least.
//! A token takes the seconds of all kinds of round trips, each as often as it was measured, over the tokens that they
//! bring.

use crate::candidate::Candidate;
use crate::estimate::{MESSAGE_OVERHEAD, Parts, TOKEN_ID_BYTES};
use crate::link::Link;
use crate::pipeline;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};

/// How many times its time a row has to be worth, as edges have it (tandem-client's `drafts/worth.rs`).
const WORTH: f64 = 1.2;
/// The least share of a round trip that a row is taken for, as edges have it (`drafts/round_time.rs`).
const ROW_LEAST: f64 = 0.03;

/// How often drafts of an edge's answers were right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DraftProfile {
    /// How round trips have begun.
    pub starts: Vec<DraftStart>,
    /// The most drafts of a round trip.
    pub most: usize,
}

/// Round trips that begin alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DraftStart {
    /// How many have.
    pub count: f64,
    /// How likely each draft is right if those before it are, from the first on; empty where there was none.
    pub chances: Vec<f64>,
}

/// What answers with drafts cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drafted {
    /// Seconds of a token on the expected link, in the middle of the answer.
    pub token: f64,
    /// Compute seconds of the cloud for each token of the answer, the prompt's included.
    pub cloud: f64,
    /// Tokens that a round trip brings.
    pub tokens: f64,
    /// Rows that it takes.
    pub rows: f64,
}

/// What a candidate's answers cost with drafts; `None` where nothing is known of them.
pub fn drafted(problem: &Problem, candidate: &Candidate) -> Option<Drafted> {
    let profile = problem.drafts.as_ref()?;
    let parts = Parts::of(problem, candidate);
    let link = problem.link.expected();
    let outputs = problem.workload.output_tokens.max(1);
    let middle = problem.workload.prompt_tokens + outputs / 2;
    let steps: Vec<Step> = (1..=profile.most + 1)
        .map(|rows| Step::of(&parts, link, rows, middle))
        .collect();
    let mut all = Sum::default();
    for start in &profile.starts {
        all.add(start, &steps);
    }
    if all.tokens <= 0.0 {
        return None;
    }
    let behind = (outputs - 1) as f64;
    let prompt = pipeline::first_token(&parts, link).cloud_seconds;
    Some(Drafted {
        token: all.seconds / all.tokens,
        cloud: (prompt + behind * all.cloud / all.tokens) / outputs as f64,
        tokens: all.tokens / all.count,
        rows: all.rows / all.count,
    })
}

/// A round trip with some rows.
#[derive(Debug, Clone, Copy)]
struct Step {
    seconds: f64,
    cloud: f64,
}

impl Step {
    fn of(parts: &Parts<'_>, link: Link, rows: usize, position: usize) -> Self {
        let cloud = parts.shared_step(rows, position);
        // Without layers on the edge they are the rows.
        let ids = if parts.split > 0 { rows - 1 } else { 0 };
        let ids = ids as f64 * TOKEN_ID_BYTES;
        let bytes = rows as f64 * parts.row_bytes(true) + ids + MESSAGE_OVERHEAD;
        let way = bytes / link.up + link.round_trip + MESSAGE_OVERHEAD / link.down;
        let queue = parts.problem.cloud.queue_seconds;
        Self {
            seconds: parts.edge_seconds(rows, position) + way + queue + cloud,
            cloud,
        }
    }
}

/// Round trips taken together.
#[derive(Debug, Default)]
struct Sum {
    count: f64,
    seconds: f64,
    cloud: f64,
    tokens: f64,
    rows: f64,
}

impl Sum {
    /// Takes those that begin so; `steps` are with one row and more.
    fn add(&mut self, start: &DraftStart, steps: &[Step]) {
        let (mut drafts, mut tokens, mut chance) = (0, 1.0, 1.0);
        for (own, pair) in start.chances.iter().zip(steps.windows(2)) {
            let right = chance * own;
            let more = (pair[1].seconds - pair[0].seconds).max(ROW_LEAST * steps[0].seconds);
            if right * pair[0].seconds <= WORTH * more * tokens {
                break;
            }
            chance = right;
            tokens += right;
            drafts += 1;
        }
        let step = steps[drafts];
        self.count += start.count;
        self.seconds += start.count * step.seconds;
        self.cloud += start.count * step.cloud;
        self.tokens += start.count * tokens;
        self.rows += start.count * (1 + drafts) as f64;
    }
}
