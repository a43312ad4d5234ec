//! An orthogonal transform in a few reflections (Householder 1958).
//!
//! `y = H_r … H_2 H_1 x` with `H = I − 2 v vᵀ / (vᵀ v)`. r reflections can turn any r directions
//! into axes, the principal ones of a cut's rows, and leave the rest nearly as it is; each costs
//! 2 · hidden multiply-adds. However coarsely the vectors are stored, the transform stays
//! orthogonal: it neither amplifies the quantiser's error nor needs an inverse of its own.

/// Vectors, applied in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reflectors {
    hidden: usize,
    /// `[count, hidden]`, as they were given: a profile is written as it was read.
    vectors: Vec<f32>,
    /// 2 / (vᵀ v) of each.
    factors: Vec<f32>,
}

impl Reflectors {
    /// Reflectors by rows of `vectors`, `[count, hidden]`. `None` when one is zero or not finite.
    pub(crate) fn new(hidden: usize, vectors: Vec<f32>) -> Option<Self> {
        let factor = |vector: &[f32]| {
            let square: f64 = vector.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
            let factor = (2.0 / square) as f32;
            (square > 0.0 && factor > 0.0 && factor.is_finite()).then_some(factor)
        };
        let factors = vectors.chunks(hidden.max(1)).map(factor);
        Some(Self {
            hidden,
            factors: factors.collect::<Option<_>>()?,
            vectors,
        })
    }

    /// The vectors, one after the other.
    pub(crate) fn vectors(&self) -> &[f32] {
        &self.vectors
    }

    /// Number of reflections.
    pub(crate) fn count(&self) -> usize {
        self.factors.len()
    }

    /// Transforms a row in place.
    pub(crate) fn forward(&self, row: &mut [f32]) {
        let vectors = self.vectors.chunks_exact(self.hidden.max(1));
        for (vector, factor) in vectors.zip(&self.factors) {
            reflect(vector, *factor, row);
        }
    }

    /// Transforms it back.
    pub(crate) fn backward(&self, row: &mut [f32]) {
        let vectors = self.vectors.chunks_exact(self.hidden.max(1));
        for (vector, factor) in vectors.zip(&self.factors).rev() {
            reflect(vector, *factor, row);
        }
    }
}

fn reflect(vector: &[f32], factor: f32, row: &mut [f32]) {
    let along = factor * dot(vector, row);
    for (value, v) in row.iter_mut().zip(vector) {
        *value -= along * v;
    }
}

/// In 16 sums, so that the compiler can use vectors.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_row_comes_back_and_keeps_its_length(
            hidden in 1usize..70, count in 0usize..5, seed in prop::collection::vec(-1f32..1.0, 420),
        ) {
            let mut vectors = seed[..count * hidden].to_vec();
            vectors.iter_mut().for_each(|v| *v += 0.01 * v.signum() + 1e-6);
            let reflectors = Reflectors::new(hidden, vectors).unwrap();
            let row = &seed[420 - hidden..];
            let mut there = row.to_vec();
            reflectors.forward(&mut there);
            let length = |row: &[f32]| row.iter().map(|v| v * v).sum::<f32>().sqrt();
            prop_assert!((length(&there) - length(row)).abs() < 1e-4);
            reflectors.backward(&mut there);
            for (a, b) in there.iter().zip(row) {
                prop_assert!((a - b).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn a_vector_of_zeros_is_none() {
        assert!(Reflectors::new(2, vec![1.0, 0.0, 0.0, 0.0]).is_none());
        assert!(Reflectors::new(2, vec![f32::NAN, 0.0]).is_none());
        assert_eq!(Reflectors::new(2, vec![]).unwrap().count(), 0);
    }
}
