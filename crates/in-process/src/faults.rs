//! What goes wrong in a cloud's half, where and when a test says so.

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tandem_engine::sampler::SampleError;
use tandem_engine::{
    Back, BackOpen, BackOutput, BackSession, BackStep, EngineError, Half, Outcome, Turn,
};
use tokio::sync::Notify;

/// Stops, fails or breaks steps that have rows. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Told when a step may go on.
    released: Condvar,
    /// Told when a step waits.
    waits: Notify,
}

#[derive(Debug, Default)]
struct State {
    planned: Vec<(usize, Fault)>,
    is_held: bool,
    /// Whether a step waits.
    waits: bool,
    /// Rows that have run.
    ran: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Fails,
    Panics,
}

/// Steps wait until it is dropped.
#[derive(Debug)]
pub struct Held(Faults);

impl Faults {
    /// The first step from now on that runs the row at this position, whoever's it is, panics.
    pub fn panic_at(&self, position: usize) {
        self.lock().planned.push((position, Fault::Panics));
    }

    /// The first step from now on that runs the row at this position, whoever's it is, fails.
    pub fn fail_at(&self, position: usize) {
        self.lock().planned.push((position, Fault::Fails));
    }

    /// Holds the engine at its next step with rows.
    pub fn hold(&self) -> Held {
        self.lock().is_held = true;
        Held(self.clone())
    }

    /// Rows that have run.
    pub fn rows(&self) -> usize {
        self.lock().ran
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits where steps are held, on the engine's thread.
    fn pass(&self) {
        let mut state = self.lock();
        while state.is_held {
            state.waits = true;
            self.0.waits.notify_waiters();
            let woken = self.0.released.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state.waits = false;
    }

    /// The fault that a step with rows at these positions has, which no later one has then.
    fn of(&self, positions: &Range<usize>) -> Option<Fault> {
        let planned = &mut self.lock().planned;
        let at = planned.iter().position(|(at, _)| positions.contains(at))?;
        Some(planned.remove(at).1)
    }
}

impl Held {
    /// Waits until a step waits.
    pub async fn has_one(&self) {
        let Faults(shared) = &self.0;
        loop {
            let told = shared.waits.notified();
            if self.0.lock().waits {
                return;
            }
            told.await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.lock().is_held = false;
        self.0.0.released.notify_all();
    }
}

/// A back with faults.
#[derive(Debug)]
pub(crate) struct FaultyBack {
    pub(crate) back: Back,
    pub(crate) faults: Faults,
}

impl Half for FaultyBack {
    type Session = BackSession;
    type Open = BackOpen;
    type Step = BackStep;
    type Output = BackOutput;

    fn open(&mut self, open: BackOpen) -> Result<BackSession, EngineError> {
        self.back.open(open)
    }

    fn rows(step: &BackStep, most: usize) -> usize {
        Back::rows(step, most)
    }

    fn is_dropped(session: &BackSession, step: &BackStep) -> bool {
        Back::is_dropped(session, step)
    }

    fn run(&mut self, turns: &mut [Turn<'_, Self>]) {
        if turns.iter().any(|turn| !positions(turn.step).is_empty()) {
            self.faults.pass();
        }
        let mut panics = false;
        let mut sound = Vec::with_capacity(turns.len());
        for turn in turns {
            let positions = positions(turn.step);
            match self.faults.of(&positions) {
                Some(Fault::Panics) => panics = true,
                Some(Fault::Fails) => turn.outcome = Outcome::Done(Err(not_finite())),
                None => sound.push((positions.start, turn)),
            }
        }
        let mut of_back: Vec<Turn<'_, Back>> = sound
            .iter_mut()
            .map(|(_, turn)| Turn::new(turn.session, turn.step, turn.rows))
            .collect();
        self.back.run(&mut of_back);
        let outcomes: Vec<_> = of_back.into_iter().map(|turn| turn.outcome).collect();
        for ((start, turn), outcome) in sound.into_iter().zip(outcomes) {
            turn.outcome = outcome;
            self.faults.lock().ran += positions(turn.step).start - start;
        }
        assert!(!panics, "as the test asks");
    }

    fn goes_on(output: &BackOutput) -> bool {
        Back::goes_on(output)
    }

    fn merge(step: &mut BackStep, next: BackStep) -> Option<BackStep> {
        Back::merge(step, next)
    }
}

/// Where what is left of a step has rows.
fn positions(step: &BackStep) -> Range<usize> {
    match step {
        BackStep::Rows(rows) => rows.start..rows.start + rows.count,
        BackStep::Truncate { .. } | BackStep::Run(_) => 0..0,
    }
}

fn not_finite() -> EngineError {
    EngineError::Sample {
        position: 0,
        source: SampleError::NonFiniteLogits { index: 0 },
    }
}
