//! The front half: token ids in, frames of hidden rows out.

use crate::engine::Half;
use crate::error::EngineError;
use crate::frames::{FrameCodec, FrameEncoders};
use crate::layers::Layers;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tandem_codec::{Encoded, Profile};
use tandem_model::{KvCache, Segment};
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
        })
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

    fn frames(
        &mut self,
        session: &mut FrontSession,
        tokens: &[u32],
        codec: FrameCodec,
        frame_bytes: usize,
    ) -> Result<FrontOutput, EngineError> {
        let start = session.cache.len();
        let values = self.rows(session, tokens)?;
        let began = Instant::now();
        let frames = self.encode(&values, codec, frame_bytes);
        if frames.is_err() {
            session.cache.truncate(start);
        }
        let mut next = start;
        let frames = frames?.into_iter().map(|(bytes, encoded)| {
            let start = next;
            next += encoded.header.rows;
            Frame {
                start,
                rows: encoded.header.rows,
                outliers: encoded.outliers,
                bytes,
            }
        });
        Ok(FrontOutput {
            frames: frames.collect(),
            encode: began.elapsed(),
        })
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

impl Half for Front {
    type Session = FrontSession;
    type Open = usize;
    type Step = FrontStep;
    type Output = FrontOutput;

    fn open(&mut self, context: usize) -> Result<FrontSession, EngineError> {
        self.session(context)
    }

    fn advance(
        &mut self,
        session: &mut FrontSession,
        step: &mut FrontStep,
    ) -> Result<Option<FrontOutput>, EngineError> {
        match step {
            FrontStep::Tokens {
                tokens,
                codec,
                frame_bytes,
            } => self.frames(session, tokens, *codec, *frame_bytes).map(Some),
            FrontStep::Truncate { position } => {
                session.cache.truncate(*position);
                Ok(Some(FrontOutput::default()))
            }
        }
    }

    /// Chunks are cut where they are made, so that frames leave while the next chunk computes.
    fn merge(_: &mut FrontStep, next: FrontStep) -> Option<FrontStep> {
        Some(next)
    }
}
