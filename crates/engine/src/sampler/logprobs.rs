//! Log probabilities to report.

use super::peak::Peak;
use super::softmax::{ONE, Softmax};
use super::{SampleError, rank};

/// Log probabilities at one position: natural logarithms, under the softmax of the logits as the
/// model gave them, before bias, penalties, temperature and truncations (vLLM's `raw_logprobs`).
/// Accurate to a few parts in 10⁷.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// Of the chosen token.
    pub logprob: f32,
    /// The most likely tokens, best first, equal ones by id: as many as asked for, or as are
    /// possible at all. The chosen one may be among them or not.
    pub top: Vec<TopLogprob>,
}

/// One of the most likely tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopLogprob {
    /// The token.
    pub id: u32,
    /// The natural logarithm of its probability.
    pub logprob: f32,
}

impl TokenLogprobs {
    pub(super) fn of(
        logits: &[f32],
        chosen: u32,
        top: u32,
        keys: &mut Vec<u64>,
    ) -> Result<Self, SampleError> {
        let unknown = SampleError::UnknownToken {
            id: chosen,
            vocabulary: logits.len(),
        };
        let index = usize::try_from(chosen).map_err(|_| unknown)?;
        let logit = *logits.get(index).ok_or(unknown)?;
        let peak = f64::from(Peak::of(logits)?.logit);
        let total = Softmax::new(peak as f32, 1.0).total(logits);
        let log_total = libm::log(total as f64 / ONE as f64);
        let logprob = |logit: f32| (f64::from(logit) - peak - log_total) as f32;
        rank::best(logits, top as usize, keys);
        keys.sort_unstable();
        let top = keys.iter().map(|&key| TopLogprob {
            id: rank::id(key),
            logprob: logprob(rank::logit(key)),
        });
        Ok(Self {
            logprob: logprob(logit),
            top: top.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_the_log_softmax() {
        let logits = [1.0, 3.0, f32::NEG_INFINITY, -2.0, 3.0];
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        let found = TokenLogprobs::of(&logits, 3, 4, &mut Vec::new()).unwrap();
        assert!((f64::from(found.logprob) - (-2.0 - sum.ln())).abs() < 1e-6);
        let ids: Vec<_> = found.top.iter().map(|top| top.id).collect();
        assert_eq!(ids, [1, 4, 0, 3]);
        for top in found.top {
            let exact = f64::from(logits[top.id as usize]) - sum.ln();
            assert!((f64::from(top.logprob) - exact).abs() < 1e-6);
        }
    }

    #[test]
    fn none_at_the_top_may_be_asked_for_and_a_masked_token_is_not_among_them() {
        let logits = [0.0, f32::NEG_INFINITY];
        let none = TokenLogprobs::of(&logits, 0, 0, &mut Vec::new()).unwrap();
        assert_eq!((none.logprob, none.top.len()), (0.0, 0));
        let all = TokenLogprobs::of(&logits, 0, 20, &mut Vec::new()).unwrap();
        assert_eq!(all.top.len(), 1);
    }

    #[test]
    fn a_token_outside_the_row_is_refused() {
        let expected = SampleError::UnknownToken {
            id: 2,
            vocabulary: 2,
        };
        assert_eq!(
            TokenLogprobs::of(&[0.0, 1.0], 2, 0, &mut Vec::new()),
            Err(expected)
        );
    }
}
