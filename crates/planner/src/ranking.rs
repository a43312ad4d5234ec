//! Which of the plans that hold all limits is the best, and which no other beats.

use crate::estimate::Estimate;
use crate::problem::{Objective, Problem};
use crate::search::Plan;
use std::cmp::Ordering;

/// What is to be small.
fn value(problem: &Problem, estimate: &Estimate) -> f64 {
    match problem.objective {
        Objective::Balanced | Objective::CloudSeconds => estimate.cloud,
        Objective::Latency => estimate.request,
        Objective::EdgeMemory => estimate.memory as f64,
        Objective::Quality => estimate.kl,
    }
}

/// What decides between plans that are as good.
fn second(problem: &Problem, estimate: &Estimate) -> f64 {
    match problem.objective {
        Objective::Balanced => estimate.memory as f64,
        Objective::Latency => estimate.cloud,
        Objective::CloudSeconds | Objective::EdgeMemory | Objective::Quality => estimate.request,
    }
}

/// Everything that an objective looks at; the least is the best in each.
pub(crate) fn criteria(problem: &Problem, estimate: &Estimate) -> [f64; 3] {
    let (value, second) = (value(problem, estimate), second(problem, estimate));
    match problem.objective {
        // A limit that keeps something faster out also decides how slow a plan may be.
        Objective::Balanced => [value, second, estimate.token],
        _ => [value, second, value],
    }
}

/// Seconds of a token of the fastest; infinite when there is none.
pub(crate) fn fastest<'a>(plans: impl Iterator<Item = &'a Plan>) -> f64 {
    plans
        .map(|plan| plan.estimate.token)
        .fold(f64::INFINITY, f64::min)
}

pub(crate) fn choose<'a>(
    problem: &Problem,
    plans: impl Iterator<Item = &'a Plan> + Clone,
) -> Option<Plan> {
    let is_balanced = problem.objective == Objective::Balanced;
    let slowest = if is_balanced {
        fastest(plans.clone()) * problem.slowdown
    } else {
        f64::INFINITY
    };
    let enough = plans.filter(|plan| plan.estimate.token <= slowest);
    let good = as_good(problem, enough, value);
    let good = if is_balanced {
        as_good(problem, good.into_iter(), second)
    } else {
        good
    };
    let best = good
        .into_iter()
        .min_by(|a, b| better(problem, &a.estimate, &b.estimate));
    best.cloned()
}

/// The plans that differ so little from the least by one criterion that the next decides.
fn as_good<'a>(
    problem: &Problem,
    plans: impl Iterator<Item = &'a Plan> + Clone,
    criterion: fn(&Problem, &Estimate) -> f64,
) -> Vec<&'a Plan> {
    let of = |plan: &Plan| criterion(problem, &plan.estimate);
    let least = plans.clone().map(of).fold(f64::INFINITY, f64::min);
    let good = least * (1.0 + problem.indifference);
    plans.filter(|plan| of(plan) <= good).collect()
}

/// Of plans as good, the one to choose first.
fn better(problem: &Problem, a: &Estimate, b: &Estimate) -> Ordering {
    let second = second(problem, a).total_cmp(&second(problem, b));
    let value = value(problem, a).total_cmp(&value(problem, b));
    let kl = a.kl.total_cmp(&b.kl);
    match problem.objective {
        Objective::Balanced => {
            let request = a.request.total_cmp(&b.request);
            kl.then(request).then(second).then(value)
        }
        _ => second.then(value).then(kl).then(a.memory.cmp(&b.memory)),
    }
}

/// The plans that no other is at least as good as in everything and better in something.
pub(crate) fn front<'a>(plans: impl Iterator<Item = &'a Plan>) -> Vec<Plan> {
    let costs = |plan: &Plan| {
        let e = &plan.estimate;
        [e.cloud, e.request, e.memory as f64, e.kl]
    };
    let mut sorted: Vec<([f64; 4], &Plan)> = plans.map(|plan| (costs(plan), plan)).collect();
    // Nothing is beaten by what comes later.
    sorted.sort_by(|(a, _), (b, _)| {
        let pairs = a.iter().zip(b).map(|(a, b)| a.total_cmp(b));
        pairs.fold(Ordering::Equal, Ordering::then)
    });
    let mut kept: Vec<([f64; 4], &Plan)> = Vec::new();
    for (cost, plan) in sorted {
        let beaten = |(other, _): &([f64; 4], &Plan)| other.iter().zip(&cost).all(|(o, c)| o <= c);
        if !kept.iter().any(beaten) {
            kept.push((cost, plan));
        }
    }
    kept.into_iter().map(|(_, plan)| plan.clone()).collect()
}
