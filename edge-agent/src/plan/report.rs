//! A plan as a person reads it, and as one JSON document.

use super::Solved;
use serde::Serialize;
use std::fmt::Write as _;
use tandem_planner::{
    Breakdown, Constraint, Constraints, EdgeOnly, Link, Objective, Plan, Problem, Shortfall,
    Workload, breakdown,
};

/// Splits that the table shows beside the chosen one, at most.
const MOST_SPLITS: usize = 9;

/// The document of `plan --json`. Times are seconds, memory bytes, rates bytes a second, `kl` nats.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What to deploy; null when no plan holds the limits.
    pub chosen: Option<Row>,
    /// Limits without which a better plan would be chosen.
    pub binding: Vec<Bound>,
    /// The limits that cannot be held, when none can.
    pub shortfalls: Vec<Short>,
    /// Whether not to split would be better, and why.
    pub advice: Option<String>,
    /// The best plan of each split that has one.
    pub by_split: Vec<Row>,
    /// The plans that no other beats in cloud time, request time, memory and quality together.
    pub front: Vec<Row>,
    /// The whole model on the edge: told, not run. Null where the edge cannot have it.
    pub edge_only: Option<Whole>,
    /// What is best.
    pub objective: Objective,
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
    /// Of them, those left out because their cost in quality was not measured.
    pub unmeasured: usize,
    /// Seconds that measuring and the search took.
    pub took: Took,
    #[serde(skip)]
    quality_known: bool,
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
    /// Bytes up a token.
    pub up_bytes_per_token: f64,
    /// Divergence; null where a part of it was not measured.
    pub kl: Option<f64>,
}

/// A limit that binds.
#[derive(Debug, Serialize)]
pub struct Bound {
    /// The limit.
    pub constraint: Constraint,
    /// What would be chosen without it.
    pub without: Row,
}

/// A limit that cannot be held.
#[derive(Debug, Serialize)]
pub struct Short {
    /// The limit.
    pub constraint: Constraint,
    /// What it is.
    pub limit: f64,
    /// What the candidate that comes nearest to holding all limits has.
    pub nearest: f64,
    /// What could be had if no other limit mattered.
    pub alone: f64,
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
    /// Divergence, the head's left out; null where a part of it was not measured.
    pub kl: Option<f64>,
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
        let short = |s: &Shortfall| Short {
            constraint: s.constraint,
            limit: s.limit,
            nearest: s.nearest,
            alone: s.alone,
        };
        let bound = |b: &tandem_planner::Binding| Bound {
            constraint: b.constraint,
            without: row(&b.relaxed),
        };
        let chosen = outcome.chosen.as_ref();
        Self {
            chosen: chosen.map(row),
            binding: outcome.binding.iter().map(bound).collect(),
            shortfalls: outcome.shortfalls.iter().map(short).collect(),
            advice: chosen.and_then(|plan| advice(problem, plan, outcome.edge_only.as_ref())),
            by_split: outcome.by_split.iter().map(row).collect(),
            front: outcome.front.iter().map(row).collect(),
            edge_only: outcome.edge_only.as_ref().map(Whole::new),
            objective: problem.objective,
            constraints: problem.constraints.clone(),
            workload: problem.workload,
            link: problem.link.expected(),
            outage_link: problem.link.outage(problem.constraints.outage),
            breakdown: chosen.map(|plan| breakdown(problem, &plan.candidate)),
            considered: outcome.considered,
            unmeasured: outcome.unmeasured,
            took: Took {
                measuring_seconds: solved.took.0.as_secs_f64(),
                planning_seconds: solved.took.1.as_secs_f64(),
            },
            quality_known: solved.quality_known,
        }
    }

    /// For a terminal: the chosen plan first, then others, then why.
    pub fn text(&self, explain: bool) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = self.write(&mut text, explain);
        text
    }

    fn write(&self, f: &mut String, explain: bool) -> std::fmt::Result {
        let Workload {
            prompt_tokens,
            output_tokens,
            sessions,
            ..
        } = self.workload;
        writeln!(
            f,
            "Link: round trip {}, {} up, {} down; once in {:.0}: {}, {} up.",
            time(self.link.round_trip),
            rate(self.link.up),
            rate(self.link.down),
            1.0 / self.constraints.outage.max(1e-3),
            time(self.outage_link.round_trip),
            rate(self.outage_link.up),
        )?;
        writeln!(
            f,
            "Requests of {prompt_tokens} tokens in, {output_tokens} out, {sessions} at once. Limits: {}.\n",
            self.limits()
        )?;
        if let Some(chosen) = &self.chosen {
            header(f)?;
            chosen.line(f, "*")?;
            for row in self.others(chosen) {
                row.line(f, " ")?;
            }
            if let Some(whole) = &self.edge_only {
                whole.line(f)?;
            }
            writeln!(f, "\n* chosen: {}", self.why(chosen))?;
        }
        for short in &self.shortfalls {
            let unit = |value| quantity(short.constraint, value);
            writeln!(
                f,
                "{}: {} is asked for; the plan that comes nearest to all limits has {}, and {} is the most \
                 that can be had if nothing else matters.",
                name(short.constraint),
                unit(short.limit),
                unit(short.nearest),
                unit(short.alone)
            )?;
        }
        for bound in &self.binding {
            writeln!(
                f,
                "{} binds: without that limit {}.",
                name(bound.constraint),
                bound.without.sentence(self.objective)
            )?;
        }
        if let Some(advice) = &self.advice {
            writeln!(f, "{advice}")?;
        }
        if self.unmeasured > 0 || (!self.quality_known && self.constraints.max_kl.is_some()) {
            writeln!(
                f,
                "Left out, because what they cost in quality was not measured: {}. tandem-eval calibrate \
                 --sensitivity measures it; --max-kl 0 does not ask.",
                match self.unmeasured {
                    0 => "weights, keys and values in fewer bits".to_owned(),
                    some => format!("{some} of {} candidates", self.considered),
                }
            )?;
        }
        if explain && let Some(breakdown) = &self.breakdown {
            terms(f, breakdown)?;
        }
        Ok(())
    }

    fn limits(&self) -> String {
        let limits = &self.constraints;
        let mut parts = vec![format!("sessions of {} positions", limits.min_context)];
        if let Some(memory) = limits.memory {
            parts.push(format!("{} of memory", bytes(memory as f64)));
        }
        if let Some(deadline) = limits.token_deadline {
            parts.push(format!("{} a token", time(deadline)));
        }
        if let Some(first) = limits.first_token {
            parts.push(format!("{} to the first", time(first)));
        }
        if let Some(kl) = limits.max_kl {
            parts.push(format!("KL {kl}"));
        }
        parts.join(", ")
    }

    /// Some of the other splits, the shallowest and the deepest among them.
    fn others(&self, chosen: &Row) -> Vec<&Row> {
        let others: Vec<&Row> = self
            .by_split
            .iter()
            .filter(|r| r.split != chosen.split)
            .collect();
        let step = others.len().div_ceil(MOST_SPLITS).max(1);
        let last = others.len().saturating_sub(1);
        let kept = others
            .iter()
            .enumerate()
            .filter(|(i, _)| i % step == 0 || *i == last);
        kept.map(|(_, row)| *row).collect()
    }

    fn why(&self, chosen: &Row) -> String {
        let best = match self.objective {
            Objective::CloudSeconds => "the least compute of the cloud a token",
            Objective::Latency => "the fastest request",
            Objective::EdgeMemory => "the least memory on the edge",
            Objective::Quality => "the least divergence",
        };
        format!(
            "{best}, {}, of {} candidates",
            chosen.value(self.objective),
            self.considered
        )
    }
}

fn advice(problem: &Problem, plan: &Plan, whole: Option<&EdgeOnly>) -> Option<String> {
    let whole = whole.filter(|whole| whole.fits);
    if let Some(whole) = whole
        && (problem.objective != Objective::Latency || whole.request < plan.estimate.request)
        && (problem.objective != Objective::Quality)
        && (problem.objective != Objective::EdgeMemory)
    {
        return Some(format!(
            "Do not split: the whole model holds all limits on the edge alone, with {} a token and no \
             cloud at all. Tandem does not run that; any engine for one machine does.",
            time(whole.token)
        ));
    }
    (plan.candidate.split == 0).then(|| {
        format!(
            "Do not split: with all layers in the cloud token ids go up and no hidden rows, and nothing that \
             holds the limits is better in {}.",
            problem.objective
        )
    })
}

impl Row {
    fn new(problem: &Problem, plan: &Plan) -> Self {
        let (candidate, e) = (&plan.candidate, &plan.estimate);
        let split = candidate.split > 0;
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
            up_bytes_per_token: e.up_bytes,
            kl: e.kl,
        }
    }

    fn line(&self, f: &mut String, mark: &str) -> std::fmt::Result {
        let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
        writeln!(
            f,
            "{mark} {:>5} {:>10} {:>10} {:>10} {:>10} {:>8} {:>7} {:>9}  {:<6}{:<10}{}",
            self.split,
            time(self.cloud_seconds_per_token),
            time(self.token_seconds),
            time(self.first_token_seconds),
            time(self.request_seconds),
            bytes(self.memory_bytes as f64),
            self.context,
            loss(self.kl),
            name(&self.kv),
            name(&self.codec),
            name(&self.weights),
        )
    }

    fn value(&self, objective: Objective) -> String {
        match objective {
            Objective::CloudSeconds => time(self.cloud_seconds_per_token),
            Objective::Latency => time(self.request_seconds),
            Objective::EdgeMemory => bytes(self.memory_bytes as f64),
            Objective::Quality => loss(self.kl),
        }
    }

    fn sentence(&self, objective: Objective) -> String {
        format!(
            "split {} would have {}",
            self.split,
            match objective {
                Objective::CloudSeconds =>
                    format!("{} of the cloud a token", self.value(objective)),
                Objective::Latency => format!("{} a request", self.value(objective)),
                Objective::EdgeMemory => format!("{} on the edge", self.value(objective)),
                Objective::Quality => format!("a divergence of {}", self.value(objective)),
            }
        )
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
            fits: whole.fits,
        }
    }

    fn line(&self, f: &mut String) -> std::fmt::Result {
        writeln!(
            f,
            "    all {:>10} {:>10} {:>10} {:>10} {:>8} {:>7} {:>9}  {:<6}{:<10}{} (told, not run; {})",
            "0",
            time(self.token_seconds),
            "",
            time(self.request_seconds),
            bytes(self.memory_bytes as f64),
            "",
            loss(self.kl),
            "",
            "-",
            self.weights,
            if self.fits {
                "holds all limits"
            } else {
                "breaks a limit"
            },
        )
    }
}

fn header(f: &mut String) -> std::fmt::Result {
    let columns = [
        ("split", 5),
        ("cloud/tok", 10),
        ("token", 10),
        ("first", 10),
        ("request", 10),
        ("memory", 8),
        ("context", 7),
        ("KL", 9),
    ];
    write!(f, " ")?;
    for (name, width) in columns {
        write!(f, " {name:>width$}")?;
    }
    writeln!(f, "  kv    codec     weights")
}

fn terms(f: &mut String, b: &Breakdown) -> std::fmt::Result {
    let t = &b.token_seconds;
    writeln!(f, "\nA token takes {}:", time(t.sum()))?;
    for (what, seconds) in [
        ("edge: embedding, hand-over", t.edge_fixed),
        ("edge: matrices", t.edge_layers),
        ("edge: attention", t.edge_attention),
        ("edge: encoding", t.encode),
        ("link: the row, up", t.up),
        ("link: round trip", t.round_trip),
        ("cloud: other sessions", t.queue),
        ("cloud: decoding", t.decode),
        ("cloud: hand-over", t.cloud_fixed),
        ("cloud: matrices", t.cloud_layers),
        ("cloud: attention", t.cloud_attention),
        ("cloud: head, sampling", t.head),
        ("link: the token, down", t.down),
    ] {
        writeln!(f, "  {what:<28}{:>10}", time(seconds))?;
    }
    let m = &b.memory_bytes;
    writeln!(f, "The edge takes {}:", bytes(m.sum() as f64))?;
    for (what, size) in [
        ("libtorch, runtime, tokenizer", m.base),
        ("a chunk of the prompt", m.chunk),
        ("weights", m.weights),
        ("keys and values", m.kv),
    ] {
        writeln!(f, "  {what:<28}{:>10}", bytes(size as f64))?;
    }
    let k = &b.kl;
    writeln!(f, "The predictions' divergence adds up from:")?;
    for (what, kl) in [
        ("weights", k.weights),
        ("keys and values", k.kv),
        ("codec", k.codec),
    ] {
        writeln!(f, "  {what:<28}{:>10}", loss(kl))?;
    }
    Ok(())
}

fn name(constraint: Constraint) -> &'static str {
    match constraint {
        Constraint::Memory => "Memory",
        Constraint::TokenDeadline => "The deadline of a token",
        Constraint::FirstToken => "The deadline of the first token",
        Constraint::Context => "The context",
        Constraint::Quality => "Quality",
    }
}

fn quantity(constraint: Constraint, value: f64) -> String {
    match constraint {
        Constraint::Memory => bytes(value),
        Constraint::TokenDeadline | Constraint::FirstToken => time(value),
        Constraint::Context => format!("{value:.0} positions"),
        Constraint::Quality => loss(Some(value)),
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 10.0 => format!("{s:.1} s"),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.01 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.2} ms", s * 1e3),
    }
}

fn bytes(bytes: f64) -> String {
    match bytes {
        b if b >= 10.0 * (1u64 << 30) as f64 => format!("{:.0} GiB", b / (1u64 << 30) as f64),
        b => format!("{:.0} MiB", b / f64::from(1 << 20)),
    }
}

fn rate(bytes_per_second: f64) -> String {
    match bytes_per_second * 8e-6 {
        mbit if mbit.is_infinite() => "too fast to matter".to_owned(),
        mbit if mbit >= 10.0 => format!("{mbit:.0} Mbit/s"),
        mbit => format!("{mbit:.2} Mbit/s"),
    }
}

fn loss(kl: Option<f64>) -> String {
    match kl {
        None => "?".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(kl) if kl.is_infinite() => "?".to_owned(),
        Some(kl) => format!("{kl:.1e}"),
    }
}
