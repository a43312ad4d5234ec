//! One cut of a model with several crossings of it, side by side: the same rows go through every
//! codec, and each codec's back session runs on what came out. They are compared with exact rows, or
//! with the model in f32.

use crate::divergence::Divergence;
use crate::error::{EvalError, Result};
use crate::pipeline::{Framing, Wire};
use crate::precision::Sides;
use bytes::Bytes;
use std::sync::Arc;
use tandem_codec::{Codec, Encoder, Profile};
use tandem_engine::{
    Back, BackOpen, BackSession, BackStep, Compute, Front, FrontSession, FrontStep, Half as _,
    MERGED_ROWS, ModelFiles, RowsInput,
};
use tandem_program::progress::Progress;

/// A model in two halves, several crossings of the cut, and what they are compared with.
#[derive(Debug)]
pub struct Cut {
    halves: SplitModel,
    /// The model as it is, where the halves are not.
    exact: Option<SplitModel>,
    split: usize,
    context: usize,
}

/// What the crossings are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// The model in f32 throughout: shows what precision and codec cost together.
    Exact,
    /// The same halves with exact rows between them: shows what the codec costs.
    SameHalves,
}

/// A front, a back, and the exact crossing between them.
#[derive(Debug)]
struct SplitModel {
    front: Front,
    session: FrontSession,
    back: Back,
    crossing: Crossing,
}

/// Rows of some tokens, `[tokens, hidden]`.
#[derive(Debug)]
pub struct Rows {
    /// Of the front that is measured.
    pub values: Vec<f32>,
    /// Of the exact front, where that is another.
    exact: Option<Vec<f32>>,
}

/// One way for rows to cross the cut.
#[derive(Debug)]
pub struct Crossing {
    encoder: Encoder,
    calibrated: bool,
    framing: Framing,
    session: BackSession,
    /// What it took.
    pub wire: Wire,
    /// What it cost.
    pub divergence: Divergence,
}

impl Cut {
    /// Loads the halves, and the exact ones where these are the reference and others, with room for
    /// `context` positions. See [`crate::pipeline::Pipeline::load`] about threads.
    ///
    /// # Errors
    /// When the model cannot be loaded, or cannot attend that far.
    pub fn load(
        sides: &Sides,
        reference: Reference,
        (split, context): (usize, usize),
    ) -> Result<Self> {
        let exact = match reference {
            Reference::Exact if !sides.are_exact() => {
                let (files, compute) = sides.exact();
                let both = (files, &compute);
                Some(SplitModel::load(both, both, (split, context))?)
            }
            _ => None,
        };
        Ok(Self {
            halves: SplitModel::load(sides.front(), sides.back(), (split, context))?,
            exact,
            split,
            context,
        })
    }

    /// Another crossing, by the profile if the codec uses one.
    ///
    /// # Errors
    /// When the back cannot open a session for it.
    pub fn crossing(
        &self,
        codec: Codec,
        profile: Option<&Arc<Profile>>,
        framing: Framing,
    ) -> Result<Crossing> {
        let at = (self.split, self.context);
        crossing(&self.halves.back, codec, profile, framing, at)
    }

    /// The front that is measured.
    pub fn front(&self) -> &Front {
        &self.halves.front
    }

    /// Values a row.
    pub fn hidden(&self) -> usize {
        self.halves.front.config().hidden
    }

    /// The rows of a chunk of tokens, from position 0.
    ///
    /// # Errors
    /// When a step fails.
    pub fn rows(&mut self, tokens: &[u32]) -> Result<Rows> {
        for halves in self.all() {
            let step = FrontStep::Truncate { position: 0 };
            halves.front.step(&mut halves.session, step)?;
        }
        self.append(tokens)
    }

    /// The rows of further tokens.
    ///
    /// # Errors
    /// When a step fails.
    pub fn append(&mut self, tokens: &[u32]) -> Result<Rows> {
        Ok(Rows {
            values: self.halves.rows(tokens)?,
            exact: match &mut self.exact {
                Some(halves) => Some(halves.rows(tokens)?),
                None => None,
            },
        })
    }

    fn all(&mut self) -> impl Iterator<Item = &mut SplitModel> {
        self.exact.iter_mut().chain([&mut self.halves])
    }

    /// Goes back to position 0, everywhere.
    ///
    /// # Errors
    /// When a step fails.
    pub fn restart(&mut self, crossings: &mut [Crossing]) -> Result<()> {
        self.rows(&[])?;
        self.restart_backs(crossings)
    }

    fn restart_backs(&mut self, crossings: &mut [Crossing]) -> Result<()> {
        let restart = |back: &mut Back, crossing: &mut Crossing| {
            let step = BackStep::Truncate {
                epoch: 0,
                position: 0,
            };
            back.step(&mut crossing.session, step).map(drop)
        };
        for halves in self.all() {
            restart(&mut halves.back, &mut halves.crossing)?;
        }
        for crossing in crossings {
            restart(&mut self.halves.back, crossing)?;
        }
        Ok(())
    }

    /// Runs further rows through the reference's back, and returns the logits after the last
    /// `count`, `[count, vocabulary]`.
    ///
    /// # Errors
    /// When a step fails.
    pub fn exact_logits(&mut self, rows: &Rows, count: usize) -> Result<Vec<f32>> {
        self.reference(rows, 0..rows.values.len(), count)
    }

    fn reference(
        &mut self,
        rows: &Rows,
        values: std::ops::Range<usize>,
        count: usize,
    ) -> Result<Vec<f32>> {
        let hidden = self.hidden();
        let (halves, rows) = match (&mut self.exact, &rows.exact) {
            (Some(exact), Some(rows)) => (exact, rows),
            _ => (&mut self.halves, &rows.values),
        };
        let SplitModel { back, crossing, .. } = halves;
        crossing.logits(back, &rows[values], hidden, count)
    }

    /// The same through codec and back.
    ///
    /// # Errors
    /// When a step fails.
    pub fn logits(&self, crossing: &mut Crossing, rows: &Rows, count: usize) -> Result<Vec<f32>> {
        crossing.logits(&self.halves.back, &rows.values, self.hidden(), count)
    }

    /// Sends a chunk's rows every way, and compares the predictions of `targets`, the tokens behind
    /// each row, from position `first` on with those of the reference.
    ///
    /// # Errors
    /// When a step fails, or the model's arithmetic does. `number` names the chunk then.
    pub fn compare(
        &mut self,
        number: usize,
        rows: &Rows,
        targets: &[u32],
        first: usize,
        crossings: &mut [Crossing],
    ) -> Result<()> {
        let hidden = self.hidden();
        self.restart_backs(crossings)?;
        let mut start = 0;
        for part in rows.values.chunks(MERGED_ROWS * hidden) {
            let end = start + part.len() / hidden;
            let scored = first.max(start)..end.min(targets.len());
            let count = end - scored.start.min(end);
            let reference = self.reference(rows, start * hidden..end * hidden, count)?;
            for crossing in &mut *crossings {
                let logits = crossing.logits(&self.halves.back, part, hidden, count)?;
                let vocabulary = logits.len() / count.max(1);
                for position in scored.clone() {
                    let at = (position - (end - count)) * vocabulary;
                    let row = at..at + vocabulary;
                    let (exact, own) = (&reference[row.clone()], &logits[row]);
                    if !crossing.divergence.add(exact, own, targets[position]) {
                        return Err(EvalError::NotFinite {
                            chunk: number,
                            position,
                        });
                    }
                }
            }
            start = end;
        }
        Ok(())
    }
}

impl SplitModel {
    fn load(
        (front_files, front): (&ModelFiles, &Compute),
        (back_files, back): (&ModelFiles, &Compute),
        (split, context): (usize, usize),
    ) -> Result<Self> {
        let mut progress = Progress::new("loading layer", back_files.config.layers, 1);
        let front = front_files.front(split, front, |_| progress.advance(""))?;
        let back = back_files.back(split, back, |_| progress.advance(""))?;
        Ok(Self {
            session: front.session(context)?,
            crossing: crossing(&back, Codec::F32, None, Framing::Prefill, (split, context))?,
            front,
            back,
        })
    }

    fn rows(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let mut rows = Vec::with_capacity(tokens.len() * self.front.config().hidden);
        for part in tokens.chunks(MERGED_ROWS) {
            rows.extend(self.front.rows(&mut self.session, part)?);
        }
        Ok(rows)
    }
}

fn crossing(
    back: &Back,
    codec: Codec,
    profile: Option<&Arc<Profile>>,
    framing: Framing,
    (split, context): (usize, usize),
) -> Result<Crossing> {
    let profile = profile.filter(|_| codec.uses_profile());
    let open = BackOpen {
        split,
        context,
        profile: profile.cloned(),
        ..BackOpen::default()
    };
    Ok(Crossing {
        calibrated: profile.is_some(),
        encoder: Encoder::new(codec, profile),
        framing,
        session: back.session(open)?,
        wire: Wire::default(),
        divergence: Divergence::default(),
    })
}

impl Crossing {
    /// Its codec.
    pub fn codec(&self) -> Codec {
        self.encoder.codec()
    }

    /// Whether by a profile calibrated for this cut.
    pub fn is_calibrated(&self) -> bool {
        self.calibrated
    }

    /// Runs rows through codec and back, and returns the logits after the last `count`.
    fn logits(
        &mut self,
        back: &Back,
        rows: &[f32],
        hidden: usize,
        count: usize,
    ) -> Result<Vec<f32>> {
        let row_bytes = self.encoder.codec().typical_bits() * hidden as f64 / 8.0;
        let rows_a_frame = (self.framing.frame_bytes() as f64 / row_bytes).max(1.0) as usize;
        let mut frames = Vec::new();
        for part in rows.chunks(rows_a_frame * hidden) {
            let mut frame = Vec::new();
            let encoded = self.encoder.encode(part, hidden, &mut frame);
            encoded.map_err(tandem_engine::EngineError::from)?;
            self.wire.add(frame.len(), part.len());
            frames.push(Bytes::from(frame));
        }
        let residual = back.forward(&mut self.session, &RowsInput::Frames(frames), 0)?;
        match count {
            0 => Ok(Vec::new()),
            count => Ok(back.logits(&residual, count)?),
        }
    }
}
