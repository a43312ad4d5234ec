//! One row: servers of its own, clients, faults of one kind or several, and what came of the answers.

use crate::arguments::{Arguments, Trial, Until};
use crate::asking::{Answer, Asker};
use crate::clients::Clients;
use crate::faults::{Faults, Kind};
use crate::fleet::{Fleet, Resident};
use crate::report::{Judged, Row};
use anyhow::{Context as _, Result};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tandem_proto::v1::GenerateRequest;
use tokio::time::{sleep, sleep_until};

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(10);

/// Between two looks at the memory of a mix.
const MEMORY: Duration = Duration::from_secs(60);

/// Answers every request by itself, with nothing wrong.
pub(crate) async fn alone(
    arguments: &Arguments,
    requests: &[GenerateRequest],
) -> Result<Vec<Answer>> {
    let fleet = Fleet::start(arguments, 1, 1, false).await?;
    let asker = Asker::new(&fleet.edges[0].server.url())?;
    let mut answers = Vec::new();
    for (number, request) in requests.iter().enumerate() {
        let mut request = request.clone();
        request.cache_salt = format!("alone-{number}");
        let answer = asker.ask(request, arguments.bound(), None).await;
        if let Some(failure) = &answer.failure {
            anyhow::bail!("request {number}, alone: {failure}");
        }
        answers.push(answer);
    }
    Ok(answers)
}

/// Runs one.
pub(crate) async fn run(
    arguments: &Arguments,
    trial: &Trial,
    requests: &Arc<Vec<GenerateRequest>>,
    alone: &[Answer],
    seed: u64,
) -> Result<Row> {
    let began = Instant::now();
    let mut fleet = Fleet::start(arguments, trial.clouds, trial.edges, trial.tls).await?;
    let clients = Clients::of(&fleet, requests, arguments.clients, arguments.bound());
    let calm = clients.ask_each().await?;
    let memory_at_start = fleet.resident()?;

    let asking = clients.ask_on();
    let mut faults = Faults {
        fleet: &mut fleet,
        clients: &clients,
        random: SmallRng::seed_from_u64(seed),
        longest: arguments.longest,
        slow: Vec::new(),
        freed_within: Duration::ZERO,
    };
    let mut made = Made::default();
    if let Err(error) = made.make(trial, &mut faults).await {
        made.defects.push(format!("{error:#}"));
    }
    let (slow, freed_within) = (faults.slow, faults.freed_within);
    let mut outcomes = asking.end(true).await?;
    outcomes.extend(slow);

    let memory_at_end = fleet.resident();
    let replays = fleet.replays().await;
    let left = match fleet.wait_idle().await {
        Ok(()) => {
            fleet.edges.iter_mut().for_each(|edge| edge.server.kill());
            fleet.wait_free().await.map(drop)
        }
        busy => busy,
    };
    made.defects
        .extend(left.err().map(|error| format!("left behind: {error:#}")));
    made.defects.extend(fleet.panics());

    let undisturbed = Judged::of(&calm, &calm, alone);
    let defects = undisturbed.defects(false).into_iter();
    (made.defects).extend(defects.map(|defect| format!("before any fault: {defect}")));
    let judged = Judged::of(&outcomes, &calm, alone);
    let mut row = Row {
        name: trial.name.clone(),
        may_refuse: trial.clouds == 1,
        times: made.times,
        seconds: began.elapsed().as_secs_f64(),
        whole_again_s: made.whole_again,
        freed_within_s: freed_within.as_secs_f64(),
        panics: fleet.panics().len(),
        memory_at_start,
        memory_at_end: memory_at_end.unwrap_or(memory_at_start),
        memory: made.memory,
        replays: replays.unwrap_or_default(),
        defects: made.defects,
        logs: None,
        judged,
    };
    keep_logs(arguments, trial, &fleet, &mut row)?;
    Ok(row)
}

fn keep_logs(arguments: &Arguments, trial: &Trial, fleet: &Fleet, row: &mut Row) -> Result<()> {
    let folder = match &arguments.logs {
        Some(folder) => folder.join(&trial.name),
        None if row.is_good() => return Ok(()),
        None => {
            let folder = tempfile::Builder::new().prefix("bench-chaos-").tempdir();
            folder
                .context("a folder for logs")?
                .keep()
                .join(&trial.name)
        }
    };
    fleet.keep_logs(&folder)?;
    row.logs = Some(folder);
    Ok(())
}

/// The faults that were made.
#[derive(Debug, Default)]
struct Made {
    times: Vec<(Kind, usize)>,
    /// How long each took until all was as before.
    whole_again: Vec<f64>,
    /// Memory, now and then.
    memory: Vec<Resident>,
    defects: Vec<String>,
}

impl Made {
    async fn make(&mut self, trial: &Trial, faults: &mut Faults<'_>) -> Result<()> {
        let began = Instant::now();
        let (mut told, mut looked) = (began, began);
        let mut killed: Option<Instant> = None;
        for number in 0.. {
            let mut kinds = trial.kinds.clone();
            match trial.until {
                Until::Times(times) if number >= times => break,
                Until::Time { whole, .. } if began.elapsed() >= whole => break,
                Until::Times(_) => {}
                Until::Time {
                    every, kills_apart, ..
                } => {
                    let due = every.mul_f64(number as f64);
                    sleep_until((began + due).into()).await;
                    if killed.is_some_and(|at| at.elapsed() < kills_apart) {
                        kinds.retain(|kind| !kind.kills());
                    }
                    if kinds.is_empty() {
                        continue;
                    }
                }
            }
            let kind = kinds[faults.random.random_range(0..kinds.len())];
            if kind.kills() {
                killed = Some(Instant::now());
            }
            let took = faults.make(kind).await?;
            if looked.elapsed() >= MEMORY {
                looked = Instant::now();
                self.memory.push(faults.fleet.resident()?);
            }
            sleep(trial.rest).await;
            self.whole_again.push(took.as_secs_f64());
            match self.times.iter_mut().find(|(of, _)| *of == kind) {
                Some((_, count)) => *count += 1,
                None => self.times.push((kind, 1)),
            }
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                let name = &trial.name;
                eprintln!(
                    "{name}: {} faults in {:.0} s",
                    number + 1,
                    began.elapsed().as_secs_f64()
                );
            }
        }
        Ok(())
    }
}
