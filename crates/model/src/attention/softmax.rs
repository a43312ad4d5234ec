//! Softmax over blocks of positions that are met one after the other (arXiv 1805.02867): each row
//! keeps its greatest score, the sum of its weights against that, and the weighted values.

/// Values of a vector.
pub(super) const LANES: usize = 8;

/// What rows have gathered from some positions.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    /// A row's greatest score: −∞ before the first.
    pub(super) greatest: Vec<f32>,
    /// Its weights' sum, each `exp(score − greatest)`.
    pub(super) weights: Vec<f32>,
    /// Its values' weighted sum, `[rows, width]`.
    pub(super) values: Vec<f32>,
}

impl Sums {
    /// Of no positions.
    pub(super) fn nothing(rows: usize, width: usize) -> Self {
        Self {
            greatest: vec![f32::NEG_INFINITY; rows],
            weights: vec![0.0; rows],
            values: vec![0.0; rows * width],
        }
    }

    /// Adds what the rows from `first` on have gathered from further positions.
    #[inline(always)]
    pub(super) fn add(&mut self, further: &Self, first: usize) {
        let rows = self.greatest.len();
        let width = self.values.len() / rows.max(1);
        for row in first..rows {
            let (old, new) = (self.greatest[row], further.greatest[row]);
            let greatest = if new > old { new } else { old };
            let (keep, add) = (exp(old - greatest), exp(new - greatest));
            self.greatest[row] = greatest;
            self.weights[row] = self.weights[row] * keep + further.weights[row] * add;
            let values = self.values[row * width..][..width].iter_mut();
            for (value, further) in values.zip(&further.values[row * width..][..width]) {
                *value = *value * keep + further * add;
            }
        }
    }
}

/// Makes weights of a row's scores: `exp(score − greatest)` for the first `visible` ones and 0 for
/// the others. Returns the greatest score and the weights' sum. Whole pairs of vectors of scores.
#[inline(always)]
pub(super) fn soften(scores: &mut [f32], visible: usize) -> (f32, f32) {
    scores[visible..].fill(f32::NEG_INFINITY);
    let vectors = scores.as_chunks_mut::<{ 2 * LANES }>().0;
    let mut lanes = [f32::NEG_INFINITY; 2 * LANES];
    for vector in vectors.iter() {
        for (lane, score) in lanes.iter_mut().zip(vector) {
            *lane = if *score > *lane { *score } else { *lane };
        }
    }
    let mut greatest = f32::NEG_INFINITY;
    for lane in lanes {
        greatest = if lane > greatest { lane } else { greatest };
    }
    let mut sums = [0.0; 2 * LANES];
    for vector in vectors {
        for (sum, score) in sums.iter_mut().zip(vector) {
            *score = exp(*score - greatest);
            *sum += *score;
        }
    }
    (greatest, sums.iter().sum())
}

/// eˣ for x ≤ 0 within two units in the last place, 0 below e⁻⁸⁷, NaN for NaN.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Rounds to an integer, which is then in the lowest bits.
    const SHIFT: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first with zeros at its end, so that its multiples are exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    const LEAST: f32 = -87.0;
    let shifted = x.mul_add(std::f32::consts::LOG2_E, SHIFT);
    let whole = shifted - SHIFT;
    let rest = whole.mul_add(-LN_2[1], whole.mul_add(-LN_2[0], x));
    let mut series = 1.0 / 720.0;
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = rest.mul_add(series, coefficient);
    }
    // 2 to the power of `whole`, as the bits of a float.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < LEAST { 0.0 } else { series * power }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exp() {
        for step in 0..=870_000 {
            let x = -(step as f32) / 10_000.0;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 2.5e-7, "{x}: {error}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn what_is_not_visible_has_no_weight() {
        let mut scores = [f32::NAN; 16];
        scores[..3].copy_from_slice(&[1.0, 3.0, 2.0]);
        let (greatest, sum) = soften(&mut scores, 3);
        assert_eq!(greatest, 3.0);
        assert!((sum - (1.0 + (-2f32).exp() + (-1f32).exp())).abs() < 1e-6);
        assert_eq!(scores[3..], [0.0; 13]);
    }
}
