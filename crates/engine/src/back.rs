//! The back half: frames of hidden rows (or, with split 0, token ids) in, sampled ids out.

use crate::error::EngineError;
use crate::frames::FrameDecoders;
use crate::half::{Half, Outcome, Turn, guarded};
use crate::kv_budget::{KvSizes, Reservation, Room};
use crate::layers::Layers;
use crate::named_page::{KeptPage, NamedPage, PageKey, PageNames};
use crate::parallel::{in_parts, threads_for};
use crate::run::{Run, RunRequest, RunToken};
use crate::sampler::{Sampled, Sampler, TokenHistory};
use crate::standing::Standing;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tandem_codec::{Limits, Profile};
use tandem_model::{KvCache, KvMemory, PAGE_POSITIONS, Segment, SessionRows};
use tandem_shape::{LayerRange, ModelConfig};

/// The most rows of prompts in one step: enough for the matrix products to be efficient, few enough for a
/// decode row of another session to wait for. Waiting prefills of one session are merged to as many, and
/// longer ones run in parts.
pub const MERGED_ROWS: usize = 128;

/// The layers behind a split, the head, and the sampler.
#[derive(Debug)]
pub struct Back {
    segment: Segment,
    /// One for each thread that has been of use.
    samplers: Vec<Sampler>,
}

/// One session's keys and values, and its answer.
#[derive(Debug)]
pub struct BackSession {
    cache: KvCache,
    history: TokenHistory,
    run: Option<Run>,
    decoders: FrameDecoders,
    /// Which of its rows are run.
    standing: Standing,
    /// How long reading the frames of the step under way took.
    frames: Duration,
    /// Tokens that the step under way has sampled.
    sampled: Vec<RunToken>,
    room: Room,
    /// The pages of others that it began with, as long as it has all of them.
    begun_with: Vec<Arc<KeptPage>>,
    /// The names of its pages, where they are named.
    names: Option<PageNames>,
    /// Pages that the step under way has filled.
    filled: Vec<NamedPage>,
}

/// What a back session is opened with.
#[derive(Debug, Default)]
pub struct BackOpen {
    /// Layers the front runs.
    pub split: usize,
    /// The most positions.
    pub context: usize,
    /// The profile of calibrated frames, where one was agreed on.
    pub profile: Option<Arc<Profile>>,
    /// What its keys and values may take, but for those of `pages`.
    pub room: Room,
    /// What it begins with, from position 0 on.
    pub pages: Vec<Arc<KeptPage>>,
    /// What its pages are named with. Without it they have no names, and no other session begins with them.
    pub page_key: Option<PageKey>,
}

/// A step of a back session.
#[derive(Debug)]
pub enum BackStep {
    /// Runs rows at the positions behind the session's.
    Rows(RowsStep),
    /// Forgets all positions from here on.
    Truncate {
        /// The epoch that begins.
        epoch: u32,
        /// Positions kept.
        position: usize,
    },
    /// Begins an answer.
    Run(Box<RunRequest>),
}

/// Rows to run.
#[derive(Debug)]
pub struct RowsStep {
    /// Their epoch.
    pub epoch: u32,
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
    /// What is sampled.
    pub want: Want,
    /// What is reserved for them, where that grows with rows.
    pub room: Option<Reservation>,
}

/// What is sampled behind rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Want {
    /// Nothing.
    #[default]
    Nothing,
    /// The token behind the last.
    Token,
    /// The token behind each, as long as the next row is of that token. Rows behind one that is not are dropped, and their
    /// epoch ends. The ids of all of them must be known.
    EachToken,
}

impl Want {
    /// The token behind the last row, or nothing.
    pub fn last(is_wanted: bool) -> Self {
        if is_wanted {
            Self::Token
        } else {
            Self::Nothing
        }
    }
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
    /// The tokens that were wanted, by position.
    pub tokens: Vec<RunToken>,
    /// How long reading its frames took.
    pub frames: Duration,
    /// The pages that it filled, in their order, where pages are named.
    pub pages: Vec<NamedPage>,
}

impl RowsStep {
    /// The tokens of its rows, where known.
    pub fn ids(&self) -> &[u32] {
        match &self.input {
            RowsInput::Tokens(ids) => ids,
            RowsInput::Frames(_) => &self.token_ids,
        }
    }

    /// Whether they are run behind what has been: where each is to be of the token before it, the first has to be as well.
    fn run_behind(&self, standing: &Standing) -> bool {
        let first = self.ids().first().copied();
        let first = first.filter(|_| self.want == Want::EachToken);
        standing.runs(self.epoch, self.start, first)
    }
}

impl Back {
    /// A back of a segment that ends the model.
    pub fn new(segment: Segment) -> Self {
        Self {
            segment,
            samplers: Vec::new(),
        }
    }

    /// Bytes that its matrices take.
    pub fn weight_bytes(&self) -> u64 {
        self.segment.weight_bytes()
    }

    /// Whether a row comes to the same bits wherever it runs and whatever runs with it.
    pub fn is_reproducible(&self) -> bool {
        self.segment.is_reproducible()
    }

    /// Bytes of a session's keys and values a position.
    pub fn kv_bytes_per_position(&self) -> u64 {
        // Of many: room is made for some positions at once.
        const POSITIONS: usize = 1024;
        self.segment.kv_bytes(self.segment.range(), POSITIONS) / POSITIONS as u64
    }

    /// What positions take.
    pub fn kv_sizes(&self) -> KvSizes {
        KvSizes {
            layers: self.config().layers,
            page_bytes: self.kv_memory().page_bytes(),
            shared_once: self
                .segment
                .kv_cache(self.segment.range(), 0)
                .is_ok_and(|cache| cache.shares_pages()),
        }
    }

    /// The memory that its sessions' keys and values lie in.
    pub fn kv_memory(&self) -> &KvMemory {
        self.segment.kv_memory()
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
    /// When the split is below the segment, or the context too long.
    pub fn session(&self, open: BackOpen) -> Result<BackSession, EngineError> {
        let layers = self.config().layers;
        let range = LayerRange::new(open.split, layers, layers)?;
        let mut cache = self.segment.kv_cache(range, open.context)?;
        cache.begin_with(open.pages.iter().map(|kept| &kept.page.kv))?;
        let pages = open.pages.iter().map(|kept| &kept.page);
        let mut history = TokenHistory::new();
        for tokens in pages.clone().map_while(|page| page.tokens.as_ref()) {
            history.extend(tokens.iter().copied());
        }
        let session = BackSession {
            cache,
            history,
            run: None,
            decoders: FrameDecoders::new(open.profile),
            standing: Standing::default(),
            frames: Duration::ZERO,
            sampled: Vec::new(),
            room: open.room,
            names: open.page_key.map(|key| PageNames::new(key, pages)),
            begun_with: open.pages,
            filled: Vec::new(),
        };
        session.room.check(session.own_bytes())?;
        Ok(session)
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

    /// The rows of a turn that has any. Without rows it is bookkeeping, which is done here.
    fn begin(&self, turn: &mut Turn<'_, Self>) -> Result<Option<Part>, EngineError> {
        let session = &mut *turn.session;
        match turn.step {
            BackStep::Rows(rows) => {
                if !rows.run_behind(&session.standing) {
                    session.standing.drops(rows.epoch);
                    session.room.add(rows.room.take());
                    session.decoders.forget_frame();
                    return Ok(None);
                }
                guarded(|| self.take_rows(session, rows, turn.rows)).map(Some)
            }
            BackStep::Truncate { epoch, position } => {
                session.standing.truncate(*epoch, *position);
                session.truncate(*position);
                // Nothing leads back to what it kept there.
                session.run.take_if(|run| run.request.constraint.is_some());
                session.room.keep(session.own_bytes());
                Ok(None)
            }
            BackStep::Run(request) => {
                let known = session.history.len();
                if request.history.len() > known && request.history.len() <= session.cache.len() {
                    let missing = request.history[known..].iter().copied();
                    session.history.extend(missing);
                }
                session.run = Some(Run::new(std::mem::take(request)));
                Ok(None)
            }
        }
    }

    /// Takes the next rows of a step off its input: at most [`MERGED_ROWS`], and at most `most`.
    fn take_rows(
        &self,
        session: &mut BackSession,
        step: &mut RowsStep,
        most: usize,
    ) -> Result<Part, EngineError> {
        session.room.add(step.room.take());
        let start = session.cache.len();
        if step.start != start {
            return Err(EngineError::OutOfOrder {
                found: step.start,
                expected: start,
            });
        }
        let input = step.skip + step.count;
        let part = input.min(MERGED_ROWS).min(most.max(1));
        let skip = step.skip.min(part);
        let (hidden, ids) = match &mut step.input {
            RowsInput::Tokens(tokens) => {
                let ids: Vec<u32> = tokens.drain(..part.min(tokens.len())).collect();
                (self.segment.embed(&ids[skip.min(ids.len())..])?, ids)
            }
            RowsInput::Frames(frames) => {
                if step.want == Want::EachToken && step.token_ids.len() < part {
                    let (needed, known) = (start + part, start + step.token_ids.len());
                    return Err(EngineError::IdsUnknown { needed, known });
                }
                let known = part.min(step.token_ids.len());
                let ids = step.token_ids.drain(..known).collect();
                (self.read_frames(session, frames, (part, skip))?, ids)
            }
        };
        session.cache.check_room(part - skip)?;
        let end = start + part - skip;
        let range = session.cache.range();
        let needed = self.segment.kv_bytes(range, end);
        session
            .room
            .check(needed.saturating_sub(session.others_bytes()))?;
        Ok(Part {
            start,
            hidden,
            ids,
            input: part,
            skip,
            is_last: part == input,
            tokens: match step.want {
                Want::Token if part == input => (part - skip).min(1),
                Want::EachToken => part - skip,
                _ => 0,
            },
            kept: part - skip,
        })
    }

    /// Runs the rows of all parts together, or, where that fails, those of each part alone. Afterwards each part has its rows
    /// that want a token.
    fn run_layers(&self, parts: &mut [Running<'_, '_>]) {
        parts.sort_by_key(|part| part.turn.session.cache.range().start());
        let Err(error) = self.layers_of(parts) else {
            return;
        };
        if let [part] = &mut *parts {
            part.failed = Some(error);
            return;
        }
        // One of them fails, and the others must not.
        for at in 0..parts.len() {
            parts[at].failed = self.layers_of(&mut parts[at..=at]).err();
        }
    }

    fn layers_of(&self, parts: &mut [Running<'_, '_>]) -> Result<(), EngineError> {
        let hidden: Vec<f32> = match &*parts {
            [part] => part.part.hidden.clone(),
            parts => parts
                .iter()
                .flat_map(|part| &part.part.hidden)
                .copied()
                .collect(),
        };
        let mut sessions: Vec<SessionRows<'_>> = parts
            .iter_mut()
            .map(|part| SessionRows {
                rows: part.part.rows(),
                cache: &mut part.turn.session.cache,
            })
            .collect();
        let residual = guarded(|| Ok(self.segment.forward_all(hidden, &mut sessions)?))?;
        let width = self.config().hidden;
        let mut end = 0;
        for part in parts {
            end += part.part.rows() * width;
            part.wanting = residual[end - part.part.tokens * width..end].to_vec();
        }
        Ok(())
    }

    /// Runs the head over all rows that want a token, and samples these tokens: first the first one of every part, then the
    /// second one of the parts whose next row is of that token, and so on.
    fn sample(&mut self, parts: &mut [Running<'_, '_>]) {
        let mut wanting: Vec<&mut Running<'_, '_>> = Vec::new();
        for part in parts {
            if part.wants_token() {
                match part.check_run() {
                    Ok(()) => wanting.push(part),
                    Err(error) => part.failed = Some(error),
                }
            }
        }
        if wanting.is_empty() {
            return;
        }
        let rows: Vec<f32> = wanting
            .iter()
            .flat_map(|part| &part.wanting)
            .copied()
            .collect();
        let count = wanting.iter().map(|part| part.part.tokens).sum();
        let logits = guarded(|| Ok(self.segment.logits(&rows, count)?));
        let logits = match logits {
            Ok(logits) => logits,
            Err(error) => {
                for part in wanting {
                    part.failed = Some(error.clone());
                }
                return;
            }
        };
        let mut rest = &logits[..];
        let vocabulary = self.config().vocabulary.max(1);
        let mut going_on: Vec<(&mut Running<'_, '_>, &[f32])> = Vec::with_capacity(wanting.len());
        for part in wanting {
            let (own, behind) = rest.split_at((part.part.tokens * vocabulary).min(rest.len()));
            rest = behind;
            going_on.push((part, own));
        }
        while !going_on.is_empty() {
            let mut choices: Vec<Choice<'_>> = going_on
                .iter_mut()
                .filter_map(|(part, logits)| part.choice(&logits[..vocabulary]))
                .collect();
            let threads = threads_for(choices.len(), choices.len(), 1);
            while self.samplers.len() < threads {
                self.samplers.push(Sampler::new());
            }
            let samplers = &mut self.samplers[..threads];
            let sampled = in_parts(samplers, &mut choices, |sampler, choice| {
                choice.make(sampler)
            });
            drop(choices);
            for ((part, logits), sampled) in going_on.iter_mut().zip(sampled) {
                *logits = &logits[vocabulary..];
                match sampled {
                    Ok(sampled) => part.accept(sampled),
                    Err(error) => part.failed = Some(error),
                }
            }
            going_on.retain(|(part, logits)| part.wants_token() && !logits.is_empty());
        }
    }
}

impl BackSession {
    /// Forgets all positions from here on.
    fn truncate(&mut self, position: usize) {
        self.cache.truncate(position);
        self.history.truncate(position);
        if let Some(names) = &mut self.names {
            names.truncate(position);
        }
        // One that is kept in part is another's until rows are written to it.
        self.begun_with.truncate(position.div_ceil(PAGE_POSITIONS));
    }

    /// What the step under way has given.
    fn output(&mut self) -> BackOutput {
        BackOutput {
            tokens: std::mem::take(&mut self.sampled),
            frames: std::mem::take(&mut self.frames),
            pages: std::mem::take(&mut self.filled),
        }
    }

    /// Bytes of the pages that it has from others whole, where these take no memory of its own.
    fn others_bytes(&self) -> u64 {
        if !self.cache.shares_pages() {
            return 0;
        }
        let whole = self.cache.len() / PAGE_POSITIONS;
        self.begun_with.len().min(whole) as u64 * self.cache.bytes_of_positions()
    }

    /// Bytes of its other pages.
    fn own_bytes(&self) -> u64 {
        self.cache.bytes().saturating_sub(self.others_bytes())
    }

    /// Takes note of rows that were run from position `start` on, and of the pages that they have filled.
    fn name_pages(&mut self, start: usize, hidden: &[f32], width: usize) {
        self.begun_with.truncate(start / PAGE_POSITIONS);
        let Some(names) = &mut self.names else {
            return;
        };
        let before = names.pages();
        let are_embeddings = self.cache.range().is_first();
        let known = self.history.ids().get(start..).unwrap_or_default();
        names.note(hidden, width, if are_embeddings { known } else { &[] });
        for number in before..names.pages() {
            match self.cache.page(number) {
                Ok(kv) => {
                    let page = names.page(number, kv, self.history.ids());
                    self.filled.push(page);
                }
                // Of tensors a page is a copy, for which there may be no memory: then it is this session's alone, and
                // so are those behind it.
                Err(error) => {
                    tracing::debug!(%error, "the pages of a session are named no more");
                    self.names = None;
                    return;
                }
            }
        }
    }
}

/// The next rows of a step.
#[derive(Debug)]
struct Part {
    /// Position of the first.
    start: usize,
    /// `[rows, hidden]`.
    hidden: Vec<f32>,
    /// The tokens of its input, where known.
    ids: Vec<u32>,
    /// Rows of the step's input that it takes, those included that are skipped.
    input: usize,
    skip: usize,
    /// Nothing of the step is left behind it.
    is_last: bool,
    /// How many of its last rows want the token behind them.
    tokens: usize,
    /// Rows that stand: all but those behind a draft that was not the token.
    kept: usize,
}

impl Part {
    fn rows(&self) -> usize {
        self.input - self.skip
    }
}

/// A part on its way through the layers.
struct Running<'a, 't> {
    turn: &'a mut Turn<'t, Back>,
    part: Part,
    /// The residual of the rows that want a token.
    wanting: Vec<f32>,
    /// Tokens that were sampled.
    tokens: usize,
    failed: Option<EngineError>,
}

impl Running<'_, '_> {
    /// Whether a token is to be sampled behind the next of its rows.
    fn wants_token(&self) -> bool {
        let stands = self.part.kept == self.part.rows();
        self.failed.is_none() && stands && self.tokens < self.part.tokens
    }

    /// The position of the next token to be sampled.
    fn position(&self) -> usize {
        self.part.start + self.part.rows() - self.part.tokens + self.tokens + 1
    }

    /// Takes note of the tokens whose rows were run, up to the first behind which one is wanted. Ids are only of use
    /// without a gap; a run with penalties says when one is missing.
    fn note_ids(&mut self) {
        let history = &mut self.turn.session.history;
        if self.failed.is_none() && history.len() == self.part.start {
            let rows = self.part.rows();
            let known = rows.min(rows + 1 - self.part.tokens);
            let ids = &self.part.ids;
            history.extend(ids.iter().copied().skip(self.part.skip).take(known));
        }
    }

    /// Whether a token may be chosen.
    fn check_run(&mut self) -> Result<(), EngineError> {
        let position = self.position();
        let session = &mut *self.turn.session;
        let run = session.run.as_mut().ok_or(EngineError::NoRun)?;
        if run.request.parameters.needs_token_ids() && session.history.len() != position {
            return Err(EngineError::IdsUnknown {
                needed: position,
                known: session.history.len(),
            });
        }
        if run.is_fresh() {
            let answered = run.request.answered;
            session.history.begin_run(position.saturating_sub(answered));
        }
        Ok(())
    }

    /// What its token is chosen by, where it has a run, as it has when that was checked.
    fn choice<'c>(&'c mut self, logits: &'c [f32]) -> Option<Choice<'c>> {
        let position = self.position();
        let session = &mut *self.turn.session;
        Some(Choice {
            logits,
            request: &mut session.run.as_mut()?.request,
            history: &session.history,
            position,
        })
    }

    /// Takes a token, and whether the row behind it stands.
    fn accept(&mut self, sampled: Sampled) {
        let position = self.position();
        let session = &mut *self.turn.session;
        let capacity = session.cache.capacity();
        let Some(run) = &mut session.run else { return };
        let token = run.accept(sampled, position, capacity);
        session.standing.sampled(&token);
        self.tokens += 1;
        if self.tokens < self.part.tokens {
            let row = self.part.rows() - self.part.tokens + self.tokens;
            let id = self.part.ids.get(self.part.skip + row);
            match id.filter(|&&id| token.goes_on_with(id)) {
                Some(&id) => {
                    if session.history.len() == position {
                        session.history.push(id);
                    }
                }
                None => self.part.kept = row,
            }
        }
        session.sampled.push(token);
    }

    /// What has come of the turn.
    fn end(self, width: usize) {
        let session = &mut *self.turn.session;
        if let Some(error) = self.failed {
            session.truncate(self.part.start);
            session.decoders.forget_frame();
            session.sampled.clear();
            self.turn.outcome = Outcome::Done(Err(error));
            return;
        }
        let (rows, kept) = (self.part.rows(), self.part.kept);
        let mut ends = self.part.is_last || kept < rows;
        if let BackStep::Rows(step) = &mut *self.turn.step {
            if kept < rows {
                session.truncate(self.part.start + kept);
                session.decoders.forget_frame();
                session.standing.drops(step.epoch);
            }
            step.start += rows;
            step.count -= rows;
            step.skip -= self.part.skip;
            // What is left begins with a draft that is not the token.
            if !ends && !step.run_behind(&session.standing) {
                session.standing.drops(step.epoch);
                session.decoders.forget_frame();
                ends = true;
            }
        }
        let hidden = &self.part.hidden[..kept * width];
        session.name_pages(self.part.start, hidden, width);
        self.turn.outcome = if ends {
            Outcome::Done(Ok(session.output()))
        } else {
            Outcome::Unfinished
        };
    }
}

/// What a token is chosen by.
struct Choice<'a> {
    /// `[vocabulary]`.
    logits: &'a [f32],
    request: &'a mut RunRequest,
    history: &'a TokenHistory,
    /// That of the token.
    position: usize,
}

impl Choice<'_> {
    fn make(&mut self, sampler: &mut Sampler) -> Result<Sampled, EngineError> {
        let position = self.position;
        let RunRequest {
            parameters,
            constraint,
            ..
        } = &mut *self.request;
        let (logits, history) = (self.logits, self.history);
        let failed = |source| EngineError::Sample { position, source };
        let Some(constraint) = constraint else {
            let sampled = sampler.sample(logits, parameters, history, position as u64);
            return sampled.map_err(failed);
        };
        let cannot = |source| EngineError::Constraint { position, source };
        let mask = Some(constraint.mask().map_err(cannot)?);
        let sampled = sampler
            .sample_within(mask, logits, parameters, history, position as u64)
            .map_err(failed)?;
        constraint.accept(sampled.id).map_err(cannot)?;
        Ok(sampled)
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

    fn rows(step: &BackStep, most: usize) -> usize {
        match step {
            BackStep::Rows(rows) => (rows.skip + rows.count).min(most),
            BackStep::Truncate { .. } | BackStep::Run(_) => 0,
        }
    }

    fn is_dropped(session: &BackSession, step: &BackStep) -> bool {
        matches!(step, BackStep::Rows(rows) if !rows.run_behind(&session.standing))
    }

    fn run(&mut self, turns: &mut [Turn<'_, Self>]) {
        let mut parts = Vec::with_capacity(turns.len());
        for turn in turns {
            match self.begin(turn) {
                Ok(Some(part)) => parts.push(Running {
                    turn,
                    part,
                    wanting: Vec::new(),
                    tokens: 0,
                    failed: None,
                }),
                Ok(None) => turn.outcome = Outcome::Done(Ok(turn.session.output())),
                Err(error) => {
                    turn.session.decoders.forget_frame();
                    turn.outcome = Outcome::Done(Err(error));
                }
            }
        }
        if parts.is_empty() {
            return;
        }
        self.run_layers(&mut parts);
        parts.iter_mut().for_each(Running::note_ids);
        self.sample(&mut parts);
        let width = self.config().hidden;
        parts.into_iter().for_each(|part| part.end(width));
    }

    /// Behind a token that is not the last.
    fn goes_on(output: &BackOutput) -> bool {
        let token = output.tokens.last();
        token.is_some_and(|token| token.finish.is_none())
    }

    fn merge(step: &mut BackStep, next: BackStep) -> Option<BackStep> {
        let (BackStep::Rows(into), BackStep::Rows(rows)) = (step, &next) else {
            return Some(next);
        };
        let are_alike = match into.want {
            Want::Nothing => rows.want != Want::EachToken,
            Want::EachToken => rows.want == Want::EachToken,
            Want::Token => false,
        };
        let fits = are_alike
            && into.epoch == rows.epoch
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
        match (&mut into.room, rows.room) {
            (Some(room), Some(more)) => room.add(more),
            (room, more) => *room = room.take().or(more),
        }
        None
    }
}
