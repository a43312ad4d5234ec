//! The front half: token ids in, frames of hidden rows out.

use crate::error::EngineError;
use crate::frames::{FrameCodec, FrameEncoders};
use crate::half::{Half, Outcome, Turn, guarded};
use crate::layers::Layers;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tandem_codec::{Encoded, Profile};
use tandem_model::{KvCache, KvMemory, KvPage, PAGE_POSITIONS, Segment, SessionRows};
use tandem_shape::{LayerRange, ModelConfig};

/// Embedding and layers `0..split`, and the encoder behind them.
#[derive(Debug)]
pub struct Front {
    segment: Segment,
    encoders: FrameEncoders,
}

/// Keys and values of one session's front layers.
#[derive(Debug)]
pub struct FrontSession {
    cache: KvCache,
    gives_pages: bool,
}

/// What a front session is opened with.
#[derive(Debug, Default)]
pub struct FrontOpen {
    /// The most positions.
    pub context: usize,
    /// What it begins with, from position 0 on.
    pub pages: Vec<KvPage>,
    /// Whether its steps give the pages that they fill.
    pub gives_pages: bool,
}

/// A step of a front session.
#[derive(Debug)]
pub enum FrontStep {
    /// Runs tokens at the positions behind the session's.
    Tokens {
        /// The tokens.
        tokens: Vec<u32>,
        /// How their rows are encoded.
        codec: FrameCodec,
        /// About how large a frame may get; one row always fits.
        frame_bytes: usize,
    },
    /// Forgets all positions from here on.
    Truncate {
        /// Positions kept.
        position: usize,
    },
}

/// The frames of a step's rows, in order.
#[derive(Debug, Default)]
pub struct FrontOutput {
    /// The frames.
    pub frames: Vec<Frame>,
    /// How long encoding them took.
    pub encode: Duration,
    /// The pages that the step filled, in their order, where the session gives them.
    pub pages: Vec<KvPage>,
}

/// An encoded frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Position of its first row.
    pub start: usize,
    /// Number of rows.
    pub rows: usize,
    /// Values written apart from the others, more exactly.
    pub outliers: usize,
    /// The bytes, as tandem-codec writes them.
    pub bytes: Bytes,
}

impl FrontOpen {
    /// An empty session of at most `context` positions.
    pub fn new(context: usize) -> Self {
        Self {
            context,
            ..Self::default()
        }
    }
}

impl Front {
    /// A front of a segment that begins the model, with the profile of its cut if there is one.
    pub fn new(segment: Segment, profile: Option<Arc<Profile>>) -> Self {
        Self {
            segment,
            encoders: FrameEncoders::new(profile),
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

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        self.segment.config()
    }

    /// Its layers, to be run one by one.
    pub fn layers(&self) -> Layers<'_> {
        Layers::of(&self.segment)
    }

    /// The layers it runs.
    pub fn range(&self) -> LayerRange {
        self.segment.range()
    }

    /// A session of at most `context` positions.
    ///
    /// # Errors
    /// When the model cannot attend that far.
    pub fn session(&self, context: usize) -> Result<FrontSession, EngineError> {
        Ok(FrontSession {
            cache: self.segment.kv_cache(self.segment.range(), context)?,
            gives_pages: false,
        })
    }

    /// The memory that its sessions' keys and values lie in.
    pub fn kv_memory(&self) -> &KvMemory {
        self.segment.kv_memory()
    }

    /// Bytes of 32 positions of a session's keys and values; `None` where sessions cannot have any in common, as
    /// with tensors.
    pub fn page_bytes(&self) -> Option<u64> {
        let range = self.segment.range();
        let cache = self.segment.kv_cache(range, 0).ok()?;
        let bytes = self.segment.kv_bytes(range, PAGE_POSITIONS);
        cache.shares_pages().then_some(bytes)
    }

    /// Runs tokens behind the session's and returns their hidden rows, `[tokens, hidden]`
    /// row-major.
    ///
    /// # Errors
    /// For ids outside the vocabulary, a full context, or when the backend fails.
    pub fn rows(
        &self,
        session: &mut FrontSession,
        tokens: &[u32],
    ) -> Result<Vec<f32>, EngineError> {
        let hidden = self.segment.embed(tokens)?;
        Ok(self.segment.forward(hidden, &mut session.cache)?)
    }

    /// The hidden rows of some tokens from position 0 on behind each of its layers, first to last:
    /// `[tokens, hidden]` row-major each.
    ///
    /// # Errors
    /// For ids outside the vocabulary, too many of them, or when the backend fails.
    pub fn rows_by_cut(&self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, EngineError> {
        let mut hidden = self.segment.embed(tokens)?;
        let mut cuts = Vec::new();
        for layer in self.range().start()..self.range().end() {
            let range = LayerRange::new(layer, layer + 1, self.config().layers)?;
            let mut cache = self.segment.kv_cache(range, tokens.len())?;
            hidden = self.segment.forward(hidden, &mut cache)?;
            cuts.push(hidden.clone());
        }
        Ok(cuts)
    }

    /// Embeds tokens, after checking that the session has room for them.
    fn begin(&self, session: &FrontSession, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        session.cache.check_room(tokens.len())?;
        Ok(self.segment.embed(tokens)?)
    }

    /// Runs the tokens of all of these together, or, where that fails, of each alone.
    fn run_layers(&self, running: &mut [Running<'_, '_>]) {
        let Err(error) = self.layers_of(running) else {
            return;
        };
        if let [one] = &mut *running {
            one.failed = Some(error);
            return;
        }
        for one in running {
            one.failed = self.layers_of(std::slice::from_mut(one)).err();
        }
    }

    fn layers_of(&self, running: &mut [Running<'_, '_>]) -> Result<(), EngineError> {
        let hidden: Vec<f32> = match &*running {
            [one] => one.rows.clone(),
            several => several.iter().flat_map(|one| &one.rows).copied().collect(),
        };
        let width = self.config().hidden.max(1);
        let mut sessions: Vec<SessionRows<'_>> = running
            .iter_mut()
            .map(|one| SessionRows {
                rows: one.rows.len() / width,
                cache: &mut one.turn.session.cache,
            })
            .collect();
        let residual = guarded(|| Ok(self.segment.forward_all(hidden, &mut sessions)?))?;
        let mut rest = &residual[..];
        for one in running {
            let (own, behind) = rest.split_at(one.rows.len());
            one.rows.copy_from_slice(own);
            rest = behind;
        }
        Ok(())
    }

    /// Encodes the rows of all of these.
    fn encode_all(&mut self, running: &mut [Running<'_, '_>]) {
        for one in running {
            let FrontStep::Tokens {
                codec, frame_bytes, ..
            } = &*one.turn.step
            else {
                continue;
            };
            if one.failed.is_some() {
                continue;
            }
            let began = Instant::now();
            match self.encode(&one.rows, *codec, *frame_bytes) {
                Ok(frames) => {
                    let mut next = one.start;
                    let frames = frames.into_iter().map(|(bytes, encoded)| {
                        let start = next;
                        next += encoded.header.rows;
                        Frame {
                            start,
                            rows: encoded.header.rows,
                            outliers: encoded.outliers,
                            bytes,
                        }
                    });
                    one.output = FrontOutput {
                        frames: frames.collect(),
                        encode: began.elapsed(),
                        pages: Vec::new(),
                    };
                }
                Err(error) => one.failed = Some(error),
            }
        }
    }

    /// Encodes `values`, `[rows, hidden]`, in frames of about `frame_bytes`.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn encode(
        &mut self,
        values: &[f32],
        codec: FrameCodec,
        frame_bytes: usize,
    ) -> Result<Vec<(Bytes, Encoded)>, EngineError> {
        let hidden = self.segment.config().hidden;
        let row_bytes = codec.codec.typical_bits() * hidden as f64 / 8.0;
        let rows = (frame_bytes as f64 / row_bytes).max(1.0) as usize;
        self.encoders.encode(codec, values, hidden, rows)
    }
}

/// Tokens on their way through the layers.
struct Running<'a, 't> {
    turn: &'a mut Turn<'t, Front>,
    /// Position of the first.
    start: usize,
    /// Their rows, `[tokens, hidden]`: embedded, and later behind the last layer.
    rows: Vec<f32>,
    output: FrontOutput,
    failed: Option<EngineError>,
}

impl Running<'_, '_> {
    /// What has come of the turn.
    fn end(mut self) {
        let FrontSession { cache, gives_pages } = &mut *self.turn.session;
        if self.failed.is_none() && *gives_pages {
            let filled = self.start / PAGE_POSITIONS..cache.len() / PAGE_POSITIONS;
            match filled.map(|number| cache.page(number)).collect() {
                Ok(pages) => self.output.pages = pages,
                Err(error) => self.failed = Some(error.into()),
            }
        }
        self.turn.outcome = Outcome::Done(match self.failed {
            None => Ok(self.output),
            Some(error) => {
                cache.truncate(self.start);
                Err(error)
            }
        });
    }
}

impl Half for Front {
    type Session = FrontSession;
    type Open = FrontOpen;
    type Step = FrontStep;
    type Output = FrontOutput;

    fn open(&mut self, open: FrontOpen) -> Result<FrontSession, EngineError> {
        let mut session = self.session(open.context)?;
        session.cache.begin_with(open.pages.iter())?;
        session.gives_pages = open.gives_pages;
        Ok(session)
    }

    fn rows(step: &FrontStep, _: usize) -> usize {
        match step {
            FrontStep::Tokens { tokens, .. } => tokens.len(),
            FrontStep::Truncate { .. } => 0,
        }
    }

    /// Steps are chunks already, so none is cut.
    fn is_dropped(_: &FrontSession, _: &FrontStep) -> bool {
        false
    }

    fn run(&mut self, turns: &mut [Turn<'_, Self>]) {
        let mut running = Vec::with_capacity(turns.len());
        for turn in turns {
            match &*turn.step {
                FrontStep::Truncate { position } => {
                    turn.session.cache.truncate(*position);
                    turn.outcome = Outcome::Done(Ok(FrontOutput::default()));
                }
                FrontStep::Tokens { tokens, .. } => match self.begin(turn.session, tokens) {
                    Ok(rows) => running.push(Running {
                        start: turn.session.cache.len(),
                        turn,
                        rows,
                        output: FrontOutput::default(),
                        failed: None,
                    }),
                    Err(error) => turn.outcome = Outcome::Done(Err(error)),
                },
            }
        }
        if running.is_empty() {
            return;
        }
        self.run_layers(&mut running);
        self.encode_all(&mut running);
        running.into_iter().for_each(Running::end);
    }

    /// Which answer ends the back knows.
    fn goes_on(output: &FrontOutput) -> bool {
        !output.frames.is_empty()
    }

    /// Chunks are cut where they are made, so that frames leave while the next chunk computes.
    fn merge(_: &mut FrontStep, next: FrontStep) -> Option<FrontStep> {
        Some(next)
    }
}
