//! When not to split: said instead of a number that hides it.

use super::figures::{limit_name, time};
use tandem_planner::{EdgeOnly, Objective, Outcome, Plan, Problem};

/// Why not to split, where that is the answer: because the edge alone is better by the objective, or because
/// the plan leaves all layers to the cloud. `None` where a split is the answer, or nothing holds the limits.
pub fn advice(problem: &Problem, outcome: &Outcome) -> Option<String> {
    let plan = outcome.chosen.as_ref()?;
    let alone = outcome.edge_only.as_ref().filter(|whole| whole.fits);
    match alone {
        Some(whole) if edge_alone_is_better(problem, outcome, plan, whole) => {
            Some(edge_alone(plan, whole))
        }
        _ => (plan.candidate.split == 0).then(|| cloud_alone(problem, outcome)),
    }
}

fn edge_alone_is_better(
    problem: &Problem,
    outcome: &Outcome,
    plan: &Plan,
    whole: &EdgeOnly,
) -> bool {
    match problem.objective {
        // It costs the cloud nothing, so it is better where it is fast enough.
        Objective::Balanced => outcome
            .fastest_token
            .is_some_and(|fastest| whole.token <= fastest * problem.slowdown),
        Objective::CloudSeconds => true,
        Objective::Latency => whole.request < plan.estimate.request,
        Objective::EdgeMemory | Objective::Quality => false,
    }
}

fn edge_alone(plan: &Plan, whole: &EdgeOnly) -> String {
    format!(
        "Do not split: the edge alone can run the whole model in {} within all limits. A token then takes {}, \
         against {} by the plan, and needs no cloud. Tandem does not serve a model without a cloud; an engine \
         for one machine does.",
        whole.weights,
        time(whole.token),
        time(plan.estimate.token)
    )
}

fn cloud_alone(problem: &Problem, outcome: &Outcome) -> String {
    format!(
        "Do not split: run all layers in the cloud, because {}.",
        why_no_layer_here(problem, outcome)
    )
}

fn why_no_layer_here(problem: &Problem, outcome: &Outcome) -> String {
    let Some(fastest_split) = outcome.fastest_split_token else {
        let keeps_out = outcome
            .binding
            .iter()
            .filter(|b| b.relaxed.candidate.split > 0);
        let names: Vec<&str> = keeps_out.map(|b| limit_name(b.constraint)).collect();
        return if names.is_empty() {
            "no split holds the limits".to_owned()
        } else {
            format!("no split holds the limit on {}", names.join(" or on "))
        };
    };
    match problem.objective {
        Objective::Balanced => {
            let slowest = outcome.fastest_token.unwrap_or(0.0) * problem.slowdown;
            if fastest_split > slowest {
                format!(
                    "a token takes {} at least with a split, and may take {} at most",
                    time(fastest_split),
                    time(slowest)
                )
            } else {
                "no split that is fast enough costs the cloud less".to_owned()
            }
        }
        Objective::CloudSeconds => "no split costs the cloud less".to_owned(),
        Objective::Latency => "a request is fastest without a split".to_owned(),
        Objective::EdgeMemory => "an edge without layers takes the least memory".to_owned(),
        Objective::Quality => {
            "rows that never cross a link lose nothing, and no split is faster".to_owned()
        }
    }
}
