//! The joint search over split, types of weights, keys and values, codec, and session length.
//!
//! The space is small (some ten thousand candidates for a model of 30 layers), so all of it is looked
//! at; the session length alone is found by halving, as memory and time grow with it. A candidate that
//! breaks two limits already is not simulated: it can be neither the plan nor the answer to what one
//! limit costs.

use crate::candidate::{Candidate, weight_choices};
use crate::edge_only::{EdgeOnly, edge_only};
use crate::estimate::{Estimate, Parts};
use crate::link::Link;
use crate::problem::Problem;
use crate::ranking::{choose, criteria, fastest, front};
use serde::Serialize;

/// A candidate and what it costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What to deploy.
    pub candidate: Candidate,
    /// What to expect of it.
    pub estimate: Estimate,
}

/// A limit that a plan must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Constraint {
    /// Memory of the edge.
    Memory,
    /// Time of a token.
    TokenDeadline,
    /// Time to the first token.
    FirstToken,
    /// Positions of a session that model and cloud allow.
    Context,
    /// Divergence.
    Quality,
}

impl Constraint {
    /// All, in the order in which they are checked.
    pub const ALL: [Self; 5] = [
        Self::Memory,
        Self::TokenDeadline,
        Self::Context,
        Self::Quality,
        Self::FirstToken,
    ];

    fn bit(self) -> u8 {
        1 << self as u8
    }

    /// The limit and a candidate's value, where there is a limit. For the context, whose limit is from below, both are negative.
    fn limit_and_value(self, problem: &Problem, estimate: &Estimate) -> Option<(f64, f64)> {
        let limits = &problem.constraints;
        Some(match self {
            Self::Memory => (limits.memory? as f64, estimate.memory as f64),
            Self::TokenDeadline => (limits.token_deadline?, estimate.late_token),
            Self::FirstToken => (limits.first_token?, estimate.late_first_token),
            Self::Quality => (limits.max_kl?, estimate.kl),
            Self::Context => (
                -(limits.min_context as f64),
                -(problem.cloud.max_context as f64),
            ),
        })
    }
}

/// What would be chosen without a limit that shuts out something better.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// The limit.
    pub constraint: Constraint,
    /// The plan without it.
    pub relaxed: Plan,
}

/// A limit that keeps everything out, or that the nearest candidate breaks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Shortfall {
    /// The limit.
    pub constraint: Constraint,
    /// What it is: bytes, seconds, positions or nats.
    pub limit: f64,
    /// What the candidate that comes nearest to holding all limits has.
    pub nearest: f64,
    /// What could be had if no other limit mattered.
    pub alone: f64,
}

/// What the search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The best plan; `None` when no candidate holds all limits.
    pub chosen: Option<Plan>,
    /// The best plan of each split that has one, by split.
    pub by_split: Vec<Plan>,
    /// The plans that no other beats in cloud time, request time, memory and quality together.
    pub front: Vec<Plan>,
    /// Limits without which a better plan would be chosen.
    pub binding: Vec<Binding>,
    /// When nothing holds all limits: those that are broken.
    pub shortfalls: Vec<Shortfall>,
    /// The candidate with all layers on the edge, which is told and not run.
    pub edge_only: Option<EdgeOnly>,
    /// Seconds of a token of the fastest candidate that holds all limits; `None` when none does.
    pub fastest_token: Option<f64>,
    /// The same of those with layers on the edge.
    pub fastest_split_token: Option<f64>,
    /// Candidates looked at.
    pub considered: usize,
}

/// Searches all candidates.
pub fn search(problem: &Problem) -> Outcome {
    let mut found = Found::new(problem);
    found.all(1);
    let chosen = choose(problem, found.plans(0));
    let shortfalls = match chosen {
        Some(_) => Vec::new(),
        None => {
            found = Found::new(problem);
            found.all(Constraint::ALL.len());
            found.shortfalls()
        }
    };
    let binding = match &chosen {
        Some(chosen) => found.binding(chosen),
        None => Vec::new(),
    };
    let by_split = found.splits().filter_map(|split| match &chosen {
        Some(chosen) if chosen.candidate.split == split => Some(chosen.clone()),
        _ => choose(
            problem,
            found.plans(0).filter(|p| p.candidate.split == split),
        ),
    });
    let fastest_of = |least: usize| {
        let plans = found.plans(0).filter(|p| p.candidate.split >= least);
        Some(fastest(plans)).filter(|token| token.is_finite())
    };
    Outcome {
        by_split: by_split.collect(),
        front: front(found.plans(0)),
        binding,
        shortfalls,
        edge_only: edge_only(problem),
        fastest_token: fastest_of(0),
        fastest_split_token: fastest_of(1),
        considered: found.considered,
        chosen,
    }
}

/// What has been looked at, and which limits it breaks.
struct Found<'a> {
    problem: &'a Problem,
    expected: Link,
    late: Link,
    plans: Vec<(u8, Plan)>,
    considered: usize,
}

impl<'a> Found<'a> {
    fn new(problem: &'a Problem) -> Self {
        Self {
            problem,
            expected: problem.link.expected(),
            late: problem.link.outage(problem.constraints.outage),
            plans: Vec::new(),
            considered: 0,
        }
    }

    fn splits(&self) -> std::ops::RangeInclusive<usize> {
        let space = &self.problem.space;
        let first = (*space.splits.start()).max(self.problem.cloud.first_layer);
        let last = (*space.splits.end()).min(self.problem.edge.layers.saturating_sub(1));
        first..=last
    }

    /// Looks at everything, and keeps what breaks at most `broken` limits.
    fn all(&mut self, broken: usize) {
        let problem = self.problem;
        for split in self.splits() {
            if split == 0 {
                self.one(
                    &mut Parts::of(problem, &Candidate::cloud_only()),
                    broken,
                    Candidate::cloud_only,
                );
                continue;
            }
            for weights in weight_choices(problem, split) {
                for &kv in &problem.space.kv {
                    let candidate = |codec| Candidate {
                        split,
                        weights: weights.clone(),
                        kv,
                        codec,
                    };
                    let mut parts = Parts::of(problem, &candidate(0));
                    for &codec in &problem.space.codecs {
                        parts.set_codec(codec);
                        self.one(&mut parts, broken, || candidate(codec));
                    }
                }
            }
        }
    }

    fn one(&mut self, parts: &mut Parts<'_>, most: usize, candidate: impl FnOnce() -> Candidate) {
        if !parts.has_codec() {
            return;
        }
        self.considered += 1;
        let quick = parts.quick(self.late);
        let mut broken = self.broken(&quick);
        // The time to the first token is the one figure that takes a simulation.
        if (broken & !Constraint::FirstToken.bit()).count_ones() as usize > most {
            return;
        }
        let estimate = parts.estimate(self.expected, self.late);
        broken = self.broken(&estimate);
        if broken.count_ones() as usize <= most {
            let candidate = candidate();
            self.plans.push((
                broken,
                Plan {
                    candidate,
                    estimate,
                },
            ));
        }
    }

    fn broken(&self, estimate: &Estimate) -> u8 {
        let breaks = |constraint: &Constraint| {
            let both = constraint.limit_and_value(self.problem, estimate);
            both.is_some_and(|(limit, value)| value > limit)
        };
        let broken = Constraint::ALL.iter().filter(|c| breaks(c));
        broken.map(|c| c.bit()).sum()
    }

    /// Those that break none but the limits of `forgiven`.
    fn plans(&self, forgiven: u8) -> impl Iterator<Item = &Plan> + Clone {
        let within = move |(broken, plan)| (broken & !forgiven == 0).then_some(plan);
        self.plans
            .iter()
            .map(|(broken, plan)| (*broken, plan))
            .filter_map(within)
    }

    fn binding(&self, chosen: &Plan) -> Vec<Binding> {
        let problem = self.problem;
        let costs = |plan: &Plan| criteria(problem, &plan.estimate);
        let without = |&constraint: &Constraint| {
            let relaxed = choose(problem, self.plans(constraint.bit()))?;
            let mut pairs = costs(&relaxed).into_iter().zip(costs(chosen));
            let better = pairs.any(|(without, with)| without < with * (1.0 - problem.indifference));
            (relaxed != *chosen && better).then_some(Binding {
                constraint,
                relaxed,
            })
        };
        Constraint::ALL.iter().filter_map(without).collect()
    }

    fn shortfalls(&self) -> Vec<Shortfall> {
        let problem = self.problem;
        let both = |c: Constraint, plan: &Plan| c.limit_and_value(problem, &plan.estimate);
        let excess = |plan: &Plan| {
            let of = |&c: &Constraint| {
                let (limit, value) = both(c, plan)?;
                Some(((value - limit) / limit.abs().max(1e-12)).max(0.0))
            };
            Constraint::ALL.iter().filter_map(of).fold(0.0, f64::max)
        };
        let plans = self.plans.iter().map(|(_, plan)| plan);
        let Some(nearest) = plans.clone().min_by(|a, b| excess(a).total_cmp(&excess(b))) else {
            return Vec::new();
        };
        let shortfall = |&constraint: &Constraint| {
            let (limit, nearest) = both(constraint, nearest)?;
            let values = plans
                .clone()
                .filter_map(|plan| Some(both(constraint, plan)?.1));
            let alone = values.fold(f64::INFINITY, f64::min);
            (nearest > limit).then_some(Shortfall {
                constraint,
                limit: limit.abs(),
                nearest: nearest.abs(),
                alone: alone.abs(),
            })
        };
        Constraint::ALL.iter().filter_map(shortfall).collect()
    }
}
