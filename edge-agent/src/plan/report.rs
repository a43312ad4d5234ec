//! A plan as one JSON document; [`super::table`] is the same for people.

use super::Solved;
use super::advice::advice;
use serde::Serialize;
use tandem_planner::{
    Breakdown, Constraint, Constraints, EdgeOnly, Link, Objective, Plan, Problem, Shortfall,
    Workload, breakdown, drafted, sharing,
};

/// The document of `plan --json`. Times are seconds, memory bytes, rates bytes a second, `kl` nats.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What to deploy; null when no plan holds the limits.
    pub chosen: Option<Row>,
    /// Limits without which a better plan would be chosen.
    pub binding: Vec<Bound>,
    /// The limits that cannot be held, when none can.
    pub shortfalls: Vec<Shortfall>,
    /// Why not to split, where that is the answer.
    pub advice: Option<String>,
    /// The best plan of each split that has one.
    pub by_split: Vec<Row>,
    /// The plans that no other beats in cloud time, request time, memory and quality together.
    pub front: Vec<Row>,
    /// The whole model on the edge: told, not run. Null where the edge cannot have it.
    pub edge_only: Option<Whole>,
    /// What is best.
    pub objective: Objective,
    /// With the objective `balanced`: how many times as long as the fastest candidate's a token may take.
    pub slowdown: f64,
    /// Of a token of the fastest candidate that holds the limits; null when none does.
    pub fastest_token_seconds: Option<f64>,
    /// The limits.
    pub constraints: Constraints,
    /// The request that is planned for.
    pub workload: Workload,
    /// The link, as it is half of the time.
    pub link: Link,
    /// The link that deadlines are held on.
    pub outage_link: Link,
    /// Where the chosen plan's time, memory and loss go.
    pub breakdown: Option<Breakdown>,
    /// Candidates looked at.
    pub considered: usize,
    /// Seconds that measuring and the search took.
    pub took: Took,
    /// Layers of the model.
    pub layers: usize,
}

impl Report {
    /// Without the plans of [`Report::front`], of which there are thousands.
    pub fn brief(&self) -> Option<serde_json::Value> {
        let mut brief = serde_json::to_value(self).ok()?;
        brief.as_object_mut()?.remove("front");
        Some(brief)
    }
}

/// How long it took.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Took {
    /// Opening the model, measuring, asking.
    pub measuring_seconds: f64,
    /// Searching.
    pub planning_seconds: f64,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Layers on the edge.
    pub split: usize,
    /// Types of their weights; null with split 0, like kv and codec.
    pub weights: Option<String>,
    /// Type of their keys and values.
    pub kv: Option<String>,
    /// How rows are written.
    pub codec: Option<String>,
    /// The most positions of a session.
    pub context: usize,
    /// Of the edge, with sessions of the context asked for.
    pub memory_bytes: u64,
    /// To the first token.
    pub first_token_seconds: f64,
    /// Of a token in the middle of the answer.
    pub token_seconds: f64,
    /// To the first token on the outage link.
    pub late_first_token_seconds: f64,
    /// Of the token behind the context asked for, on the outage link.
    pub late_token_seconds: f64,
    /// Of a whole request.
    pub request_seconds: f64,
    /// Compute of the cloud for each token of the answer, the prompt's included.
    pub cloud_seconds_per_token: f64,
    /// The same beside the sessions that the cloud has at present, whose steps it shares.
    pub cloud_seconds_per_token_now: f64,
    /// Devices that the cloud carries at this split when they ask without a pause, while a token takes at most
    /// `shared_token_seconds`.
    pub devices: usize,
    /// Compute of the cloud for each token then.
    pub cloud_seconds_per_token_shared: f64,
    /// The deadline of a token, or else twice what one takes alone.
    pub shared_token_seconds: f64,
    /// Bytes up a token.
    pub up_bytes_per_token: f64,
    /// What it is with drafts; null where it is not known yet how they fare.
    pub drafts: Option<WithDrafts>,
    /// Divergence from the model in f32.
    pub kl: f64,
    /// Whether `kl` is an upper bound: a part of it was not measured on this model.
    pub kl_is_bound: bool,
}

/// A plan's answers with drafts that are right as often as in this edge's answers so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct WithDrafts {
    /// Of a token in the middle of the answer.
    pub token_seconds: f64,
    /// Compute of the cloud for each token of the answer, the prompt's included.
    pub cloud_seconds_per_token: f64,
    /// Tokens that a round trip brings.
    pub tokens_per_round_trip: f64,
    /// Rows that go up for them.
    pub rows_per_round_trip: f64,
}

/// A limit that binds.
#[derive(Debug, Serialize)]
pub struct Bound {
    /// The limit.
    pub constraint: Constraint,
    /// What would be chosen without it.
    pub without: Row,
}

/// The whole model on the edge.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Whole {
    /// The type of its weights.
    pub weights: String,
    /// Of the edge, the head's left out.
    pub memory_bytes: u64,
    /// Of a token.
    pub token_seconds: f64,
    /// Of a whole request.
    pub request_seconds: f64,
    /// Divergence from the model in f32, the head's left out.
    pub kl: f64,
    /// Whether `kl` is an upper bound.
    pub kl_is_bound: bool,
    /// Whether it holds all limits.
    pub fits: bool,
}

impl Report {
    /// Of a solved problem.
    pub fn new(solved: &Solved) -> Self {
        let Solved {
            problem, outcome, ..
        } = solved;
        let row = |plan: &Plan| Row::new(problem, plan);
        let bound = |b: &tandem_planner::Binding| Bound {
            constraint: b.constraint,
            without: row(&b.relaxed),
        };
        let chosen = outcome.chosen.as_ref();
        Self {
            chosen: chosen.map(row),
            binding: outcome.binding.iter().map(bound).collect(),
            shortfalls: outcome.shortfalls.clone(),
            advice: advice(problem, outcome),
            by_split: outcome.by_split.iter().map(row).collect(),
            front: outcome.front.iter().map(row).collect(),
            edge_only: outcome.edge_only.as_ref().map(Whole::new),
            objective: problem.objective,
            slowdown: problem.slowdown,
            fastest_token_seconds: outcome.fastest_token,
            constraints: problem.constraints.clone(),
            workload: problem.workload,
            link: problem.link.expected(),
            outage_link: problem.link.outage(problem.constraints.outage),
            breakdown: chosen.map(|plan| breakdown(problem, &plan.candidate)),
            considered: outcome.considered,
            took: Took {
                measuring_seconds: solved.took.0.as_secs_f64(),
                planning_seconds: solved.took.1.as_secs_f64(),
            },
            layers: problem.edge.layers,
        }
    }
}

impl Row {
    fn new(problem: &Problem, plan: &Plan) -> Self {
        let (candidate, e) = (&plan.candidate, &plan.estimate);
        let split = candidate.split > 0;
        let shared = sharing(problem, candidate);
        let some = |name: Option<String>| name.filter(|_| split);
        Self {
            split: candidate.split,
            weights: some(Some(candidate.scheme(problem))),
            kv: some(problem.edge.kv.get(candidate.kv).map(|kv| kv.name.clone())),
            codec: some(problem.codecs.get(candidate.codec).map(|c| c.name.clone())),
            context: e.context,
            memory_bytes: e.memory,
            first_token_seconds: e.first_token,
            token_seconds: e.token,
            late_first_token_seconds: e.late_first_token,
            late_token_seconds: e.late_token,
            request_seconds: e.request,
            cloud_seconds_per_token: e.cloud,
            cloud_seconds_per_token_now: shared.cloud_now,
            devices: shared.devices,
            cloud_seconds_per_token_shared: shared.cloud_shared,
            shared_token_seconds: shared.token_limit,
            up_bytes_per_token: e.up_bytes,
            drafts: drafted(problem, candidate).map(|with| WithDrafts {
                token_seconds: with.token,
                cloud_seconds_per_token: with.cloud,
                tokens_per_round_trip: with.tokens,
                rows_per_round_trip: with.rows,
            }),
            kl: e.kl,
            kl_is_bound: e.kl_is_bound,
        }
    }
}

impl Whole {
    fn new(whole: &EdgeOnly) -> Self {
        Self {
            weights: whole.weights.clone(),
            memory_bytes: whole.memory,
            token_seconds: whole.token,
            request_seconds: whole.request,
            kl: whole.kl,
            kl_is_bound: whole.kl_is_bound,
            fits: whole.fits,
        }
    }
}
