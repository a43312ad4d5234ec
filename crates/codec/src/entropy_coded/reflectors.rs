//! An orthogonal transform in a few reflections (Householder 1958).
//!
//! `y = H_r … H_2 H_1 x` with `H = I − 2 v vᵀ / (vᵀ v)`. r reflections can turn any r directions
//! into axes, the principal ones of a cut's rows, and leave the rest nearly as it is; each costs
//! 2 · hidden multiply-adds. However coarsely the vectors are stored, the transform stays
//! orthogonal: it neither amplifies the quantiser's error nor needs an inverse of its own.

use super::reflection::Pair;

/// Vectors, applied in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reflectors {
    hidden: usize,
    count: usize,
    /// `[count, hidden]`, and one of zeros behind an odd number. Only directions matter, so integers
    /// do, and are half as much to read as floats.
    vectors: Vec<i16>,
    /// 2 / (vᵀ v) of each.
    factors: Vec<f32>,
    /// The product of each pair.
    products: Vec<f32>,
}

impl Reflectors {
    /// Reflectors by rows of `vectors`, `[count, hidden]`. `None` when one is zero.
    pub(crate) fn new(hidden: usize, mut vectors: Vec<i16>) -> Option<Self> {
        let hidden = hidden.max(1);
        let mut factors = vectors
            .chunks(hidden)
            .map(|v| match dot(v, v) {
                0 => None,
                square => Some((2.0 / square as f64) as f32),
            })
            .collect::<Option<Vec<_>>>()?;
        let count = factors.len();
        vectors.resize(count.next_multiple_of(2) * hidden, 0);
        factors.resize(count.next_multiple_of(2), 0.0);
        let pairs = vectors.chunks(2 * hidden).map(|p| p.split_at(hidden));
        Some(Self {
            hidden,
            count,
            products: pairs.map(|(v, w)| dot(v, w) as f32).collect(),
            factors,
            vectors,
        })
    }

    /// The vectors, one after the other.
    pub(crate) fn vectors(&self) -> &[i16] {
        &self.vectors[..self.count * self.hidden]
    }

    /// Number of reflections.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Transforms a row in place.
    pub(crate) fn forward(&self, row: &mut [f32]) {
        for pair in 0..self.products.len() {
            self.pair(pair, [0, 1]).reflect(row);
        }
    }

    /// Transforms it back.
    pub(crate) fn backward(&self, row: &mut [f32]) {
        for pair in (0..self.products.len()).rev() {
            self.pair(pair, [1, 0]).reflect(row);
        }
    }

    fn pair(&self, pair: usize, order: [usize; 2]) -> Pair<'_> {
        let numbers = order.map(|n| 2 * pair + n);
        Pair {
            vectors: numbers.map(|n| &self.vectors[n * self.hidden..][..self.hidden]),
            factors: numbers.map(|n| self.factors[n]),
            product: self.products[pair],
        }
    }
}

/// Exact: 2¹⁶ products of 31 bits.
fn dot(a: &[i16], b: &[i16]) -> i64 {
    let products = a.iter().zip(b).map(|(&a, &b)| i64::from(a) * i64::from(b));
    products.sum()
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
            let scaled = seed[..count * hidden].iter().map(|v| (v * 32_767.0) as i16 | 1);
            let vectors = scaled.collect();
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
        assert!(Reflectors::new(2, vec![1, 0, 0, 0]).is_none());
        assert_eq!(Reflectors::new(2, vec![]).unwrap().count(), 0);
    }
}
