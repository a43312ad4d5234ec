//! Both halves of a model in one process, on the thread that calls: token ids in, logits out.

use crate::cli::CutArgs;
use crate::error::Result;
use crate::precision::Sides;
use serde::{Deserialize, Serialize};
use std::ops::AddAssign;
use tandem_engine::{
    Back, BackOpen, BackSession, BackStep, FrameCodec, Front, FrontSession, FrontStep, Half as _,
    MERGED_ROWS, RowsInput,
};
use tandem_program::progress::Progress;

/// How many rows a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Framing {
    /// One, as generated tokens travel.
    Decode,
    /// As many as a frame takes, as prompts travel.
    #[default]
    Prefill,
}

impl Framing {
    /// The size that frames are cut to: one row always fits.
    pub(crate) fn frame_bytes(self) -> usize {
        match self {
            Self::Decode => 1,
            Self::Prefill => 256 << 10,
        }
    }
}

impl std::fmt::Display for Framing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Decode => "decode",
            Self::Prefill => "prefill",
        })
    }
}

/// A loaded model and one session.
#[derive(Debug)]
pub struct Pipeline {
    front: Option<CutFront>,
    back: Back,
    session: BackSession,
    /// Rows that both halves hold.
    position: usize,
    wire: Wire,
}

#[derive(Debug)]
struct CutFront {
    front: Front,
    session: FrontSession,
    codec: FrameCodec,
    framing: Framing,
}

/// What crossed the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wire {
    /// Bytes of all frames, without the protocol's envelope.
    pub bytes: u64,
    /// Values in them.
    pub values: u64,
}

impl Wire {
    /// Counts a frame.
    pub(crate) fn add(&mut self, bytes: usize, values: usize) {
        self.bytes += bytes as u64;
        self.values += values as u64;
    }

    /// What has crossed since this was `earlier`.
    pub(crate) fn since(&self, earlier: Self) -> Self {
        Self {
            bytes: self.bytes - earlier.bytes,
            values: self.values - earlier.values,
        }
    }

    /// Bits a value, headers included; none where nothing crossed.
    pub fn bits_per_value(&self) -> Option<f64> {
        (self.values > 0).then(|| 8.0 * self.bytes as f64 / self.values as f64)
    }
}

impl AddAssign for Wire {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.values += other.values;
    }
}

impl Pipeline {
    /// Loads both halves with room for `context` positions. The calling thread must hold
    /// a [`tandem_model::ComputeThread`] and be the only one to use the pipeline.
    ///
    /// # Errors
    /// When the model cannot be loaded, or cannot attend that far.
    pub fn load(sides: &Sides, cut: &CutArgs, context: usize) -> Result<Self> {
        let split = cut.split.unwrap_or(0);
        let mut progress = Progress::new("loading layer", sides.model.config.layers, 1);
        let mut front = None;
        if split > 0 {
            let (files, compute) = sides.front();
            let loaded = files.front(split, compute, |_| progress.advance(""))?;
            front = Some(CutFront {
                session: loaded.session(context)?,
                front: loaded,
                codec: FrameCodec {
                    codec: cut.codec,
                    calibrated: true,
                },
                framing: cut.framing,
            });
        }
        let (files, compute) = sides.back();
        let back = files.back(split, compute, |_| progress.advance(""))?;
        Ok(Self {
            front,
            session: back.session(BackOpen {
                split,
                context,
                profile: sides.profile(split),
                ..BackOpen::default()
            })?,
            back,
            position: 0,
            wire: Wire::default(),
        })
    }

    /// Runs `tokens` from position 0 in chunks as they are served, and gives `on_logits` each
    /// position from `first` on with its logits, `[vocabulary]`. It says whether to go on.
    ///
    /// # Errors
    /// When a step fails.
    pub fn run(
        &mut self,
        tokens: &[u32],
        first: usize,
        on_logits: impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        self.truncate(0)?;
        self.append(tokens, first, on_logits)
    }

    /// Runs further tokens behind those that both halves hold, as [`Pipeline::run`] does. `first`
    /// counts from position 0.
    ///
    /// # Errors
    /// When a step fails. What is held beyond the last whole chunk is not known then:
    /// [`Pipeline::truncate`] before going on.
    pub fn append(
        &mut self,
        tokens: &[u32],
        first: usize,
        mut on_logits: impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        for chunk in tokens.chunks(MERGED_ROWS) {
            let input = self.input(chunk)?;
            let residual = self.back.forward(&mut self.session, &input, 0)?;
            let start = self.position;
            let end = start + chunk.len();
            self.position = end;
            if end > first {
                let count = end - first.max(start);
                let logits = self.back.logits(&residual, count)?;
                let vocabulary = logits.len() / count;
                for (i, row) in logits.chunks_exact(vocabulary).enumerate() {
                    on_logits(end - count + i, row)?;
                }
            }
        }
        Ok(())
    }

    /// What has crossed the cut since the model was loaded.
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// Forgets, in both halves, the rows from `position` on.
    ///
    /// # Errors
    /// When a step fails.
    pub fn truncate(&mut self, position: usize) -> Result<()> {
        let position = position.min(self.position);
        if let Some(cut) = &mut self.front {
            let step = FrontStep::Truncate { position };
            cut.front.step(&mut cut.session, step)?;
        }
        let step = BackStep::Truncate { epoch: 0, position };
        self.back.step(&mut self.session, step)?;
        self.position = position;
        Ok(())
    }

    fn input(&mut self, tokens: &[u32]) -> Result<RowsInput> {
        let Some(cut) = &mut self.front else {
            return Ok(RowsInput::Tokens(tokens.to_vec()));
        };
        let step = FrontStep::Tokens {
            tokens: tokens.to_vec(),
            codec: cut.codec,
            frame_bytes: cut.framing.frame_bytes(),
        };
        let output = cut.front.step(&mut cut.session, step)?;
        let hidden = cut.front.config().hidden;
        let mut frames = Vec::with_capacity(output.frames.len());
        for frame in output.frames {
            self.wire.add(frame.bytes.len(), frame.rows * hidden);
            frames.push(frame.bytes);
        }
        Ok(RowsInput::Frames(frames))
    }
}
