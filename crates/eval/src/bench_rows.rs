//! `tandem-eval bench --rows`: what a decode step of many sessions takes by itself, and how near to that the engine
//! comes when as many sessions ask for their next token as soon as they have one.

use crate::cli::BenchArgs;
use crate::error::{EvalError, Result};
use crate::precision::{PrecisionReport, Sides};
use crate::summary::Summary;
use serde::Serialize;
use std::fmt;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tandem_engine::{
    Back, BackOpen, BackSession, BackStep, Engine, EngineError, EngineOptions, EngineSession,
    Half as _, Outcome, Priority, RowsInput, RowsStep, Turn, Want,
};
use tandem_model::ComputeThread;
use tandem_program::progress::Progress;

/// What `bench --rows --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowsReport {
    /// Positions before the first step that is measured.
    pub prompt_tokens: usize,
    /// Steps of each session.
    pub decode_tokens: usize,
    /// Threads.
    pub threads: usize,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub precision: PrecisionReport,
    /// Measurements of each.
    pub repeats: usize,
    /// Of each number of rows.
    pub steps: Vec<RowsSpeed>,
}

/// A step with so many rows, one a session.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RowsSpeed {
    /// How many.
    pub rows: usize,
    /// The least time of a step in a bare loop: all layers, head and a greedy token for each row.
    pub bare_ms: f64,
    /// Rows a second at that pace.
    pub bare_rows_per_second: f64,
    /// Times the pace of the first number of rows.
    pub gain: f64,
    /// Rows a second that the engine makes.
    pub engine_rows_per_second: Summary,
    /// Of the bare pace, by the median.
    pub engine_share: f64,
}

/// Measures steps of each number of rows, the bare loop and the engine in turn.
///
/// # Errors
/// When the model cannot be loaded or a step fails.
pub async fn measure(args: &BenchArgs) -> Result<RowsReport> {
    let sides = Arc::new(Sides::open(&args.model, &args.precision)?);
    let threads = args.model.threads();
    let load = Load {
        prompt: args.prompt_tokens.get(),
        steps: args.decode_tokens.get(),
        vocabulary: sides.model.config.vocabulary,
    };
    let bare = Bare::start(&sides, threads, load)?;
    let engine_sides = Arc::clone(&sides);
    let engine = Engine::start("back", EngineOptions::new(threads), move || {
        let (files, compute) = engine_sides.back();
        files.back(0, compute, |_| {})
    });
    let engine = engine.await?;
    let repeats = args.repeats.get();
    let mut progress = Progress::new("run", args.rows.len() * repeats, 1);
    let mut steps: Vec<RowsSpeed> = Vec::new();
    for rows in args.rows.iter().map(|&rows| usize::from(rows)) {
        let (mut least, mut paces) = (Duration::MAX, Vec::new());
        for _ in 0..repeats {
            least = least.min(bare.least(rows)?);
            paces.push(engine_pace(&engine, rows, load).await?);
            progress.advance("");
        }
        let bare = rows as f64 / least.as_secs_f64();
        let engine_rows_per_second = Summary::of(&paces);
        steps.push(RowsSpeed {
            rows,
            bare_ms: least.as_secs_f64() * 1e3,
            bare_rows_per_second: bare,
            gain: bare
                / steps
                    .first()
                    .map_or(bare, |first| first.bare_rows_per_second),
            engine_rows_per_second,
            engine_share: engine_rows_per_second.median / bare,
        });
    }
    Ok(RowsReport {
        prompt_tokens: load.prompt,
        decode_tokens: load.steps,
        threads,
        precision: sides.report(),
        repeats,
        steps,
    })
}

/// What each session runs.
#[derive(Debug, Clone, Copy)]
struct Load {
    prompt: usize,
    steps: usize,
    vocabulary: usize,
}

impl Load {
    fn open(self) -> BackOpen {
        BackOpen {
            context: self.prompt + self.steps + 1,
            ..BackOpen::default()
        }
    }

    /// Tokens from all over the vocabulary, others for each session.
    fn prompt(self, session: usize) -> BackStep {
        let token = |i: usize| ((i * 7919 + session * 104_729) % self.vocabulary.max(1)) as u32;
        rows(0, (0..self.prompt).map(token).collect(), false)
    }

    fn step(self, session: usize, number: usize) -> BackStep {
        let id = (number * 6101 + session * 15_485) % self.vocabulary.max(1);
        rows(self.prompt + number, vec![id as u32], true)
    }
}

fn rows(start: usize, ids: Vec<u32>, want: bool) -> BackStep {
    BackStep::Rows(RowsStep {
        epoch: 0,
        start,
        count: ids.len(),
        skip: 0,
        input: RowsInput::Tokens(ids),
        token_ids: Vec::new(),
        want: Want::last(want),
        room: None,
    })
}

/// A thread that runs a back without an engine.
struct Bare {
    asked: mpsc::Sender<usize>,
    found: mpsc::Receiver<Result<Duration>>,
}

impl Bare {
    fn start(sides: &Arc<Sides>, threads: usize, load: Load) -> Result<Self> {
        let (asked, requests) = mpsc::channel();
        let (results, found) = mpsc::channel();
        let sides = Arc::clone(sides);
        let run = move || {
            let _computing = ComputeThread::begin(threads);
            let (files, compute) = sides.back();
            let (loaded, mut back) = match files.back(0, compute, |_| {}) {
                Ok(back) => (Ok(Duration::ZERO), Some(back)),
                Err(error) => (Err(error.into()), None),
            };
            let mut sent = results.send(loaded);
            while let (Ok(()), Some(back), Ok(rows)) = (&sent, &mut back, requests.recv()) {
                let least = bare_step(back, rows, load);
                sent = results.send(least);
            }
        };
        std::thread::Builder::new()
            .name("bare".to_owned())
            .spawn(run)
            .map_err(EvalError::Runtime)?;
        let bare = Self { asked, found };
        bare.result()?;
        Ok(bare)
    }

    /// The least time of a step of so many rows.
    fn least(&self, rows: usize) -> Result<Duration> {
        // A thread that has ended gives no result either.
        let _ = self.asked.send(rows);
        self.result()
    }

    fn result(&self) -> Result<Duration> {
        let stopped = |_| EvalError::from(EngineError::Stopped);
        self.found.recv().map_err(stopped)?
    }
}

fn bare_step(back: &mut Back, sessions: usize, load: Load) -> Result<Duration> {
    let mut open: Vec<BackSession> = Vec::new();
    for number in 0..sessions {
        let mut session = back.session(load.open())?;
        back.step(&mut session, BackStep::Run(Box::default()))?;
        back.step(&mut session, load.prompt(number))?;
        open.push(session);
    }
    let mut least = Duration::MAX;
    for number in 0..load.steps {
        let mut steps: Vec<BackStep> = (0..sessions).map(|s| load.step(s, number)).collect();
        let mut turns: Vec<Turn<'_, Back>> = open
            .iter_mut()
            .zip(&mut steps)
            .map(|(session, step)| Turn::new(session, step, 1))
            .collect();
        let began = Instant::now();
        back.run(&mut turns);
        least = least.min(began.elapsed());
        for turn in turns {
            if let Outcome::Done(Err(error)) = turn.outcome {
                return Err(error.into());
            }
        }
    }
    Ok(least)
}

/// Rows a second of so many sessions that all go on as soon as they can.
async fn engine_pace(engine: &Engine<Back>, sessions: usize, load: Load) -> Result<f64> {
    let mut open: Vec<EngineSession<Back>> = Vec::new();
    for number in 0..sessions {
        let session = engine.open(load.open()).await?;
        let run = BackStep::Run(Box::default());
        session.run(Priority::Decode, run).await?;
        session.run(Priority::Prefill, load.prompt(number)).await?;
        open.push(session);
    }
    let began = Instant::now();
    let decoding = open.iter().enumerate().map(async |(session, own)| {
        for number in 0..load.steps {
            own.run(Priority::Decode, load.step(session, number))
                .await?;
        }
        Ok::<_, EngineError>(())
    });
    futures_util::future::try_join_all(decoding).await?;
    Ok((sessions * load.steps) as f64 / began.elapsed().as_secs_f64())
}

impl fmt::Display for RowsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} steps behind {} positions, {}, {} threads, least of {} times as many; engine: median (min to max)",
            self.decode_tokens, self.prompt_tokens, self.precision, self.threads, self.repeats
        )?;
        write!(
            f,
            "{:>6}{:>10}{:>10}{:>8}{:>28}{:>8}",
            "rows", "bare ms", "rows/s", "gain", "engine rows/s", "share"
        )?;
        for step in &self.steps {
            let engine = step.engine_rows_per_second;
            write!(
                f,
                "\n{:>6}{:>10.2}{:>10.1}{:>8.2}{:>28}{:>8.2}",
                step.rows,
                step.bare_ms,
                step.bare_rows_per_second,
                step.gain,
                format!(
                    "{:.1} ({:.1} to {:.1})",
                    engine.median, engine.min, engine.max
                ),
                step.engine_share
            )?;
        }
        Ok(())
    }
}
