//! What clients saw, and what is made of it.

use crate::asking::Answered;
use crate::hostile::Way;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

/// What clients saw, by the clock of the level.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    first: Vec<(Instant, Duration)>,
    between: Vec<(Instant, Duration)>,
    queue: Vec<(Instant, Duration)>,
    prompts: Vec<(Instant, u32)>,
    answers: usize,
    given_up: usize,
    replays: u32,
    failures: BTreeMap<String, usize>,
}

/// What a level of clients got.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// Which peer's, where there are several.
    pub(crate) peer: Option<usize>,
    pub(crate) clients: usize,
    pub(crate) tokens_per_second: f64,
    /// Of prompts that have their first token.
    pub(crate) prompt_tokens_per_second: f64,
    pub(crate) first_token_ms: Times,
    pub(crate) inter_token_ms: Times,
    /// Of answers, in all of their steps.
    pub(crate) cloud_queue_ms: Times,
    pub(crate) answers: usize,
    pub(crate) given_up: usize,
    /// Sessions that answers lost and went on without.
    pub(crate) replays: u32,
    /// By reason.
    pub(crate) failures: BTreeMap<String, usize>,
    /// From the long prompt to its first token, where there was one.
    pub(crate) long_prompt_seconds: Option<f64>,
    /// How another peer was hostile meanwhile.
    pub(crate) hostile: Option<Way>,
    /// How often: connections, streams or messages.
    pub(crate) hostile_acts: Option<u64>,
    /// What the cloud took at the end, in MiB, where it was started here.
    pub(crate) cloud_mib: Option<u64>,
}

/// Of some times, in milliseconds; null of none.
#[derive(Debug, Serialize)]
pub(crate) struct Times {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
}

impl Seen {
    /// Notes an answer that was asked for at `asked`.
    pub(crate) fn note(&mut self, asked: Instant, answered: &Answered) {
        let mut last = None;
        for &at in &answered.tokens {
            match last.replace(at) {
                None => {
                    self.first.push((at, at - asked));
                    self.prompts.push((at, answered.prompt_tokens as u32));
                }
                Some(before) => self.between.push((at, at - before)),
            }
        }
        self.replays += answered.replays;
        match (&answered.failure, answered.given_up) {
            (Some(reason), _) => *self.failures.entry(reason.clone()).or_default() += 1,
            (None, true) => self.given_up += 1,
            (None, false) => {
                self.answers += 1;
                self.queue.push((Instant::now(), answered.queue));
            }
        }
    }

    /// Adds what others saw.
    pub(crate) fn add(&mut self, other: Self) {
        self.first.extend(other.first);
        self.between.extend(other.between);
        self.queue.extend(other.queue);
        self.prompts.extend(other.prompts);
        self.answers += other.answers;
        self.given_up += other.given_up;
        self.replays += other.replays;
        for (reason, count) in other.failures {
            *self.failures.entry(reason).or_default() += count;
        }
    }

    /// The figures of what came within a window.
    pub(crate) fn row(&self, clients: usize, window: &Range<Instant>) -> Row {
        let seconds = (window.end - window.start).as_secs_f64();
        let inside = |at: &Instant| window.contains(at);
        let prompts = self.prompts.iter().filter(|(at, _)| inside(at));
        let tokens = self
            .first
            .iter()
            .chain(&self.between)
            .filter(|(at, _)| inside(at));
        let times = |list: &[(Instant, Duration)]| {
            let inside = list.iter().filter(|(at, _)| inside(at));
            Times::of(inside.map(|(_, took)| 1e3 * took.as_secs_f64()).collect())
        };
        Row {
            peer: None,
            clients,
            tokens_per_second: tokens.count() as f64 / seconds,
            prompt_tokens_per_second: prompts.map(|&(_, n)| f64::from(n)).sum::<f64>() / seconds,
            first_token_ms: times(&self.first),
            inter_token_ms: times(&self.between),
            cloud_queue_ms: times(&self.queue),
            answers: self.answers,
            given_up: self.given_up,
            replays: self.replays,
            failures: self.failures.clone(),
            long_prompt_seconds: None,
            hostile: None,
            hostile_acts: None,
            cloud_mib: None,
        }
    }
}

impl Times {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let quantile = |share: f64| match times.len() {
            0 => f64::NAN,
            length => times[((length - 1) as f64 * share).round() as usize],
        };
        Self {
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
        }
    }
}

/// Prints a table.
pub(crate) fn table(rows: &[Row]) {
    println!(
        "| clients | tokens/s | prompt tokens/s | first token p50, p95, p99, ms | inter-token p50, p95, p99, ms \
         | queue p50, p99, ms | answers | given up | replays | failures | long prompt, s | hostile, how often | cloud, MiB |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for row in rows {
        let failures: Vec<String> = row
            .failures
            .iter()
            .map(|(why, n)| format!("{n} {why}"))
            .collect();
        let long = row
            .long_prompt_seconds
            .map(|seconds| format!("{seconds:.2}"));
        let hostile = row.hostile.zip(row.hostile_acts);
        let hostile = hostile.map(|(way, acts)| format!("{way}, {acts}"));
        let mib = row.cloud_mib.map(|mib| mib.to_string());
        let (first, between) = (&row.first_token_ms, &row.inter_token_ms);
        println!(
            "| {}{} | {:.1} | {:.0} | {:.0}, {:.0}, {:.0} | {:.1}, {:.1}, {:.1} | {:.0}, {:.0} | {} | {} | {} | {} | {} | {} | {} |",
            row.clients,
            row.peer
                .map_or(String::new(), |peer| format!(" of peer {peer}")),
            row.tokens_per_second,
            row.prompt_tokens_per_second,
            first.p50,
            first.p95,
            first.p99,
            between.p50,
            between.p95,
            between.p99,
            row.cloud_queue_ms.p50,
            row.cloud_queue_ms.p99,
            row.answers,
            row.given_up,
            row.replays,
            if failures.is_empty() {
                "0".to_owned()
            } else {
                failures.join(", ")
            },
            long.unwrap_or_default(),
            hostile.unwrap_or_default(),
            mib.unwrap_or_default(),
        );
    }
}
