//! A plan as a person reads it: a table, and sentences.

use super::figures::{bytes, divergence, divergence_in_words, limit_name, limit_value, rate, time};
use super::report::{Bound, Report, Row, Whole};
use std::fmt::Write as _;
use tandem_planner::{Breakdown, Constraint, Objective, Shortfall, Workload};

/// Splits that the table shows beside the chosen one, at most.
const MOST_SPLITS: usize = 9;

/// What the columns are, below the table.
const LEGEND: &str = "\
split        layers on the edge
cloud        compute of the cloud for each token of the answer
token        time of a token in the middle of the answer
first token  time to the first token of the answer
request      time of the whole answer
memory       of the edge process
session      tokens of a session, at most
KL           divergence of the predictions from the model in f32, in nats; ≤ marks a bound that was not measured
";

impl Report {
    /// For a terminal: what was asked, the table, the plan in words, then why.
    pub fn text(&self, explain: bool) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = self.write(&mut text, explain);
        text
    }

    fn write(&self, f: &mut String, explain: bool) -> std::fmt::Result {
        self.question(f)?;
        match &self.chosen {
            Some(chosen) => self.answer(f, chosen)?,
            None => writeln!(f, "No plan holds all limits.")?,
        }
        for short in &self.shortfalls {
            writeln!(f, "{}", shortfall(short))?;
        }
        for bound in &self.binding {
            writeln!(f, "{}", binding(bound))?;
        }
        if let Some(advice) = &self.advice {
            writeln!(f, "{advice}")?;
        }
        let is_bound = self.chosen.as_ref().is_some_and(|row| row.kl_is_bound);
        if is_bound {
            writeln!(
                f,
                "The KL divergence is an upper bound: nobody has measured what precision costs this model. \
                 tandem-eval calibrate --sensitivity int8,int4 measures it."
            )?;
        }
        if explain && let Some(breakdown) = &self.breakdown {
            terms(f, breakdown, is_bound)?;
        }
        Ok(())
    }

    /// What was measured of the link, and what is asked for.
    fn question(&self, f: &mut String) -> std::fmt::Result {
        let Workload {
            prompt_tokens,
            output_tokens,
            sessions,
            ..
        } = self.workload;
        writeln!(
            f,
            "Link: round trip {}, rate up {}, rate down {}.",
            time(self.link.round_trip),
            rate(self.link.up),
            rate(self.link.down),
        )?;
        writeln!(
            f,
            "Once in {:.0} times the link is worse than: round trip {}, rate up {}.",
            1.0 / self.constraints.outage.max(1e-3),
            time(self.outage_link.round_trip),
            rate(self.outage_link.up),
        )?;
        writeln!(
            f,
            "Load: prompts of {prompt_tokens} tokens, answers of {output_tokens} tokens, {sessions} sessions at once."
        )?;
        writeln!(f, "Limits: {}.", self.limits())?;
        writeln!(f, "Objective: {}.\n", self.objective())
    }

    fn answer(&self, f: &mut String, chosen: &Row) -> std::fmt::Result {
        header(f)?;
        chosen.line(f, "*")?;
        for row in self.others(chosen) {
            row.line(f, " ")?;
        }
        if let Some(whole) = &self.edge_only {
            whole.line(f)?;
        }
        writeln!(f, "\n{LEGEND}")?;
        writeln!(
            f,
            "* The plan, the best of {} candidates: {}.",
            self.considered,
            match chosen.split {
                0 => format!("all {} layers in the cloud", self.layers),
                split => format!(
                    "{split} of {} layers on the edge, {}",
                    self.layers,
                    chosen.types()
                ),
            }
        )?;
        writeln!(
            f,
            "A token takes {}. It costs the cloud {} of compute. The edge takes {}.",
            time(chosen.token_seconds),
            time(chosen.cloud_seconds_per_token),
            bytes(chosen.memory_bytes as f64)
        )?;
        if let Some(with) = &chosen.drafts {
            writeln!(
                f,
                "With drafts that are right as often as in this edge's answers so far a token takes {}, and costs the cloud \
                 {} of compute: a round trip of {:.1} rows brings {:.1} tokens.",
                time(with.token_seconds),
                time(with.cloud_seconds_per_token),
                with.rows_per_round_trip,
                with.tokens_per_round_trip
            )?;
        }
        writeln!(
            f,
            "At this split the cloud carries {} such devices at once, with a token in {} or less, which costs it {} of \
             compute where they share its steps.",
            chosen.devices,
            time(chosen.shared_token_seconds),
            time(chosen.cloud_seconds_per_token_shared)
        )
    }

    fn limits(&self) -> String {
        let limits = &self.constraints;
        let mut parts = Vec::new();
        if let Some(memory) = limits.memory {
            parts.push(format!("{} of memory", bytes(memory as f64)));
        }
        parts.push(format!("sessions of {} tokens", limits.min_context));
        if let Some(deadline) = limits.token_deadline {
            parts.push(format!("{} a token", time(deadline)));
        }
        if let Some(first) = limits.first_token {
            parts.push(format!("{} to the first token", time(first)));
        }
        if let Some(kl) = limits.max_kl {
            parts.push(format!("KL divergence of {kl} nats"));
        }
        parts.join(", ")
    }

    fn objective(&self) -> String {
        let what = match self.objective {
            Objective::Balanced => {
                let fastest = self.fastest_token_seconds;
                let slowest = fastest.map(|fastest| time(fastest * self.slowdown));
                return format!(
                    "balanced, the least compute of the cloud while a token takes at most {} times as long as \
                     the fastest{}",
                    self.slowdown,
                    slowest.map_or(String::new(), |slowest| format!(", {slowest}"))
                );
            }
            Objective::CloudSeconds => "the least compute of the cloud for a token",
            Objective::Latency => "the fastest request",
            Objective::EdgeMemory => "the least memory on the edge",
            Objective::Quality => "the least divergence",
        };
        format!("{}, {what}", self.objective)
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
}

impl Row {
    fn line(&self, f: &mut String, mark: &str) -> std::fmt::Result {
        let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
        writeln!(
            f,
            "{mark} {:>5} {:>10} {:>10} {:>12} {:>10} {:>8} {:>8} {:>9}  {:<6}{:<10}{}",
            self.split,
            time(self.cloud_seconds_per_token),
            time(self.token_seconds),
            time(self.first_token_seconds),
            time(self.request_seconds),
            bytes(self.memory_bytes as f64),
            self.context,
            divergence(self.kl, self.kl_is_bound),
            name(&self.kv),
            name(&self.codec),
            name(&self.weights),
        )
    }

    /// `weights int8, keys and values int8, rows in high`.
    fn types(&self) -> String {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        format!(
            "weights in {}, keys and values in {}, rows in {}",
            name(&self.weights),
            name(&self.kv),
            name(&self.codec)
        )
    }
}

impl Whole {
    fn line(&self, f: &mut String) -> std::fmt::Result {
        writeln!(
            f,
            "    all {:>10} {:>10} {:>12} {:>10} {:>8} {:>8} {:>9}  {:<6}{:<10}{} (edge alone: {}; Tandem does not serve it)",
            "0",
            time(self.token_seconds),
            "",
            time(self.request_seconds),
            bytes(self.memory_bytes as f64),
            "",
            divergence(self.kl, self.kl_is_bound),
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
        ("cloud", 10),
        ("token", 10),
        ("first token", 12),
        ("request", 10),
        ("memory", 8),
        ("session", 8),
        ("KL", 9),
    ];
    write!(f, " ")?;
    for (name, width) in columns {
        write!(f, " {name:>width$}")?;
    }
    writeln!(f, "  KV    rows      weights")
}

fn shortfall(short: &Shortfall) -> String {
    let value = |value| limit_value(short.constraint, value);
    let extreme = match short.constraint {
        Constraint::Context => "most",
        _ => "least",
    };
    format!(
        "The limit on {} is {}. The candidate that comes nearest to holding all limits has {}, and the {extreme} \
         of any candidate is {}.",
        limit_name(short.constraint),
        value(short.limit),
        value(short.nearest),
        value(short.alone)
    )
}

fn binding(bound: &Bound) -> String {
    let row = &bound.without;
    format!(
        "The limit on {} binds: without it the plan would be split {}{}, with {} a token, {} of the cloud and {} \
         on the edge.",
        limit_name(bound.constraint),
        row.split,
        match row.split {
            0 => String::new(),
            _ => format!(", {}", row.types()),
        },
        time(row.token_seconds),
        time(row.cloud_seconds_per_token),
        bytes(row.memory_bytes as f64)
    )
}

fn terms(f: &mut String, b: &Breakdown, bound: bool) -> std::fmt::Result {
    let t = &b.token_seconds;
    writeln!(
        f,
        "\nA token takes {}, in the middle of the answer:",
        time(t.sum())
    )?;
    for (what, seconds) in [
        ("edge: embedding, hand-over", t.edge_fixed),
        ("edge: matrices", t.edge_layers),
        ("edge: attention", t.edge_attention),
        ("edge: encoding the row", t.encode),
        ("link: sending the row up", t.up),
        ("link: round trip", t.round_trip),
        ("cloud: waiting for its turn", t.queue),
        ("cloud: decoding the row", t.decode),
        ("cloud: hand-over", t.cloud_fixed),
        ("cloud: matrices", t.cloud_layers),
        ("cloud: attention", t.cloud_attention),
        ("cloud: head, sampling", t.head),
        ("link: sending the token down", t.down),
    ] {
        writeln!(f, "  {what:<28}{:>10}", time(seconds))?;
    }
    let m = &b.memory_bytes;
    writeln!(f, "The edge takes {} of memory:", bytes(m.sum() as f64))?;
    for (what, size) in [
        ("before a layer is loaded", m.base),
        ("a chunk of the prompt", m.chunk),
        ("weights", m.weights),
        ("keys and values of sessions", m.kv),
    ] {
        writeln!(f, "  {what:<28}{:>10}", bytes(size as f64))?;
    }
    let k = &b.kl;
    writeln!(
        f,
        "The KL divergence from the model in f32 is {}:",
        divergence_in_words(b.kl.sum(), bound)
    )?;
    for (what, kl) in [
        ("weights", k.weights),
        ("keys and values", k.kv),
        ("codec", k.codec),
    ] {
        writeln!(f, "  {what:<28}{:>10}", divergence(kl, false))?;
    }
    Ok(())
}
