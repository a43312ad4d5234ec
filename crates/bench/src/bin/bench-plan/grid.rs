//! The scenarios: nine links, two memory limits, and the plan for each.

use crate::candidates::Settings;
use crate::measure::Bench;
use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;
use tandem_planner::{Estimate, Problem, estimate};
use tandem_tests::process::Binary;

/// A link: round trip in milliseconds, rate in kbit/s.
pub(crate) type LinkKey = (u64, u64);

/// The grid's links.
pub(crate) const LINKS: [LinkKey; 9] = [
    (1, 10_000),
    (20, 10_000),
    (80, 10_000),
    (1, 1_000),
    (20, 1_000),
    (80, 1_000),
    (1, 250),
    (20, 250),
    (80, 250),
];
/// Layers in 4 bits, with their keys and values, that the memory limits hold.
const HOLD: [usize; 2] = [6, 16];
/// Tokens of a prompt, and of an answer.
pub(crate) const PROMPT: usize = 256;
pub(crate) const OUTPUT: usize = 64;
/// Positions that a session has room for.
pub(crate) const CONTEXT: usize = 512;

/// One square of the grid.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Scenario {
    pub(crate) link: LinkKey,
    /// Layers in 4 bits that the memory limit holds.
    pub(crate) holds: usize,
    /// What was planned.
    pub(crate) chosen: Settings,
    /// Seconds that the search took.
    pub(crate) planning_seconds: f64,
    /// All figures that it was planned from.
    pub(crate) problem: Problem,
}

impl Scenario {
    /// What the planner says of some settings here.
    pub(crate) fn expects(&self, settings: &Settings) -> Option<Estimate> {
        let candidate = settings.candidate(&self.problem)?;
        Some(estimate(&self.problem, &candidate))
    }

    fn limit(&self) -> Limit {
        Limit {
            holds: self.holds,
            bytes: self.problem.constraints.memory.unwrap_or(0),
        }
    }

    /// Whether some settings hold the limits, by the planner's figures.
    pub(crate) fn allows(&self, settings: &Settings) -> bool {
        let limits = &self.problem.constraints;
        self.expects(settings).is_some_and(|e| {
            limits.memory.is_none_or(|most| e.memory <= most)
                && limits.max_kl.is_none_or(|most| e.kl <= most)
        })
    }

    /// "The deepest split that fits": one type for all layers, exact keys and values, the codec that has
    /// next to no loss.
    pub(crate) fn deepest(&self) -> Settings {
        self.deepest_of(&["int4:64", "int8", "f32"], "high")
    }

    /// What others do: the middle, or the deepest that fits in 8 bits; bf16 rows, 8-bit weights.
    pub(crate) fn usual(&self) -> Settings {
        let middle = self.problem.edge.layers / 2;
        let deepest = self.deepest_of(&["int8"], "bf16");
        Settings {
            split: deepest.split.min(middle),
            ..deepest
        }
    }

    fn deepest_of(&self, types: &[&str], codec: &str) -> Settings {
        let fits = (1..self.problem.edge.layers).flat_map(|split| {
            let of = move |weights: &&str| Settings::new(split, weights, "f32", codec);
            types
                .iter()
                .map(of)
                .filter(|settings| self.allows(settings))
        });
        fits.max_by_key(|settings| settings.split)
            .unwrap_or_else(Settings::cloud_only)
    }

    /// The plan and what it is held against.
    pub(crate) fn contenders(&self) -> [Settings; 4] {
        [
            self.chosen.clone(),
            self.deepest(),
            self.usual(),
            Settings::cloud_only(),
        ]
    }
}

/// Plans a link's scenarios with `edge-agent plan`, as a user would, from a machine that has just been
/// measured: machines that others use are not what they were an hour ago.
pub(crate) fn plan_link(
    bench: &Bench,
    link: LinkKey,
    objective: &str,
    known: &[Scenario],
    out: &Path,
) -> Result<Vec<Scenario>> {
    let fresh = plan(
        bench,
        link,
        objective,
        Limit { holds: 0, bytes: 0 },
        true,
        out,
    )?;
    let limits = match known {
        // The same limits on all links.
        [first, second, ..] => [first.limit(), second.limit()],
        _ => limits(&fresh.problem)?,
    };
    let planned = limits.map(|limit| {
        let scenario = plan(bench, link, objective, limit, false, out)?;
        eprintln!(
            "{} ms, {} kbit/s, {} layers: {}",
            link.0, link.1, limit.holds, scenario.chosen
        );
        Ok(scenario)
    });
    planned.into_iter().collect()
}

/// Memory limits, made from what was measured of this machine.
fn limits(problem: &Problem) -> Result<[Limit; 2]> {
    let edge = &problem.edge;
    let of = |name: &str| {
        let found = edge.weights.iter().find(|w| w.name == name);
        found.with_context(|| format!("{name} was not measured: calibrate --sensitivity int4,int8"))
    };
    let layer = of("int4:64")?.layer_bytes;
    let kv = edge.kv.iter().find(|kv| kv.name == "f32").context("f32")?;
    let layer = layer + CONTEXT as u64 * kv.layer_position_bytes;
    Ok(HOLD.map(|holds| Limit {
        holds,
        bytes: edge.base_bytes + edge.chunk_bytes + holds as u64 * layer,
    }))
}

/// What an edge may take; nothing for no limit.
#[derive(Debug, Clone, Copy)]
struct Limit {
    holds: usize,
    bytes: u64,
}

fn plan(
    bench: &Bench,
    link: LinkKey,
    objective: &str,
    limit: Limit,
    fresh: bool,
    out: &Path,
) -> Result<Scenario> {
    let file = out.join("problem.json");
    let memory = format!("{}B", limit.bytes);
    let output = Command::new(Binary::EdgeAgent.path())
        .args(["plan", "--json", "--threads", "1", "--objective", objective])
        .args(["--memory", &memory, "--cloud", &bench.url_by(link)])
        .args(["--plan-sessions", "1"])
        .args(["--max-context", &CONTEXT.to_string()])
        .args(["--prompt-tokens", &PROMPT.to_string()])
        .args(["--output-tokens", &OUTPUT.to_string()])
        .arg("--model")
        .arg(bench.model())
        .arg("--plan-cache")
        .arg(out.join("plan"))
        .arg("--problem")
        .arg(&file)
        .args(fresh.then_some("--fresh"))
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let row = &report["chosen"];
    let name = |key: &str| row[key].as_str().unwrap_or("f32").to_owned();
    Ok(Scenario {
        link,
        holds: limit.holds,
        chosen: Settings {
            split: row["split"].as_u64().context("a split")? as usize,
            weights: name("weights"),
            kv: name("kv"),
            codec: name("codec"),
        },
        planning_seconds: report["took"]["planning_seconds"]
            .as_f64()
            .context("a time")?,
        problem: serde_json::from_slice(&std::fs::read(&file)?)?,
    })
}
