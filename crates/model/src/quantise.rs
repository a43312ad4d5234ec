//! Integers for weights.
//!
//! Four bits hold a group of weights as `scale · code + offset`, codes from 0 to 15. The usual choice,
//! the least weight for code 0 and the greatest for code 15, makes the step as wide as the two most
//! extreme weights want it. A narrower range clips these and serves all others better: several are
//! tried, each improved by least squares in turn with its codes (as in HQQ's and GGML's quantisers),
//! and the one of the least squared error stays. An error counts as much as the input that it is
//! multiplied with is large, which [`input_squares`] works out without any data.
//! Weights that lie on such a grid already are given back as they were, but for what rounding scale
//! and offset to 16 bits costs.

pub(crate) mod calibrator;
pub(crate) mod coded_row;
#[cfg(feature = "torch")]
mod gptq;
#[cfg(not(feature = "torch"))]
#[path = "quantise/without_gptq.rs"]
mod gptq;
pub(crate) mod input_squares;

use half::f16;

/// Codes of four bits.
pub(crate) const LAST_CODE: u8 = 15;

/// What a group's codes stand for: `scale · code + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Grid {
    pub(crate) scale: f16,
    pub(crate) offset: f16,
}

/// Shares of a group's range that are tried.
const RANGES: [f32; 7] = [1.0, 0.95, 0.9, 0.85, 0.8, 0.73, 0.66];
/// Rounds of least squares on each.
const ROUNDS: usize = 2;

/// The grid of a group and its codes, as many as weights, each of which is finite. `importance` has
/// what a squared error of each weight counts, or nothing where all count the same.
pub(crate) fn four_bits(weights: &[f32], importance: &[f32], codes: &mut [u8]) -> Grid {
    let (least, greatest) = weights
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &w| {
            (a.min(w), b.max(w))
        });
    let range = greatest - least;
    let flat = Grid {
        scale: f16::ZERO,
        offset: finite(least),
    };
    if !(range > 0.0 && range.is_finite()) {
        codes.fill(0);
        return flat;
    }
    let mut best = (f32::INFINITY, flat);
    for share in RANGES {
        let clipped = 0.5 * (1.0 - share) * range;
        let mut scale = (range - 2.0 * clipped) / f32::from(LAST_CODE);
        let mut offset = least + clipped;
        for round in 0..=ROUNDS {
            let grid = Grid {
                scale: finite(scale),
                offset: finite(offset),
            };
            let fit = Fit::of(weights, importance, grid);
            if fit.error < best.0 {
                best = (fit.error, grid);
            }
            if round < ROUNDS {
                (scale, offset) = fit.least_squares((scale, offset));
            }
        }
    }
    best.1.codes(weights, codes);
    best.1
}

impl Grid {
    /// The nearest code of each weight.
    pub(crate) fn codes(self, weights: &[f32], codes: &mut [u8]) {
        let (inverse, offset) = self.inverse();
        for (code, weight) in codes.iter_mut().zip(weights) {
            *code = nearest(*weight, inverse, offset) as u8;
        }
    }

    /// What a code stands for.
    pub(crate) fn weight(self, code: u8) -> f32 {
        f32::from(code).mul_add(self.scale.to_f32(), self.offset.to_f32())
    }

    fn inverse(self) -> (f32, f32) {
        match self.scale.to_f32() {
            0.0 => (0.0, self.offset.to_f32()),
            scale => (1.0 / scale, self.offset.to_f32()),
        }
    }
}

/// The nearest code, as a number.
#[inline]
fn nearest(weight: f32, inverse: f32, offset: f32) -> f32 {
    // Rounds to an integer: what is added leaves no bits for a fraction.
    const SHIFT: f32 = 8_388_608.0;
    ((weight - offset) * inverse).clamp(0.0, f32::from(LAST_CODE)) + SHIFT - SHIFT
}

/// How codes fit their weights: sums over a group, each term times its importance.
struct Fit {
    error: f32,
    importance: f32,
    codes: f32,
    squares: f32,
    weights: f32,
    products: f32,
}

impl Fit {
    fn of(weights: &[f32], importance: &[f32], grid: Grid) -> Self {
        const LANES: usize = 8;
        const ALIKE: [f32; LANES] = [1.0; LANES];
        let (inverse, offset) = grid.inverse();
        let scale = grid.scale.to_f32();
        let mut sums = [[0.0f32; LANES]; 6];
        let mut add = |lane: usize, weight: f32, importance: f32| {
            let code = nearest(weight, inverse, offset);
            let error = weight - (code * scale + offset);
            sums[0][lane] += importance * error * error;
            sums[1][lane] += importance;
            sums[2][lane] += importance * code;
            sums[3][lane] += importance * code * code;
            sums[4][lane] += importance * weight;
            sums[5][lane] += importance * code * weight;
        };
        let (parts, rest) = weights.as_chunks::<LANES>();
        let (importances, importance_rest) = importance.as_chunks::<LANES>();
        for (number, weights) in parts.iter().enumerate() {
            let importance = importances.get(number).unwrap_or(&ALIKE);
            for lane in 0..LANES {
                add(lane, weights[lane], importance[lane]);
            }
        }
        for (lane, &weight) in rest.iter().enumerate() {
            add(
                lane,
                weight,
                importance_rest.get(lane).copied().unwrap_or(1.0),
            );
        }
        let [error, importance, codes, squares, weights, products] =
            sums.map(|s| s.iter().sum::<f32>());
        Self {
            error,
            importance,
            codes,
            squares,
            weights,
            products,
        }
    }

    /// The scale and offset of least squared error for these codes; `as_before` where all codes are
    /// one.
    fn least_squares(&self, as_before: (f32, f32)) -> (f32, f32) {
        let all = self.importance;
        let spread = all * self.squares - self.codes * self.codes;
        if spread > 1e-4 * all * all {
            let scale = (all * self.products - self.codes * self.weights) / spread;
            (scale, (self.weights - scale * self.codes) / all)
        } else {
            as_before
        }
    }
}

/// The nearest binary16 that is finite.
fn finite(value: f32) -> f16 {
    f16::from_f32(value.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()))
}

/// The scale of an output's weights as 8-bit codes from −127 to 127, and these.
pub(crate) fn eight_bits(weights: &[f32], codes: &mut [i8]) -> f32 {
    let greatest = weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    let scale = greatest / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    for (code, weight) in codes.iter_mut().zip(weights) {
        *code = (weight * inverse).round().clamp(-127.0, 127.0) as i8;
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(weights: &[f32], grid: Grid, codes: &[u8]) -> f32 {
        let errors = weights.iter().zip(codes).map(|(w, &c)| w - grid.weight(c));
        errors.map(|e| e * e).sum()
    }

    fn min_max(weights: &[f32]) -> f32 {
        let least = weights.iter().copied().fold(f32::INFINITY, f32::min);
        let greatest = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let grid = Grid {
            scale: f16::from_f32((greatest - least) / 15.0),
            offset: f16::from_f32(least),
        };
        let mut codes = vec![0; weights.len()];
        grid.codes(weights, &mut codes);
        error(weights, grid, &codes)
    }

    proptest! {
        #[test]
        fn it_is_never_worse_than_the_range(weights in prop::collection::vec(-2f32..2.0, 1..130)) {
            let mut codes = vec![0; weights.len()];
            let grid = four_bits(&weights, &[], &mut codes);
            prop_assert!(codes.iter().all(|&c| c <= LAST_CODE));
            let found = error(&weights, grid, &codes);
            prop_assert!(found <= min_max(&weights) * 1.0001 + 1e-9);
        }

        #[test]
        fn what_lies_on_a_grid_stays_there(
            codes in prop::collection::vec(0u8..16, 32), scale in 1e-3f32..1.0, offset in -3f32..0.0,
        ) {
            let mut codes = codes;
            (codes[3], codes[17]) = (0, 15);
            let grid = Grid { scale: f16::from_f32(scale), offset: f16::from_f32(offset) };
            let weights: Vec<f32> = codes.iter().map(|&c| grid.weight(c)).collect();
            let mut found = vec![0; 32];
            let fitted = four_bits(&weights, &[], &mut found);
            prop_assert_eq!(&found, &codes);
            prop_assert!((fitted.scale.to_f32() / grid.scale.to_f32() - 1.0).abs() < 2e-3);
        }

        #[test]
        fn eight_bits_are_within_half_a_step(weights in prop::collection::vec(-2f32..2.0, 1..70)) {
            let mut codes = vec![0; weights.len()];
            let scale = eight_bits(&weights, &mut codes);
            for (w, &c) in weights.iter().zip(&codes) {
                prop_assert!((w - f32::from(c) * scale).abs() <= 0.501 * scale);
            }
        }
    }

    #[test]
    fn weights_that_are_all_one_are_kept() {
        for value in [0.0, 0.5, -3.0, 1e30] {
            let mut codes = [9; 40];
            let grid = four_bits(&[value; 40], &[], &mut codes);
            let kept = grid.weight(codes[0]);
            assert_eq!(kept, value.min(f16::MAX.to_f32()));
            let mut codes = [9; 40];
            let scale = eight_bits(&[value; 40], &mut codes);
            assert!((f32::from(codes[0]) * scale - value).abs() <= 1e-6 * value.abs());
        }
    }

    /// A tenth of the squared error, for weights as models have them.
    #[test]
    fn bell_shaped_weights_gain() {
        let mut state = 7u32;
        let mut uniform = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        let (mut found, mut plain) = (0.0, 0.0);
        for _ in 0..200 {
            let weights: Vec<f32> = (0..64)
                .map(|_| (0..8).map(|_| uniform()).sum::<f32>())
                .collect();
            let mut codes = vec![0; 64];
            let grid = four_bits(&weights, &[], &mut codes);
            found += error(&weights, grid, &codes);
            plain += min_max(&weights);
        }
        assert!(found < 0.9 * plain, "{found} of {plain}");
    }

    #[test]
    fn what_counts_more_is_nearer() {
        let importance: Vec<f32> = (0..64).map(|i| [1.0, 30.0][i % 2]).collect();
        let (mut found, mut plain) = (0.0, 0.0);
        for number in 0..50 {
            let weight = |i: usize| ((i * i + 7 * number) as f32 * 0.7).sin();
            let weights: Vec<f32> = (0..64).map(weight).collect();
            let cost = |importance_seen: &[f32]| {
                let mut codes = vec![0; 64];
                let grid = four_bits(&weights, importance_seen, &mut codes);
                let errors = weights.iter().zip(codes).map(|(w, c)| w - grid.weight(c));
                errors.zip(&importance).map(|(e, i)| i * e * e).sum::<f32>()
            };
            found += cost(&importance);
            plain += cost(&[]);
        }
        assert!(found < 0.98 * plain, "{found} {plain}");
    }
}
