//! How good plans and predictions were.

use crate::candidates::Settings;
use crate::grid::Scenario;
use crate::measure::{Log, Measured};
use serde::Serialize;
use std::fmt;
use tandem_planner::Objective;

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    rows: Vec<Row>,
    /// Of every candidate that was measured, on every link.
    token_errors: Errors,
    first_token_errors: Errors,
    /// The predictions that were furthest off.
    worst: Vec<String>,
    candidates: usize,
    slowest_planning_seconds: f64,
}

/// One scenario.
#[derive(Debug, Serialize)]
struct Row {
    round_trip_ms: u64,
    rate_kbit: u64,
    holds: usize,
    plan: String,
    predicted: Costs,
    measured: Costs,
    /// How often the plan, and what it is held against, was measured.
    runs: usize,
    /// The plan's measured objective, and that of the best candidate that holds the limits.
    objective: f64,
    best: f64,
    best_is: String,
    /// The objective of the two one-line rules.
    deepest: f64,
    deepest_is: String,
    cloud_only: f64,
    /// A fixed split with 8-bit weights and bf16 rows ÷ the plan: a whole request, and a token.
    usual_is: String,
    request_ratio: f64,
    token_ratio: f64,
}

#[derive(Debug, Serialize)]
struct Costs {
    token_ms: f64,
    first_token_ms: f64,
}

/// Of predictions: shares of what was measured.
#[derive(Debug, Serialize)]
struct Errors {
    median: f64,
    worst: f64,
    count: usize,
}

pub(crate) fn judge(scenarios: &[Scenario], log: &Log) -> Verdict {
    const WORST: usize = 8;
    let (mut token, mut first) = (Vec::new(), Vec::new());
    let mut all: Vec<(f64, String)> = Vec::new();
    let mut candidates = std::collections::BTreeSet::new();
    // The links, once each: the memory limit has no part in what a token takes.
    let holds = scenarios.first().map_or(0, |s| s.holds);
    for scenario in scenarios.iter().filter(|s| s.holds == holds) {
        for (settings, measured) in log.on(scenario.link) {
            candidates.insert(settings.clone());
            if let Some(expected) = scenario.expects(settings) {
                let (link, off) = (scenario.link, |e: f64, m: f64| (e / m - 1.0).abs());
                for (what, errors, expected, measured) in [
                    ("token", &mut token, expected.token, measured.token),
                    (
                        "first token",
                        &mut first,
                        expected.first_token,
                        measured.first_token,
                    ),
                ] {
                    errors.push(off(expected, measured));
                    let text = format!(
                        "{what} of {settings} at {} ms, {} kbit/s: {:.1} ms, predicted {:.1}",
                        link.0,
                        link.1,
                        1e3 * measured,
                        1e3 * expected
                    );
                    all.push((off(expected, measured), text));
                }
            }
        }
    }
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let slowest = scenarios.iter().map(|s| s.planning_seconds);
    Verdict {
        rows: scenarios.iter().filter_map(|s| row(s, log)).collect(),
        token_errors: Errors::of(token),
        first_token_errors: Errors::of(first),
        candidates: candidates.len(),
        worst: all.into_iter().take(WORST).map(|(_, text)| text).collect(),
        slowest_planning_seconds: slowest.fold(0.0, f64::max),
    }
}

/// What one measurement does not tell apart from the best of a link's scenarios, and the contenders.
pub(crate) fn finalists(scenarios: &[&Scenario], log: &Log) -> Vec<Settings> {
    const NEAR: f64 = 1.1;
    const MOST: usize = 4;
    let mut all: Vec<Settings> = Vec::new();
    for scenario in scenarios {
        let allowed = log
            .on(scenario.link)
            .filter(|(settings, _)| scenario.allows(settings));
        let mut allowed: Vec<(f64, &Settings)> = allowed
            .map(|(settings, measured)| (objective(scenario, settings, measured), settings))
            .collect();
        allowed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(b.1)));
        let best = allowed.first().map_or(0.0, |(value, _)| *value);
        let near = allowed.iter().filter(|(value, _)| *value <= NEAR * best);
        all.extend(near.take(MOST).map(|(_, settings)| (*settings).clone()));
        all.extend(scenario.contenders());
    }
    all.sort();
    all.dedup();
    all
}

fn row(scenario: &Scenario, log: &Log) -> Option<Row> {
    let link = scenario.link;
    let plan = log.get(&scenario.chosen, link)?;
    let expected = scenario.expects(&scenario.chosen)?;
    let value = |settings: &Settings, measured: Measured| objective(scenario, settings, measured);
    let of = |settings: &Settings| Some(value(settings, log.get(settings, link)?));
    // Those measured as often as the plan: the luckiest of many single runs is no candidate.
    let runs = log.runs(&scenario.chosen, link);
    let allowed = log
        .on(link)
        .filter(|(settings, _)| scenario.allows(settings) && log.runs(settings, link) >= runs);
    let (best, best_is) = allowed
        .map(|(settings, measured)| (value(settings, measured), settings))
        .min_by(|a, b| a.0.total_cmp(&b.0))?;
    let deepest = scenario.deepest();
    let usual = scenario.usual();
    let usual_measured = log.get(&usual, link)?;
    Some(Row {
        round_trip_ms: link.0,
        rate_kbit: link.1,
        holds: scenario.holds,
        plan: scenario.chosen.to_string(),
        predicted: Costs {
            token_ms: 1e3 * expected.token,
            first_token_ms: 1e3 * expected.first_token,
        },
        measured: Costs {
            token_ms: 1e3 * plan.token,
            first_token_ms: 1e3 * plan.first_token,
        },
        runs,
        objective: value(&scenario.chosen, plan),
        best,
        best_is: best_is.to_string(),
        deepest: of(&deepest)?,
        deepest_is: deepest.to_string(),
        cloud_only: of(&Settings::cloud_only())?,
        usual_is: usual.to_string(),
        request_ratio: usual_measured.request / plan.request,
        token_ratio: usual_measured.token / plan.token,
    })
}

/// What was to be small, as it was measured; what cannot be timed, as it was computed.
fn objective(scenario: &Scenario, settings: &Settings, measured: Measured) -> f64 {
    let expected = scenario.expects(settings);
    match scenario.problem.objective {
        Objective::Balanced | Objective::CloudSeconds => measured.cloud,
        Objective::Latency => measured.request,
        Objective::EdgeMemory => expected.map_or(f64::INFINITY, |e| e.memory as f64),
        Objective::Quality => expected.map_or(f64::INFINITY, |e| e.kl),
    }
}

impl Errors {
    fn of(mut errors: Vec<f64>) -> Self {
        errors.sort_by(f64::total_cmp);
        Self {
            median: errors.get(errors.len() / 2).copied().unwrap_or(f64::NAN),
            worst: errors.last().copied().unwrap_or(f64::NAN),
            count: errors.len(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| link | holds | plan | token, ms: predicted, measured | first, ms | plan ÷ best | ÷ deepest | ÷ \
             split 0 | usual ÷ plan: request | token |"
        )?;
        writeln!(f, "|{}", " --- |".repeat(10))?;
        for row in &self.rows {
            writeln!(
                f,
                "| {} ms, {} Mbit/s | {} | {} | {:.1}, {:.1} | {:.0}, {:.0} | {:.3} | {:.3} | {:.3} | {:.2} | {:.2} |",
                row.round_trip_ms,
                row.rate_kbit as f64 / 1e3,
                row.holds,
                row.plan,
                row.predicted.token_ms,
                row.measured.token_ms,
                row.predicted.first_token_ms,
                row.measured.first_token_ms,
                row.objective / row.best,
                row.objective / row.deepest,
                row.objective / row.cloud_only,
                row.request_ratio,
                row.token_ratio
            )?;
        }
        let share = |of: fn(&Row) -> bool| self.rows.iter().filter(|row| of(row)).count();
        let mean = |of: fn(&Row) -> f64| {
            let logs: f64 = self.rows.iter().map(|row| of(row).ln()).sum();
            (logs / self.rows.len().max(1) as f64).exp()
        };
        let errors = |e: &Errors| {
            format!(
                "{:.1}% at the median, {:.1}% at worst of {}",
                100.0 * e.median,
                100.0 * e.worst,
                e.count
            )
        };
        writeln!(f, "\n{} candidates measured.", self.candidates)?;
        writeln!(
            f,
            "Prediction of a token: off by {}.",
            errors(&self.token_errors)
        )?;
        writeln!(
            f,
            "Of the first token: {}.",
            errors(&self.first_token_errors)
        )?;
        for text in &self.worst {
            writeln!(f, "    {text}")?;
        }
        writeln!(
            f,
            "Within 5% of the best measured: {} of {}.",
            share(|row| row.objective <= 1.05 * row.best),
            self.rows.len()
        )?;
        writeln!(
            f,
            "More than 2% worse than a rule: {}. Better than both by 5%: {}.",
            share(|row| row.objective > 1.02 * row.deepest.min(row.cloud_only)),
            share(|row| 1.05 * row.objective <= row.deepest.min(row.cloud_only))
        )?;
        write!(
            f,
            "Fixed split, int8 and bf16 ÷ plan: a request {:.2}, a token {:.2} (geometric means). Planning took \
             at most {:.2} s.",
            mean(|row| row.request_ratio),
            mean(|row| row.token_ratio),
            self.slowest_planning_seconds
        )
    }
}
