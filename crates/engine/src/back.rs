//! The back half: frames of hidden rows (or, with split 0, token ids) in, sampled ids out.

use crate::engine::Half;
use crate::error::EngineError;
use crate::frames::FrameDecoders;
use crate::kv_budget::{KvBudget, Reservation};
use crate::layers::Layers;
use crate::run::{Run, RunRequest, RunToken};
use crate::sampler::{Sampler, TokenHistory};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tandem_codec::{Limits, Profile};
use tandem_model::{KvCache, Segment};
use tandem_shape::{LayerRange, ModelConfig};

/// The most rows of one step: enough for the matrix products to be efficient, few enough for a decode
/// row of another session to wait for. Waiting prefills of one session are merged to as many, and
/// longer ones run in parts.
pub const MERGED_ROWS: usize = 128;

/// The layers behind a split, the head, and the sampler.
#[derive(Debug)]
pub struct Back {
    segment: Segment,
    sampler: Sampler,
    budget: KvBudget,
}

/// One session's keys and values, and its answer.
#[derive(Debug)]
pub struct BackSession {
    cache: KvCache,
    history: TokenHistory,
    run: Option<Run>,
    decoders: FrameDecoders,
    /// How long reading the frames of the step under way took.
    frames: Duration,
    _reservation: Reservation,
}

/// What a back session is opened with.
#[derive(Debug, Clone, Default)]
pub struct BackOpen {
    /// Layers the front runs.
    pub split: usize,
    /// The most positions.
    pub context: usize,
    /// The profile of calibrated frames, where one was agreed on.
    pub profile: Option<Arc<Profile>>,
}

/// A step of a back session.
#[derive(Debug)]
pub enum BackStep {
    /// Runs rows at the positions behind the session's.
    Rows(RowsStep),
    /// Forgets all positions from here on.
    Truncate {
        /// Positions kept.
        position: usize,
    },
    /// Begins an answer.
    Run(Box<RunRequest>),
}

/// Rows to run.
#[derive(Debug)]
pub struct RowsStep {
    /// Position of the first row.
    pub start: usize,
    /// Number of rows to run.
    pub count: usize,
    /// Rows at the front of the input that are not run.
    pub skip: usize,
    /// The rows.
    pub input: RowsInput,
    /// The tokens at these positions, where known. With split 0 the input has them.
    pub token_ids: Vec<u32>,
    /// Whether a token is sampled after the last row.
    pub want: bool,
}

/// What rows are made of.
#[derive(Debug)]
pub enum RowsInput {
    /// Consecutive codec frames of hidden rows.
    Frames(Vec<Bytes>),
    /// Token ids, for a back that runs the whole model.
    Tokens(Vec<u32>),
}

/// What a step gave.
#[derive(Debug, Default)]
pub struct BackOutput {
    /// The token, where one was wanted.
    pub token: Option<RunToken>,
    /// How long reading its frames took.
    pub frames: Duration,
}

impl Back {
    /// A back of a segment that ends the model.
    pub fn new(segment: Segment, budget: KvBudget) -> Self {
        Self {
            segment,
            sampler: Sampler::new(),
            budget,
        }
    }

    /// Bytes that its matrices take.
    pub fn weight_bytes(&self) -> u64 {
        self.segment.weight_bytes()
    }

    /// Bytes of a session's keys and values a position.
    pub fn kv_bytes_per_position(&self) -> u64 {
        // Of many: room is made for some positions at once.
        const POSITIONS: usize = 1024;
        self.segment.kv_bytes(self.segment.range(), POSITIONS) / POSITIONS as u64
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        self.segment.config()
    }

    /// Its layers, to be run one by one.
    pub fn layers(&self) -> Layers<'_> {
        Layers::of(&self.segment)
    }

    /// A session of layers `split..`.
    ///
    /// # Errors
    /// When the split is below the segment, the context too long, or the budget spent.
    pub fn session(&self, open: BackOpen) -> Result<BackSession, EngineError> {
        let layers = self.config().layers;
        let range = LayerRange::new(open.split, layers, layers)?;
        let reservation = self
            .budget
            .reserve(self.segment.kv_bytes(range, open.context))?;
        Ok(BackSession {
            cache: self.segment.kv_cache(range, open.context)?,
            history: TokenHistory::new(),
            run: None,
            decoders: FrameDecoders::new(open.profile),
            frames: Duration::ZERO,
            _reservation: reservation,
        })
    }

    /// Runs rows behind the session's but for the first `skip`, and returns the residual after
    /// the last layer.
    ///
    /// # Errors
    /// When a frame is refused, the context is full, or the backend fails.
    pub fn forward(
        &self,
        session: &mut BackSession,
        input: &RowsInput,
        skip: usize,
    ) -> Result<Vec<f32>, EngineError> {
        let hidden = match input {
            RowsInput::Tokens(tokens) => self.segment.embed(&tokens[skip.min(tokens.len())..])?,
            RowsInput::Frames(frames) => {
                self.read_frames(session, &mut frames.clone(), (usize::MAX, skip))?
            }
        };
        Ok(self.segment.forward(hidden, &mut session.cache)?)
    }

    /// Logits after the last `count` rows: `[count, vocabulary]`.
    ///
    /// # Errors
    /// When the backend fails.
    pub fn logits(&self, residual: &[f32], count: usize) -> Result<Vec<f32>, EngineError> {
        Ok(self.segment.logits(residual, count)?)
    }

    /// Takes the next `rows` rows off `frames`, and leaves the first `skip` of them out.
    fn read_frames(
        &self,
        session: &mut BackSession,
        frames: &mut Vec<Bytes>,
        (rows, skip): (usize, usize),
    ) -> Result<Vec<f32>, EngineError> {
        let began = Instant::now();
        let hidden = self.config().hidden;
        let limits = Limits {
            max_rows: session.cache.capacity(),
            hidden,
        };
        let position = session.cache.len().saturating_sub(skip);
        let mut values = session.decoders.take_rows(frames, rows, position, limits)?;
        session.frames += began.elapsed();
        values.drain(..(skip * hidden).min(values.len()));
        Ok(values)
    }

    /// Runs the next rows of a step, at most [`MERGED_ROWS`] of its input.
    fn rows(
        &mut self,
        session: &mut BackSession,
        step: &mut RowsStep,
    ) -> Result<Option<BackOutput>, EngineError> {
        let start = session.cache.len();
        if step.start != start {
            return Err(EngineError::OutOfOrder {
                found: step.start,
                expected: start,
            });
        }
        let input = step.skip + step.count;
        let part = input.min(MERGED_ROWS);
        let skip = step.skip.min(part);
        let (hidden, ids) = match &mut step.input {
            RowsInput::Tokens(tokens) => {
                let ids: Vec<u32> = tokens.drain(..part.min(tokens.len())).collect();
                (self.segment.embed(&ids[skip.min(ids.len())..])?, ids)
            }
            RowsInput::Frames(frames) => {
                let known = part.min(step.token_ids.len());
                let ids = step.token_ids.drain(..known).collect();
                (self.read_frames(session, frames, (part, skip))?, ids)
            }
        };
        // All rows of a part may be known already.
        let residual = if part > skip {
            Some(self.segment.forward(hidden, &mut session.cache)?)
        } else {
            None
        };
        // Ids are only of use without a gap; a run with penalties says when one is missing.
        if session.history.len() == start {
            session.history.extend(ids.into_iter().skip(skip));
        }
        step.start += part - skip;
        step.count -= part - skip;
        step.skip -= skip;
        if part < input {
            return Ok(None);
        }
        let frames = std::mem::take(&mut session.frames);
        let (true, Some(residual)) = (step.want, residual) else {
            return Ok(Some(BackOutput {
                token: None,
                frames,
            }));
        };
        let token = self.sample(session, &residual);
        if token.is_err() {
            session.cache.truncate(start);
            session.history.truncate(start);
        }
        Ok(Some(BackOutput {
            token: Some(token?),
            frames,
        }))
    }

    fn sample(
        &mut self,
        session: &mut BackSession,
        residual: &[f32],
    ) -> Result<RunToken, EngineError> {
        let position = session.cache.len();
        let run = session.run.as_mut().ok_or(EngineError::NoRun)?;
        let parameters = &run.request.parameters;
        if parameters.needs_token_ids() && session.history.len() != position {
            return Err(EngineError::IdsUnknown {
                needed: position,
                known: session.history.len(),
            });
        }
        if run.is_fresh() {
            session.history.begin_run(position);
        }
        let logits = self.segment.logits(residual, 1)?;
        let sampled = self
            .sampler
            .sample(&logits, parameters, &session.history, position as u64)
            .map_err(|source| EngineError::Sample { position, source })?;
        Ok(run.accept(sampled, position, session.cache.capacity()))
    }
}

impl Half for Back {
    type Session = BackSession;
    type Open = BackOpen;
    type Step = BackStep;
    type Output = BackOutput;

    fn open(&mut self, open: BackOpen) -> Result<BackSession, EngineError> {
        self.session(open)
    }

    fn advance(
        &mut self,
        session: &mut BackSession,
        step: &mut BackStep,
    ) -> Result<Option<BackOutput>, EngineError> {
        match step {
            BackStep::Rows(rows) => {
                let run = self.rows(session, rows);
                if run.is_err() {
                    session.decoders.forget_frame();
                }
                run
            }
            BackStep::Truncate { position } => {
                session.cache.truncate(*position);
                session.history.truncate(*position);
                Ok(Some(BackOutput::default()))
            }
            BackStep::Run(request) => {
                let known = session.history.len();
                if request.history.len() > known && request.history.len() <= session.cache.len() {
                    let missing = request.history[known..].iter().copied();
                    session.history.extend(missing);
                }
                session.run = Some(Run::new(std::mem::take(request)));
                Ok(Some(BackOutput::default()))
            }
        }
    }

    fn merge(step: &mut BackStep, next: BackStep) -> Option<BackStep> {
        let (BackStep::Rows(into), BackStep::Rows(rows)) = (step, &next) else {
            return Some(next);
        };
        let fits = !into.want
            && rows.skip == 0
            && into.start + into.count == rows.start
            && into.count + rows.count <= MERGED_ROWS
            && into.token_ids.is_empty() == rows.token_ids.is_empty();
        let BackStep::Rows(rows) = next else {
            return None;
        };
        match (&mut into.input, rows.input) {
            (RowsInput::Frames(frames), RowsInput::Frames(more)) if fits => frames.extend(more),
            (RowsInput::Tokens(tokens), RowsInput::Tokens(more)) if fits => tokens.extend(more),
            (_, input) => return Some(BackStep::Rows(RowsStep { input, ..rows })),
        }
        into.count += rows.count;
        into.token_ids.extend(rows.token_ids);
        into.want = rows.want;
        None
    }
}
