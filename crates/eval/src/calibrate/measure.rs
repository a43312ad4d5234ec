//! What happens to predictions when the rows at a cut are not what they were.
//!
//! Compared are the positions from a quarter of a chunk on: before that a model has little to go by, and
//! behind it each prediction costs a head's product alone, which is a small part of the layers'.

use crate::divergence::{kl_given, log_sum};
use crate::error::{EvalError, Result};
use bytes::Bytes;
use std::sync::Arc;
use tandem_codec::{Codec, EncodeError, Encoder, Profile};
use tandem_engine::{Back, BackOpen, EngineError, MERGED_ROWS, RowsInput};

/// Values of logits that are kept to compare with, at most: what is beyond is computed again.
const KEPT: usize = 1 << 27;

/// Compares a back's predictions with those that it makes of exact rows.
#[derive(Debug)]
pub(super) struct Measure {
    /// Of the first sequences; none where the exact predictions differ from cut to cut.
    references: Vec<Reference>,
    threads: usize,
}

/// A chunk's exact predictions.
#[derive(Debug)]
struct Reference {
    /// `[scored, vocabulary]`.
    logits: Vec<f32>,
    log_sums: Vec<f64>,
}

/// Rows as they cross a cut, one a frame as when tokens are decoded.
#[derive(Debug)]
pub(super) struct Crossing<'a> {
    frames: Vec<Bytes>,
    profile: Option<&'a Arc<Profile>>,
    /// Bits a value, headers included.
    pub(super) bits: f64,
}

/// The number of a chunk's first position that is compared.
pub(super) fn first_scored(tokens: usize) -> usize {
    tokens / 4
}

impl Measure {
    /// Of backs whose exact predictions are kept for the first chunks: they are `exact`'s, given the
    /// rows in front of the layer `split`. Without `exact` they are computed at each cut.
    pub(super) fn new(
        exact: Option<(&Back, usize)>,
        chunks: &[Vec<f32>],
        threads: usize,
    ) -> Result<Self> {
        let mut found = Self {
            references: Vec::new(),
            threads,
        };
        let Some((back, split)) = exact else {
            return Ok(found);
        };
        let mut kept = 0;
        for rows in chunks {
            let config = back.config();
            let tokens = rows.len() / config.hidden;
            kept += (tokens - first_scored(tokens)) * config.vocabulary;
            if kept > KEPT && !found.references.is_empty() {
                break;
            }
            found.references.push(found.reference(back, split, rows)?);
        }
        Ok(found)
    }

    /// Encodes a chunk's rows.
    pub(super) fn cross<'a>(
        &self,
        codec: Codec,
        profile: Option<&'a Arc<Profile>>,
        rows: &[f32],
        hidden: usize,
    ) -> Result<Crossing<'a>> {
        let profile = profile.filter(|_| codec.uses_profile());
        let encode = |rows: &[f32]| -> std::result::Result<Vec<Bytes>, EncodeError> {
            let mut encoder = Encoder::new(codec, profile);
            let encode = |row| {
                let mut frame = Vec::new();
                encoder.encode(row, hidden, &mut frame)?;
                Ok(Bytes::from(frame))
            };
            rows.chunks_exact(hidden).map(encode).collect()
        };
        let mut frames = Vec::new();
        for part in self.in_parts(rows, hidden, |_, rows| encode(rows)) {
            frames.extend(part.map_err(EngineError::from)?);
        }
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        Ok(Crossing {
            frames,
            profile,
            bits: 8.0 * bytes as f64 / rows.len() as f64,
        })
    }

    /// The mean divergence of what `back` predicts from the layer `split` on of a chunk's rows as they
    /// come across, from what is predicted of them as they are. `exact` is whose prediction that is,
    /// from its own layer on.
    pub(super) fn divergence(
        &self,
        (number, exact): (usize, (&Back, usize, &[f32])),
        (back, split): (&Back, usize),
        crossing: &Crossing<'_>,
    ) -> Result<f64> {
        let computed;
        let reference = match self.references.get(number) {
            Some(kept) => kept,
            None => {
                let (back, split, rows) = exact;
                computed = self.reference(back, split, rows)?;
                &computed
            }
        };
        let vocabulary = back.config().vocabulary;
        let (mut sum, mut count) = (0.0, 0);
        self.predict(back, split, crossing, |logits| {
            let parts = self.in_parts(logits, vocabulary, |begin, logits| {
                let compare = |(i, own): (usize, &[f32])| {
                    let at = count + begin + i;
                    let exact = &reference.logits[at * vocabulary..][..vocabulary];
                    kl_given(exact, reference.log_sums[at], own)
                };
                logits
                    .chunks_exact(vocabulary)
                    .enumerate()
                    .map(compare)
                    .sum::<f64>()
            });
            sum += parts.into_iter().sum::<f64>();
            count += logits.len() / vocabulary;
        })?;
        if sum.is_finite() && count > 0 {
            Ok(sum / count as f64)
        } else {
            Err(EvalError::NotFinite {
                chunk: number,
                position: first_scored(crossing.frames.len()),
            })
        }
    }

    fn reference(&self, back: &Back, split: usize, rows: &[f32]) -> Result<Reference> {
        let config = back.config();
        let mut reference = Reference {
            logits: Vec::new(),
            log_sums: Vec::new(),
        };
        let exact = self.cross(Codec::F32, None, rows, config.hidden)?;
        self.predict(back, split, &exact, |logits| {
            let sums = self.in_parts(logits, config.vocabulary, |_, logits| {
                let sums = logits.chunks_exact(config.vocabulary).map(log_sum);
                sums.collect::<Vec<_>>()
            });
            reference.log_sums.extend(sums.into_iter().flatten());
            reference.logits.extend_from_slice(logits);
        })?;
        Ok(reference)
    }

    /// Gives the logits of a chunk's scored rows, `[some, vocabulary]` at a time.
    fn predict(
        &self,
        back: &Back,
        split: usize,
        crossing: &Crossing<'_>,
        mut on_logits: impl FnMut(&[f32]),
    ) -> Result<()> {
        let tokens = crossing.frames.len();
        let mut session = back.session(BackOpen {
            split,
            context: tokens,
            profile: crossing.profile.cloned(),
            ..BackOpen::default()
        })?;
        let first = first_scored(tokens);
        let mut end = 0;
        for part in crossing.frames.chunks(MERGED_ROWS) {
            let input = RowsInput::Frames(part.to_vec());
            let residual = back.forward(&mut session, &input, 0)?;
            end += part.len();
            let count = part.len().min(end.saturating_sub(first));
            if count > 0 {
                on_logits(&back.logits(&residual, count)?);
            }
        }
        Ok(())
    }

    /// Does `work` with runs of rows of `width` values at once, and returns the results in order. It is
    /// given the number of its first row.
    fn in_parts<T: Send>(
        &self,
        values: &[f32],
        width: usize,
        work: impl Fn(usize, &[f32]) -> T + Sync,
    ) -> Vec<T> {
        let rows = (values.len() / width).div_ceil(self.threads).max(1);
        std::thread::scope(|scope| {
            let work = &work;
            let parts = values.chunks(rows * width).enumerate();
            let threads: Vec<_> = parts
                .map(|(part, values)| scope.spawn(move || work(part * rows, values)))
                .collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, T>| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        })
    }
}
