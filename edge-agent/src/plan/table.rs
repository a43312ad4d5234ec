//! A plan as a person reads it: a table, and sentences.

use super::report::{Report, Row, Whole};
use std::fmt::Write as _;
use tandem_planner::{Breakdown, Constraint, Objective, Workload};

/// Splits that the table shows beside the chosen one, at most.
const MOST_SPLITS: usize = 9;

impl Report {
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

impl Row {
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

pub(super) fn time(seconds: f64) -> String {
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
