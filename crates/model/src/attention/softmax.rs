//! Softmax over blocks of positions that are met one after the other (arXiv 1805.02867): each row
//! keeps its greatest score, the sum of its weights against that, and the weighted values.

use crate::elementwise::exp;

/// Values of a vector.
pub(crate) const LANES: usize = 8;

/// What rows have gathered from some positions.
#[derive(Debug, Clone, Default)]
pub(super) struct Sums {
    /// A row's greatest score: −∞ before the first.
    pub(super) greatest: Vec<f32>,
    /// Its weights' sum, each `exp(score − greatest)`.
    pub(super) weights: Vec<f32>,
    /// Its values' weighted sum, `[rows, width]`.
    pub(super) values: Vec<f32>,
}

impl Sums {
    /// Makes it one of no positions.
    pub(super) fn clear(&mut self, rows: usize, width: usize) {
        self.fit(rows, width);
        self.greatest.fill(f32::NEG_INFINITY);
        self.weights.fill(0.0);
        self.values.fill(0.0);
    }

    /// Makes it one of so many rows, which have whatever is there.
    pub(super) fn fit(&mut self, rows: usize, width: usize) {
        self.greatest.resize(rows, f32::NEG_INFINITY);
        self.weights.resize(rows, 0.0);
        self.values.resize(rows * width, 0.0);
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

#[cfg(test)]
mod tests {
    use super::*;

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
