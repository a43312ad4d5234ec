//! The model at work for one answer, beside it.

use super::line::{Guess, Line, Work};
use super::{DraftModel, Held, rows};
use crate::pool::Asker;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tandem_engine::sampler::SamplingParameters;
use tandem_engine::{BackStep, EngineError, Priority, RunRequest, Want};
use tokio::sync::Notify;

/// Rows of a prompt in one step, so that the front's rows wait for few.
const ROWS: usize = 32;

/// What the model guesses for one answer. Dropping it ends the work.
#[derive(Debug)]
pub(crate) struct Guesses {
    shared: Arc<Shared>,
    model: DraftModel,
    /// What it begins with, until it has begun.
    begins: Option<Begins>,
    /// Guesses that go up in one message, where another one comes soon.
    together: usize,
}

#[derive(Debug)]
struct Shared {
    line: Mutex<Line>,
    /// There is something to guess.
    wanted: Notify,
    /// There is another guess, or will be none.
    guessed: Notify,
}

/// What an answer is guessed with.
#[derive(Debug)]
pub(crate) struct Begins {
    /// Whose answer it is.
    pub(crate) asker: Asker,
    /// How its tokens are chosen: with the same draws the same tokens come out more often.
    pub(crate) parameters: SamplingParameters,
    /// Tokens that end it.
    pub(crate) eos: Vec<u32>,
    /// How many tokens its prompt has.
    pub(crate) prompt: usize,
    /// How many tokens both models have: their ids are below it.
    pub(crate) vocabulary: usize,
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guesses {
    /// Of an answer to a prompt, of at most `context` positions.
    pub(crate) fn new(
        model: &DraftModel,
        (prompt, context): (&[u32], usize),
        begins: Begins,
    ) -> Self {
        let context = context.min(model.0.config.max_context());
        Self {
            shared: Arc::new(Shared {
                line: Mutex::new(Line::new(prompt, context)),
                wanted: Notify::new(),
                guessed: Notify::new(),
            }),
            model: model.clone(),
            begins: Some(begins),
            together: 1,
        }
    }

    /// Takes note of a token, and returns what was guessed for it, if something was.
    pub(crate) fn push(&mut self, token: u32) -> Option<Guess> {
        self.change(|line| line.push(token))
    }

    /// A draft is on its way behind all others.
    pub(crate) fn give(&mut self, draft: u32) {
        self.change(|line| line.give(draft));
    }

    /// Nothing is on its way any more.
    pub(crate) fn lost(&mut self) {
        self.change(Line::lost);
    }

    /// The guess behind what is on its way, and behind these drafts.
    pub(crate) fn next(&self, drafts: &[u32]) -> Option<Guess> {
        self.shared.line().next(drafts)
    }

    /// Whether it may be there soon.
    pub(crate) fn is_close(&self, drafts: &[u32]) -> bool {
        self.begins.is_none() && self.shared.line().is_close(drafts)
    }

    /// How many go up in one message, where another one comes soon.
    pub(crate) fn together(&self) -> usize {
        self.together
    }

    /// Whether the model has run nearly all tokens that are there.
    pub(crate) fn has_caught_up(&self) -> bool {
        self.begins.is_none() && self.shared.line().has_caught_up()
    }

    /// Says what a round trip with one row takes, in seconds, and begins to guess where guesses are faster and `wanted`.
    pub(crate) fn round_trip(&mut self, seconds: f64, wanted: bool) {
        let pays = wanted && self.model.pays(seconds);
        self.together = self.model.together(seconds);
        self.change(|line| line.pays = pays);
        if !pays || self.begins.is_none() {
            return;
        }
        let Some(permit) = self.model.permit() else {
            return;
        };
        let Some(begins) = self.begins.take() else {
            return;
        };
        let (shared, model) = (Arc::clone(&self.shared), self.model.clone());
        tokio::spawn(async move {
            if let Err(error) = work(&shared, &model, begins).await {
                tracing::warn!(%error, "the draft model guesses no more for an answer");
            }
            drop(permit);
            shared.line().ended = true;
            shared.guessed.notify_one();
        });
    }

    /// Waits for another guess; `None` where none is coming.
    pub(crate) fn another(&self) -> Option<impl Future<Output = ()>> {
        let is_coming = self.begins.is_none() && self.shared.line().is_coming();
        is_coming.then(|| self.shared.guessed.notified())
    }

    fn change<T>(&self, change: impl FnOnce(&mut Line) -> T) -> T {
        let changed = change(&mut self.shared.line());
        self.shared.wanted.notify_one();
        changed
    }
}

impl Drop for Guesses {
    fn drop(&mut self) {
        self.change(|line| line.ended = true);
    }
}

/// Guesses until nothing is asked for any more.
async fn work(shared: &Shared, model: &DraftModel, begins: Begins) -> Result<(), EngineError> {
    let Begins {
        asker,
        mut parameters,
        eos,
        prompt,
        vocabulary,
    } = begins;
    // How likely it finds each guess.
    parameters.logprobs = Some(0);
    let mut run = Some(RunRequest {
        parameters,
        eos,
        ..RunRequest::default()
    });
    let mut held = model.session(&asker).await?;
    loop {
        let next = {
            let mut line = shared.line();
            if line.ended {
                break;
            }
            line.work(&held.tokens, ROWS)
        };
        let Some(next) = next else {
            shared.wanted.notified().await;
            continue;
        };
        if next.guesses
            && let Some(request) = run.take()
        {
            let behind = next.keep + next.tokens.len();
            let request = RunRequest {
                answered: behind.saturating_sub(prompt),
                ..request
            };
            let begin = BackStep::Run(Box::new(request));
            held.session.run(Priority::Decode, begin).await?;
        }
        if let Some((position, guess, ends)) = step(model, &mut held, next).await? {
            // The large model has no such token.
            let ends = ends || guess.token as usize >= vocabulary;
            shared.line().guess(position, guess, ends);
            shared.guessed.notify_one();
        }
    }
    model.keep(asker, held);
    Ok(())
}

/// Runs some rows, and returns the guess behind them, where it stands, and whether it ends the answer.
async fn step(
    model: &DraftModel,
    held: &mut Held,
    Work {
        keep,
        tokens,
        guesses,
    }: Work,
) -> Result<Option<(usize, Guess, bool)>, EngineError> {
    if keep < held.tokens.len() {
        held.tokens.truncate(keep);
        let truncate = BackStep::Truncate {
            epoch: 0,
            position: keep,
        };
        drop(held.session.submit(Priority::Decode, truncate).await?);
    }
    let count = tokens.len();
    held.tokens.extend(&tokens);
    let began = Instant::now();
    let priority = match count {
        1 => Priority::Decode,
        _ => Priority::Prefill,
    };
    let want = Want::last(guesses);
    let ran = held.session.run(priority, rows(keep, tokens, want)).await?;
    if count == 1 {
        model.took(began.elapsed());
    }
    Ok(ran.output.tokens.last().map(|token| {
        let logprob = token.logprobs.as_ref().map_or(0.0, |own| own.logprob);
        let guess = Guess {
            token: token.id,
            chance: logprob.exp(),
        };
        (token.position, guess, token.finish.is_some())
    }))
}
