//! Cutting a set of weighted tokens where their weight reaches a mass: once by rank for top-p, once
//! by id for the draw.

use super::{draw, rank};

/// Ranges up to this length are sorted rather than split.
const SMALL: usize = 64;
/// Probabilities as integers: this is 1. Every f32 of at least 2⁻³⁸ converts without rounding.
const PROBABILITY_BITS: u32 = 62;

/// A token that may be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Where it ranks and which it is: see [`rank::key`].
    pub(super) key: u64,
    /// Its share, not 0: see [`Softmax::weight`](super::softmax::Softmax::weight).
    pub(super) weight: u64,
}

impl Candidate {
    /// The token.
    pub(super) fn id(&self) -> u32 {
        rank::id(self.key)
    }
}

/// The mass that the tokens of a nucleus must reach: ⌈top_p · total⌉, at least 1. Integer
/// arithmetic, so that `total` minus it never falls as `total` rises.
pub(super) fn mass(top_p: f32, total: u64) -> u64 {
    let one = (1_u64 << PROBABILITY_BITS) as f64;
    let probability = (f64::from(top_p) * one) as u64;
    let product = u128::from(probability) * u128::from(total);
    let mass = product.div_ceil(1 << PROBABILITY_BITS) as u64;
    mass.clamp(1, total.max(1))
}

/// Top-p: keeps the fewest most likely candidates that together reach `mass`, the one that crosses
/// it included.
pub(super) fn keep(candidates: &mut Vec<Candidate>, mass: u64) {
    let kept = cut(candidates, mass, |candidate| candidate.key);
    candidates.truncate(kept);
}

/// Draws one of the candidates, laid out by id; `bits` as of [`draw::bits`]. `None` when there are
/// none.
pub(super) fn choose(candidates: &mut [Candidate], bits: u64) -> Option<u32> {
    let total = candidates.iter().map(|candidate| candidate.weight).sum();
    let mass = draw::scaled(bits, total) + 1;
    let last = cut(candidates, mass, Candidate::id).checked_sub(1)?;
    candidates.get(last).map(Candidate::id)
}

/// Reorders candidates such that the first n, n being the result, are the fewest with the lowest
/// keys whose weights reach `mass`, the highest of them last. All of them, where they do not.
///
/// A quickselect that follows the mass: linear time, because each half is looked at once.
fn cut<K: Ord>(
    candidates: &mut [Candidate],
    mass: u64,
    key: impl Fn(&Candidate) -> K + Copy,
) -> usize {
    let (mut start, mut end) = (0, candidates.len());
    let mut missing = mass;
    while end - start > SMALL {
        let range = &mut candidates[start..end];
        let middle = range.len() / 2;
        let (low, _, _) = range.select_nth_unstable_by_key(middle, key);
        let weight: u64 = low.iter().map(|candidate| candidate.weight).sum();
        if weight >= missing {
            end = start + middle;
        } else {
            missing -= weight;
            start += middle;
        }
    }
    let range = &mut candidates[start..end];
    range.sort_unstable_by_key(key);
    for (offset, candidate) in range.iter().enumerate() {
        if candidate.weight >= missing {
            return start + offset + 1;
        }
        missing -= candidate.weight;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        prop::collection::vec((-40_i8..40, 1_u64..50), 1..1000).prop_map(|entries| {
            let numbered = (0_u32..).zip(entries);
            numbered
                .map(|(id, (logit, weight))| Candidate {
                    key: rank::key(f32::from(logit), id),
                    weight,
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn a_nucleus_is_the_shortest_prefix_of_a_full_sort(
            candidates in candidates(),
            top_p in 0.001_f32..1.0,
        ) {
            let total = candidates.iter().map(|candidate| candidate.weight).sum();
            let mass = mass(top_p, total);
            let mut sorted = candidates.clone();
            sorted.sort_by_key(|candidate| candidate.key);
            let mut reached = 0;
            let mut expected = Vec::new();
            for candidate in sorted {
                if reached >= mass {
                    break;
                }
                reached += candidate.weight;
                expected.push(candidate);
            }
            let mut kept = candidates;
            keep(&mut kept, mass);
            kept.sort_by_key(|candidate| candidate.key);
            prop_assert_eq!(kept, expected);
        }

        #[test]
        fn a_draw_is_the_token_at_its_place_in_id_order(
            candidates in candidates(),
            bits in 0_u64..1 << draw::BITS,
        ) {
            let total = candidates.iter().map(|candidate| candidate.weight).sum();
            let mut left = draw::scaled(bits, total);
            let mut expected = None;
            for candidate in &candidates {
                if left < candidate.weight {
                    expected = Some(candidate.id());
                    break;
                }
                left -= candidate.weight;
            }
            let mut ranked = candidates;
            ranked.sort_by_key(|candidate| candidate.key);
            prop_assert_eq!(choose(&mut ranked, bits), expected);
        }

        #[test]
        fn the_mass_outside_a_nucleus_never_falls_as_the_total_rises(
            top_p in 0_f32..=1.0,
            total in 0_u64..1 << 62,
            more in 0_u64..1 << 12,
        ) {
            let outside = |total| total - mass(top_p, total).min(total);
            prop_assert!(outside(total) <= outside(total + more));
        }
    }

    #[test]
    fn a_mass_is_exact_at_its_ends() {
        assert_eq!(mass(1.0, 1 << 62), 1 << 62);
        assert_eq!(mass(0.5, 10), 5);
        assert_eq!(mass(0.5, 11), 6);
        assert_eq!(mass(f32::from_bits(1), 1 << 62), 1);
        assert_eq!(mass(f32::NAN, 100), 1);
    }

    #[test]
    fn nothing_is_drawn_from_nothing() {
        assert_eq!(choose(&mut [], 0), None);
    }
}
