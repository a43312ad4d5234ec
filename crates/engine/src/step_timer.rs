//! What steps of a half take, measured on the engine thread as sessions meet it.
//!
//! Three sweeps: rows at position 0, which says what layers cost; then up to the furthest position in
//! chunks, and one row at each position on the way back, which says what attention costs. Every figure
//! is a lower quartile: what disturbs a machine for a moment only ever makes steps longer. One row runs
//! after a pause, as it does when tokens are decoded: the other half and the link have their turn, and
//! workers fall asleep and caches grow cold meanwhile. What would take too long is left out: a plan goes
//! on from what there is.

use crate::back::{Back, BackOpen, BackStep, RowsInput, RowsStep, Want};
use crate::engine::{Engine, EngineSession};
use crate::error::EngineError;
use crate::frames::FrameCodec;
use crate::front::{Front, FrontOpen, FrontStep};
use crate::scheduler::Priority;
use bytes::Bytes;
use std::time::{Duration, Instant};
use tandem_codec::{Codec, Encoder};
use tandem_shape::ModelConfig;

/// How long a half that decodes waits for the other one and the link: a token's time and more.
const PAUSE: Duration = Duration::from_millis(25);

/// What is measured.
#[derive(Debug, Clone)]
pub struct TimedSteps {
    /// Numbers of rows, at position 0. The last one is the chunk's.
    pub rows: Vec<usize>,
    /// Positions at which attention is measured, rising.
    pub positions: Vec<usize>,
    /// Steps of a kind, at most; the first is not counted.
    pub repeats: usize,
    /// Time that steps of one kind may take, about, before fewer of them must do.
    pub patience: Duration,
}

/// How long a step took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepTime {
    /// Layers that ran.
    pub layers: usize,
    /// Rows that ran.
    pub rows: usize,
    /// Positions before them.
    pub position: usize,
    /// The lower quartile.
    pub seconds: f64,
}

/// What runs rows and says how long it took.
trait Steps {
    fn layers(&self) -> usize;
    async fn run(&self, rows: usize, position: usize) -> Result<Duration, EngineError>;
    async fn truncate(&self, position: usize) -> Result<(), EngineError>;
}

/// Times steps of a front of `layers` layers.
///
/// # Errors
/// When a step fails.
pub async fn time_front(
    engine: &Engine<Front>,
    layers: usize,
    config: &ModelConfig,
    timed: &TimedSteps,
) -> Result<Vec<StepTime>, EngineError> {
    let steps = FrontSteps {
        session: engine.open(FrontOpen::new(timed.context())).await?,
        layers,
        vocabulary: config.vocabulary,
    };
    sweep(&steps, timed).await
}

/// Times steps of a back from `split` on.
///
/// # Errors
/// When a step fails.
pub async fn time_back(
    engine: &Engine<Back>,
    split: usize,
    config: &ModelConfig,
    timed: &TimedSteps,
) -> Result<Vec<StepTime>, EngineError> {
    let steps = BackSteps::open(engine, split, config, timed.context()).await?;
    sweep(&steps, timed).await
}

/// What a token adds to a back's step: norm, head and sampling, as steps with and without one differ.
///
/// # Errors
/// When a step fails.
pub async fn time_head(
    engine: &Engine<Back>,
    split: usize,
    config: &ModelConfig,
    timed: &TimedSteps,
) -> Result<f64, EngineError> {
    let steps = BackSteps::open(engine, split, config, 1).await?;
    let run = BackStep::Run(Box::default());
    steps.session.run(Priority::Decode, run).await?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let began = Instant::now();
    for repeat in 0..=timed.repeats {
        for (want, times) in [(true, &mut with), (false, &mut without)] {
            steps.truncate(0).await?;
            tokio::time::sleep(PAUSE).await;
            let took = steps.rows(1, 0, want).await?;
            // The first touches fresh pages.
            if repeat > 0 || began.elapsed() > timed.patience {
                times.push(took);
            }
        }
        if began.elapsed() > timed.patience {
            break;
        }
    }
    Ok((quartile(with) - quartile(without)).max(0.0))
}

impl TimedSteps {
    /// Positions that its session needs.
    pub fn context(&self) -> usize {
        let chunk = self.rows.iter().copied().max().unwrap_or(1);
        chunk + self.positions.last().copied().unwrap_or(0)
    }
}

async fn sweep(steps: &impl Steps, timed: &TimedSteps) -> Result<Vec<StepTime>, EngineError> {
    let mut found = Vec::new();
    let mut note = |rows, position, times| {
        found.push(StepTime {
            layers: steps.layers(),
            rows,
            position,
            seconds: quartile(times),
        });
    };
    for &rows in &timed.rows {
        note(rows, 0, repeat(steps, rows, 0, timed).await?);
    }
    let chunk = timed.rows.last().copied().unwrap_or(1);
    let Some(&furthest) = timed.positions.last() else {
        return Ok(found);
    };
    steps.truncate(0).await?;
    let (mut reached, mut passed) = (0, Vec::new());
    let began = Instant::now();
    while reached < furthest && began.elapsed() < 4 * timed.patience {
        let rows = chunk.min(furthest - reached);
        let took = steps.run(rows, reached).await?;
        if rows == chunk {
            passed.push((reached, took));
        }
        reached += rows;
    }
    // One chunk is one measurement: the least of three neighbours stands for the middle one.
    for window in passed.windows(3) {
        let (position, _) = window[1];
        if timed
            .positions
            .iter()
            .any(|&p| p.abs_diff(position) < chunk)
        {
            note(chunk, position, window.iter().map(|w| w.1).collect());
        }
    }
    for &position in timed.positions.iter().rev().filter(|&&p| p <= reached) {
        steps.truncate(position).await?;
        note(1, position, repeat(steps, 1, position, timed).await?);
    }
    Ok(found)
}

/// Steps of one kind, each from the same position, the first left out where there is time for more.
async fn repeat(
    steps: &impl Steps,
    rows: usize,
    position: usize,
    timed: &TimedSteps,
) -> Result<Vec<Duration>, EngineError> {
    let began = Instant::now();
    let mut times = Vec::new();
    for _ in 0..=timed.repeats {
        steps.truncate(position).await?;
        if rows == 1 {
            tokio::time::sleep(PAUSE).await;
        }
        times.push(steps.run(rows, position).await?);
        if began.elapsed() > timed.patience {
            break;
        }
    }
    if times.len() > 1 {
        times.remove(0);
    }
    Ok(times)
}

/// The lower quartile; of three or fewer, the least.
fn quartile(mut times: Vec<Duration>) -> f64 {
    times.sort();
    let quarter = times.get(times.len() / 4).copied();
    quarter.unwrap_or_default().as_secs_f64()
}

/// Tokens from all over the vocabulary: which they are does not matter to the time they take.
fn tokens(rows: usize, position: usize, vocabulary: usize) -> Vec<u32> {
    let token = |p: usize| (p * 7919 % vocabulary.max(1)) as u32;
    (position..position + rows).map(token).collect()
}

struct FrontSteps {
    session: EngineSession<Front>,
    layers: usize,
    vocabulary: usize,
}

impl Steps for FrontSteps {
    fn layers(&self) -> usize {
        self.layers
    }

    async fn run(&self, rows: usize, position: usize) -> Result<Duration, EngineError> {
        let step = FrontStep::Tokens {
            tokens: tokens(rows, position, self.vocabulary),
            codec: FrameCodec::uncalibrated(Codec::F32),
            frame_bytes: usize::MAX,
        };
        let done = self.session.run(Priority::Prefill, step).await?;
        Ok(done.compute.saturating_sub(done.output.encode))
    }

    async fn truncate(&self, position: usize) -> Result<(), EngineError> {
        let step = FrontStep::Truncate { position };
        self.session.run(Priority::Prefill, step).await.map(drop)
    }
}

struct BackSteps<'a> {
    session: EngineSession<Back>,
    split: usize,
    config: &'a ModelConfig,
}

impl<'a> BackSteps<'a> {
    async fn open(
        engine: &Engine<Back>,
        split: usize,
        config: &'a ModelConfig,
        context: usize,
    ) -> Result<Self, EngineError> {
        let open = BackOpen {
            split,
            context,
            ..BackOpen::default()
        };
        Ok(Self {
            session: engine.open(open).await?,
            split,
            config,
        })
    }

    async fn rows(
        &self,
        rows: usize,
        position: usize,
        want: bool,
    ) -> Result<Duration, EngineError> {
        let hidden = self.config.hidden;
        let input = match self.split {
            0 => RowsInput::Tokens(tokens(rows, position, self.config.vocabulary)),
            _ => {
                let values: Vec<f32> = (0..rows * hidden)
                    .map(|i| ((i * 37 + position * 11) % 101) as f32 / 50.0 - 1.0)
                    .collect();
                let mut frame = Vec::new();
                Encoder::new(Codec::F32, None).encode(&values, hidden, &mut frame)?;
                RowsInput::Frames(vec![Bytes::from(frame)])
            }
        };
        let step = BackStep::Rows(RowsStep {
            epoch: 0,
            start: position,
            count: rows,
            skip: 0,
            input,
            token_ids: Vec::new(),
            want: Want::last(want),
            room: None,
        });
        let done = self.session.run(Priority::Prefill, step).await?;
        Ok(done.compute.saturating_sub(done.output.frames))
    }
}

impl Steps for BackSteps<'_> {
    fn layers(&self) -> usize {
        self.config.layers - self.split
    }

    async fn run(&self, rows: usize, position: usize) -> Result<Duration, EngineError> {
        self.rows(rows, position, false).await
    }

    async fn truncate(&self, position: usize) -> Result<(), EngineError> {
        let step = BackStep::Truncate { epoch: 0, position };
        self.session.run(Priority::Prefill, step).await.map(drop)
    }
}
