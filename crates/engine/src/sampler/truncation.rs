//! Which tokens may be drawn: min-p, top-k and top-p.

use super::nucleus::{self, Candidate};
use super::softmax::{ONE, Softmax};
use super::{SamplingParameters, rank};

/// Tokens whose weights are computed together.
const BLOCK: usize = 256;

/// Puts the tokens that the parameters leave, with their weights, into `candidates`, in no
/// particular order: min-p, then top-k, then top-p of what is left. The peak of `softmax` is among
/// `logits` and always stays.
pub(super) fn keep(
    logits: &[f32],
    softmax: Softmax,
    parameters: &SamplingParameters,
    keys: &mut Vec<u64>,
    candidates: &mut Vec<Candidate>,
) {
    let least = least_weight(parameters.min_p);
    candidates.clear();
    let total = if let Some(k) = parameters.effective_top_k(logits.len()) {
        // Min-p and top-k each keep the head of the same ranking, so their order does not matter,
        // and weights are needed of k tokens only.
        rank::best(logits, k, keys);
        let weighed = keys.iter().map(|&key| Candidate {
            key,
            weight: softmax.weight(rank::logit(key)),
        });
        candidates.extend(weighed.filter(|candidate| candidate.weight >= least));
        candidates.iter().map(|candidate| candidate.weight).sum()
    } else {
        likely(logits, softmax, least, parameters.top_p, candidates)
    };
    if parameters.top_p < 1.0 {
        nucleus::keep(candidates, nucleus::mass(parameters.top_p, total));
    }
}

/// The least weight that min-p keeps; weight 0 is no candidate.
fn least_weight(min_p: f32) -> u64 {
    ((f64::from(min_p) * ONE as f64).ceil() as u64).max(1)
}

/// Collects the tokens that weigh at least `least`, without most of those that cannot be in the
/// nucleus of `top_p`, and gives the weight of all, those left out included.
///
/// A nucleus leaves out at most `total − mass(total)`. Where all tokens up to a weight together
/// cannot exceed that, because even n times that weight does not, none of them is in the nucleus.
/// What has been added up so far, and the peak's weight, are at most the total, and the bound only
/// rises with it: so one pass is enough.
fn likely(
    logits: &[f32],
    softmax: Softmax,
    least: u64,
    top_p: f32,
    candidates: &mut Vec<Candidate>,
) -> u64 {
    let tokens = logits.len() as u64;
    let mut total = 0;
    let mut weights = [0; BLOCK];
    for (index, block) in logits.chunks(BLOCK).enumerate() {
        for (weight, &logit) in weights.iter_mut().zip(block) {
            *weight = softmax.weight(logit);
        }
        let weights = &weights[..block.len()];
        total += if least > 1 {
            weights.iter().filter(|weight| **weight >= least).sum()
        } else {
            weights.iter().sum::<u64>()
        };
        let known = total.max(ONE);
        let out = known.saturating_sub(nucleus::mass(top_p, known)) / tokens;
        let floor = least.max(out + 1);
        let start = index * BLOCK;
        for (offset, (&weight, &logit)) in weights.iter().zip(block).enumerate() {
            if weight >= floor {
                let key = rank::key(logit, (start + offset) as u32);
                candidates.push(Candidate { key, weight });
            }
        }
    }
    total
}
