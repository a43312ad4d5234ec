//! The highest logit, found in the same pass over memory that checks the row.

use super::SampleError;

/// Logits that are looked at together; a block is searched for the peak's id only when it has a
/// higher logit than all blocks before it.
const BLOCK: usize = 1024;
/// Independent maxima within a block: a multiple of every vector register's width.
const LANES: usize = 16;

/// The most likely token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Peak {
    /// Its id; the lowest, where several logits are equally high.
    pub(super) id: u32,
    /// Its logit: finite, and no other is higher.
    pub(super) logit: f32,
}

impl Peak {
    /// Finds the peak of a row of at most 2³² logits.
    pub(super) fn of(logits: &[f32]) -> Result<Self, SampleError> {
        let mut best = f32::NEG_INFINITY;
        let mut best_block = None;
        for (index, block) in logits.chunks(BLOCK).enumerate() {
            // Counted rather than searched for, which is not vectorised.
            let valid = block.iter().filter(|logit| is_valid(**logit)).count();
            if valid < block.len() {
                let offset = block.iter().position(|logit| !is_valid(*logit));
                return Err(SampleError::NonFiniteLogits {
                    index: index * BLOCK + offset.unwrap_or(0),
                });
            }
            let highest = highest(block);
            if highest > best {
                best = highest;
                best_block = Some((index, block));
            }
        }
        let (index, block) = best_block.ok_or(SampleError::AllMasked)?;
        let offset = block.iter().position(|logit| *logit == best).unwrap_or(0);
        Ok(Self {
            id: (index * BLOCK + offset) as u32,
            logit: best,
        })
    }
}

/// The highest of some logits, NaN left aside; −∞ of none.
pub(super) fn highest(logits: &[f32]) -> f32 {
    // Not f32::max, whose treatment of NaN costs instructions.
    let higher = |a: f32, b: f32| if b > a { b } else { a };
    let mut maxima = [f32::NEG_INFINITY; LANES];
    let (lanes, rest) = logits.as_chunks::<LANES>();
    for logits in lanes {
        for (maximum, &logit) in maxima.iter_mut().zip(logits) {
            *maximum = higher(*maximum, logit);
        }
    }
    let all = maxima.iter().chain(rest);
    all.fold(f32::NEG_INFINITY, |highest, &logit| higher(highest, logit))
}

/// Whether a logit is a number or −∞, and not NaN or +∞.
fn is_valid(logit: f32) -> bool {
    logit < f32::INFINITY
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Few distinct values, so that ties are common.
    fn logit() -> impl Strategy<Value = f32> {
        prop_oneof![
            8 => (-4_i8..4).prop_map(f32::from),
            1 => Just(-0.0),
            1 => Just(f32::NEG_INFINITY),
        ]
    }

    proptest! {
        #[test]
        fn the_peak_is_the_first_of_the_highest(
            logits in prop::collection::vec(logit(), 1..2100),
        ) {
            let mut naive = None;
            for (index, &logit) in logits.iter().enumerate() {
                if logit > naive.map_or(f32::NEG_INFINITY, |(_, best)| best) {
                    naive = Some((index, logit));
                }
            }
            let peak = Peak::of(&logits).ok().map(|peak| (peak.id as usize, peak.logit));
            prop_assert_eq!(peak, naive);
        }

        #[test]
        fn the_first_failure_is_named(
            logits in prop::collection::vec(logit(), 1..2100),
            wrong in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..4),
        ) {
            let mut logits = logits;
            let mut first = usize::MAX;
            for (index, nan) in wrong {
                let index = index.index(logits.len());
                logits[index] = if nan { f32::NAN } else { f32::INFINITY };
                first = first.min(index);
            }
            let expected = Err(SampleError::NonFiniteLogits { index: first });
            prop_assert_eq!(Peak::of(&logits), expected);
        }
    }

    #[test]
    fn a_row_of_masks_has_no_peak() {
        for len in [1, 15, 16, 17, 2000] {
            let logits = vec![f32::NEG_INFINITY; len];
            assert_eq!(Peak::of(&logits), Err(SampleError::AllMasked));
        }
    }
}
