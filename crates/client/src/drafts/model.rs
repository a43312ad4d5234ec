//! A smaller model with the same tokenizer, which runs here whole and guesses what the large one will say.

mod guesses;
mod line;

pub(crate) use guesses::{Begins, Guesses};

use crate::metrics::{DRAFT_MODEL_STEP, DRAFT_MODEL_WEIGHT_BYTES};
use crate::pool::Asker;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tandem_engine::{Back, BackOpen, BackStep, Engine, EngineError, EngineSession};
use tandem_engine::{Priority, RowsInput, RowsStep, Want};
use tandem_shape::ModelConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Answers that it guesses for at once; others are made without.
const ANSWERS: usize = 4;
/// Sessions of ended answers that are kept for the next turns of their conversations.
const KEPT: NonZeroUsize = NonZeroUsize::new(4).unwrap();
/// Steps that are timed before it is used.
const TIMED_STEPS: usize = 4;
/// What counts of the time of the latest step.
const LATEST: f64 = 0.1;
/// A round trip has to take so many times as long as a guess: with less, the token is there before its guess.
const LEAST_STEPS: f64 = 1.5;

/// A model that guesses; clones are the same.
#[derive(Debug, Clone)]
pub struct DraftModel(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    engine: Engine<Back>,
    config: ModelConfig,
    step: Mutex<StepSeconds>,
    answers: Arc<Semaphore>,
    /// With when each was kept: the first to go is the oldest.
    kept: Mutex<LruCache<Asker, (Instant, Held)>>,
    idle_ttl: Duration,
}

/// What a guess takes.
#[derive(Debug, Clone, Copy)]
struct StepSeconds {
    /// When nothing else ran.
    at_first: f64,
    /// Of late.
    now: f64,
}

/// A session, and the tokens whose rows it has.
#[derive(Debug)]
struct Held {
    session: EngineSession<Back>,
    tokens: Vec<u32>,
}

impl DraftModel {
    /// A model whose layers are all in `engine`, and which keeps sessions of ended answers for `idle_ttl`. Runs a few steps,
    /// so that what one takes is known.
    ///
    /// # Errors
    /// When a step fails.
    pub async fn new(
        engine: Engine<Back>,
        config: ModelConfig,
        weight_bytes: u64,
        idle_ttl: Duration,
    ) -> Result<Self, EngineError> {
        let step = time_step(&engine).await?.as_secs_f64();
        DRAFT_MODEL_WEIGHT_BYTES.gauge(&[]).set(weight_bytes as f64);
        Ok(Self(Arc::new(Shared {
            engine,
            config,
            step: Mutex::new(StepSeconds {
                at_first: step,
                now: step,
            }),
            answers: Arc::new(Semaphore::new(ANSWERS)),
            kept: Mutex::new(LruCache::new(KEPT)),
            idle_ttl,
        })))
    }

    /// What a guess took when nothing else ran.
    pub fn step_time(&self) -> Duration {
        Duration::from_secs_f64(self.step().at_first)
    }

    /// How many tokens it has.
    pub(crate) fn vocabulary(&self) -> usize {
        self.0.config.vocabulary
    }

    /// Whether guesses come before tokens that take so many seconds each.
    fn pays(&self, round_trip: f64) -> bool {
        let mut step = self.0.step.lock().unwrap_or_else(PoisonError::into_inner);
        let pays = LEAST_STEPS * step.now < round_trip;
        if !pays {
            // What made it slow may have ended, which no guess would tell as long as there are none.
            step.now += LATEST * LATEST * (step.at_first - step.now);
        }
        pays
    }

    /// Guesses that go up in one message: those of half a round trip of so many seconds, as far as the model goes ahead.
    fn together(&self, round_trip: f64) -> usize {
        let guesses = round_trip / (2.0 * self.step().at_first.max(1e-6));
        (guesses as usize).clamp(1, line::AHEAD)
    }

    fn took(&self, taken: Duration) {
        DRAFT_MODEL_STEP.histogram(&[]).record(taken);
        let mut step = self.0.step.lock().unwrap_or_else(PoisonError::into_inner);
        step.now += LATEST * (taken.as_secs_f64() - step.now);
    }

    fn step(&self) -> StepSeconds {
        *self.0.step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to guess for one more answer, where there is room for it.
    fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.answers).try_acquire_owned().ok()
    }

    /// A session for an answer to `asker`: that of their last one, or a new one.
    async fn session(&self, asker: &Asker) -> Result<Held, EngineError> {
        self.prune();
        if let Some((_, held)) = self.kept().pop(asker) {
            return Ok(held);
        }
        let open = BackOpen {
            context: self.0.config.max_context(),
            ..BackOpen::default()
        };
        Ok(Held {
            session: self.0.engine.open(open).await?,
            tokens: Vec::new(),
        })
    }

    fn keep(&self, asker: Asker, held: Held) {
        self.kept().put(asker, (Instant::now(), held));
    }

    /// Closes the sessions of answers that have ended too long ago.
    pub fn prune(&self) {
        let mut kept = self.kept();
        while let Some((_, (since, _))) = kept.peek_lru()
            && since.elapsed() >= self.0.idle_ttl
        {
            kept.pop_lru();
        }
    }

    /// How many sessions of ended answers are kept.
    pub fn idle_sessions(&self) -> usize {
        self.kept().len()
    }

    fn kept(&self) -> MutexGuard<'_, LruCache<Asker, (Instant, Held)>> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a step with one row takes, behind a few others.
async fn time_step(engine: &Engine<Back>) -> Result<Duration, EngineError> {
    let open = BackOpen {
        context: TIMED_STEPS,
        ..BackOpen::default()
    };
    let session = engine.open(open).await?;
    session
        .run(Priority::Decode, BackStep::Run(Box::default()))
        .await?;
    let mut least = Duration::MAX;
    for start in 0..TIMED_STEPS {
        let step = rows(start, vec![0], Want::Token);
        let completed = session.run(Priority::Decode, step).await?;
        least = least.min(completed.compute);
    }
    session.close().await;
    Ok(least)
}

/// A step of rows of these tokens.
fn rows(start: usize, tokens: Vec<u32>, want: Want) -> BackStep {
    BackStep::Rows(RowsStep {
        epoch: 0,
        start,
        count: tokens.len(),
        skip: 0,
        input: RowsInput::Tokens(tokens),
        token_ids: Vec::new(),
        want,
        room: None,
    })
}
