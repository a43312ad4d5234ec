//! What an engine drives: one half of a split model, and steps of its sessions that run together.

use crate::error::EngineError;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One half of a split model, as the engine thread drives it.
pub trait Half: Sized + 'static {
    /// What a session keeps between steps.
    type Session;
    /// What a session is opened with.
    type Open: Send + 'static;
    /// One step of a session.
    type Step: Send + 'static;
    /// What a step gives. Steps merged into a later one give the default.
    type Output: Default + Send + 'static;

    /// Opens a session.
    ///
    /// # Errors
    /// When there is no room for it.
    fn open(&mut self, open: Self::Open) -> Result<Self::Session, EngineError>;

    /// Rows that a step runs in a turn of at most `most`: all of one that cannot be cut, and none of
    /// bookkeeping, which takes no time.
    fn rows(step: &Self::Step, most: usize) -> usize;

    /// Whether a step of a session runs nothing any more, whatever rows it has.
    fn is_dropped(session: &Self::Session, step: &Self::Step) -> bool;

    /// Runs steps of several sessions together, a part of those that are longer than their turn. Whatever
    /// goes wrong with one is its own outcome, and leaves its session as it was before the part.
    fn run(&mut self, turns: &mut [Turn<'_, Self>]);

    /// Whether a session that was given this soon comes with its next step.
    fn goes_on(output: &Self::Output) -> bool;

    /// Makes `next` part of `step`, both waiting steps of one session, or gives it back.
    fn merge(step: &mut Self::Step, next: Self::Step) -> Option<Self::Step>;

    /// Runs a step of one session to its end.
    ///
    /// # Errors
    /// As the step says.
    fn step(
        &mut self,
        session: &mut Self::Session,
        mut step: Self::Step,
    ) -> Result<Self::Output, EngineError> {
        loop {
            let mut turns = [Turn::new(session, &mut step, usize::MAX)];
            self.run(&mut turns);
            let [turn] = turns;
            match turn.outcome {
                Outcome::Done(done) => return done,
                Outcome::Unfinished => {}
                Outcome::NotRun => return Err(EngineError::SessionGone),
            }
        }
    }
}

/// A step whose turn it is.
#[derive(Debug)]
pub struct Turn<'a, H: Half> {
    /// Whose step it is.
    pub session: &'a mut H::Session,
    /// What is left of it.
    pub step: &'a mut H::Step,
    /// The most rows of it to run now.
    pub rows: usize,
    /// What has come of it.
    pub outcome: Outcome<H::Output>,
}

/// What has come of a turn.
#[derive(Debug)]
pub enum Outcome<T> {
    /// Nothing yet.
    NotRun,
    /// A part of the step was run; the rest waits for another turn.
    Unfinished,
    /// The step has ended.
    Done(Result<T, EngineError>),
}

impl<'a, H: Half> Turn<'a, H> {
    /// A turn of at most `rows` rows.
    pub fn new(session: &'a mut H::Session, step: &'a mut H::Step, rows: usize) -> Self {
        Self {
            session,
            step,
            rows,
            outcome: Outcome::NotRun,
        }
    }
}

/// Runs `work`, and makes an error of a panic.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap_or_else(|| "panic without a message".to_owned());
        Err(EngineError::Panicked(message))
    })
}
