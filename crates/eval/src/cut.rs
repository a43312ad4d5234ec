//! One cut of a model with several ways across it, side by side: the same rows go through every
//! codec, and each codec's back session runs on what came out.

use crate::cli::ModelArgs;
use crate::divergence::Divergence;
use crate::error::{EvalError, Result};
use crate::pipeline::{Framing, Wire};
use crate::progress::Progress;
use bytes::Bytes;
use std::sync::Arc;
use tandem_codec::{Codec, Encoder, Profile};
use tandem_engine::{
    Back, BackOpen, BackSession, BackStep, Compute, Front, FrontSession, FrontStep, Half as _,
    KvBudget, MERGED_ROWS, ModelFiles, RowsInput,
};
use tandem_model::WeightType;

/// A model in two halves, and the exact way across.
#[derive(Debug)]
pub struct Cut {
    front: Front,
    front_session: FrontSession,
    back: Back,
    exact: Way,
    split: usize,
    context: usize,
}

/// One way across the cut.
#[derive(Debug)]
pub struct Way {
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
    /// Loads both halves with room for `context` positions. See [`crate::pipeline::Pipeline::load`]
    /// about threads.
    ///
    /// # Errors
    /// When the model cannot be loaded, or cannot attend that far.
    pub fn load(
        args: &ModelArgs,
        files: &ModelFiles,
        split: usize,
        context: usize,
    ) -> Result<Self> {
        let compute = Compute {
            device: args.device,
            weights: WeightType::F32,
        };
        let mut progress = Progress::new("loading layer", files.config.layers, 1);
        let front = files.front(split, compute, |_| progress.advance(""))?;
        let back = files.back(split, compute, KvBudget::new(u64::MAX), |_| {
            progress.advance("");
        })?;
        Ok(Self {
            front_session: front.session(context)?,
            exact: way(&back, Codec::F32, None, Framing::Prefill, (split, context))?,
            front,
            back,
            split,
            context,
        })
    }

    /// Another way across, by the profile if the codec uses one.
    ///
    /// # Errors
    /// When the back cannot open a session for it.
    pub fn way(
        &self,
        codec: Codec,
        profile: Option<&Arc<Profile>>,
        framing: Framing,
    ) -> Result<Way> {
        way(
            &self.back,
            codec,
            profile,
            framing,
            (self.split, self.context),
        )
    }

    /// Values a row.
    pub fn hidden(&self) -> usize {
        self.front.config().hidden
    }

    /// The rows of a chunk of tokens, `[tokens, hidden]`, from position 0.
    ///
    /// # Errors
    /// When a step fails.
    pub fn rows(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let step = FrontStep::Truncate { position: 0 };
        self.front.step(&mut self.front_session, step)?;
        self.append(tokens)
    }

    /// The rows of further tokens, `[tokens, hidden]`.
    ///
    /// # Errors
    /// When a step fails.
    pub fn append(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let mut rows = Vec::with_capacity(tokens.len() * self.hidden());
        for part in tokens.chunks(MERGED_ROWS) {
            rows.extend(self.front.rows(&mut self.front_session, part)?);
        }
        Ok(rows)
    }

    /// Goes back to position 0, everywhere.
    ///
    /// # Errors
    /// When a step fails.
    pub fn restart(&mut self, ways: &mut [Way]) -> Result<()> {
        self.rows(&[])?;
        self.restart_backs(ways)
    }

    fn restart_backs(&mut self, ways: &mut [Way]) -> Result<()> {
        for way in std::iter::once(&mut self.exact).chain(ways) {
            let step = BackStep::Truncate { position: 0 };
            self.back.step(&mut way.session, step)?;
        }
        Ok(())
    }

    /// Runs further rows through the back as they are, and returns the logits after the last
    /// `count`, `[count, vocabulary]`.
    ///
    /// # Errors
    /// When a step fails.
    pub fn exact_logits(&mut self, rows: &[f32], count: usize) -> Result<Vec<f32>> {
        let hidden = self.hidden();
        self.exact.logits(&self.back, rows, hidden, count)
    }

    /// The same through codec and back.
    ///
    /// # Errors
    /// When a step fails.
    pub fn logits(&self, way: &mut Way, rows: &[f32], count: usize) -> Result<Vec<f32>> {
        way.logits(&self.back, rows, self.hidden(), count)
    }

    /// Sends a chunk's rows every way, and compares the predictions of `targets`, the tokens behind
    /// each row, from position `first` on with those of the exact rows.
    ///
    /// # Errors
    /// When a step fails, or the model's arithmetic does. `number` names the chunk then.
    pub fn compare(
        &mut self,
        number: usize,
        rows: &[f32],
        targets: &[u32],
        first: usize,
        ways: &mut [Way],
    ) -> Result<()> {
        let hidden = self.hidden();
        self.restart_backs(ways)?;
        let mut start = 0;
        for part in rows.chunks(MERGED_ROWS * hidden) {
            let end = start + part.len() / hidden;
            let scored = first.max(start)..end.min(targets.len());
            let count = end - scored.start.min(end);
            let reference = self.exact.logits(&self.back, part, hidden, count)?;
            for way in &mut *ways {
                let logits = way.logits(&self.back, part, hidden, count)?;
                let vocabulary = logits.len() / count.max(1);
                for position in scored.clone() {
                    let at = (position - (end - count)) * vocabulary;
                    let row = at..at + vocabulary;
                    let (exact, own) = (&reference[row.clone()], &logits[row]);
                    if !way.divergence.add(exact, own, targets[position]) {
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

fn way(
    back: &Back,
    codec: Codec,
    profile: Option<&Arc<Profile>>,
    framing: Framing,
    (split, context): (usize, usize),
) -> Result<Way> {
    let profile = profile.filter(|_| codec.uses_profile());
    let open = BackOpen {
        split,
        context,
        profile: profile.cloned(),
    };
    Ok(Way {
        calibrated: profile.is_some(),
        encoder: Encoder::new(codec, profile),
        framing,
        session: back.session(open)?,
        wire: Wire::default(),
        divergence: Divergence::default(),
    })
}

impl Way {
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
            count => Ok(tandem_model::values(&back.logits(&residual, count)?)?),
        }
    }
}
