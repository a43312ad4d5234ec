//! Two reflections of a row, one after the other, in one pass over it.
//!
//! `H₂ H₁ x = x − a₁ v₁ − a₂ v₂` with `a₁ = f₁ (v₁ · x)` and `a₂ = f₂ (v₂ · x − a₁ (v₁ · v₂))`: both
//! products are of the row as it was, which is so read and written half as often.

#![allow(unsafe_code)]

/// Two vectors `[hidden]`, the first to be applied first.
pub(super) struct Pair<'a> {
    pub(super) vectors: [&'a [i16]; 2],
    /// 2 / (vᵀ v) of each.
    pub(super) factors: [f32; 2],
    /// v₁ · v₂.
    pub(super) product: f32,
}

/// Sums that a product is made in: as many as keep the adders of a wide machine busy.
const LANES: usize = 32;

impl Pair<'_> {
    /// Reflects a row by both. The same to the bit whatever the processor: sums have one order, and
    /// nothing is fused.
    pub(super) fn reflect(&self, row: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the instructions.
            unsafe { avx2::reflect(self, row) }
            return;
        }
        self.reflect_plainly(row);
    }

    fn reflect_plainly(&self, row: &mut [f32]) {
        let sums = self.vectors.map(|vector| {
            let mut sums = [0.0f32; LANES];
            for (v, r) in vector.as_chunks().0.iter().zip(row.as_chunks().0) {
                let (v, r): (&[i16; LANES], &[f32; LANES]) = (v, r);
                for lane in 0..LANES {
                    sums[lane] += f32::from(v[lane]) * r[lane];
                }
            }
            sums
        });
        let along = self.along(&sums, row);
        self.subtract(along, row, 0);
    }

    /// a₁ and a₂, of the sums over whole chunks of a row.
    #[inline]
    fn along(&self, sums: &[[f32; LANES]; 2], row: &[f32]) -> [f32; 2] {
        let whole = row.len() / LANES * LANES;
        let dot = |number: usize| {
            let rest = self.vectors[number][whole..].iter().zip(&row[whole..]);
            sums[number].iter().sum::<f32>() + rest.map(|(&v, r)| f32::from(v) * r).sum::<f32>()
        };
        let first = self.factors[0] * dot(0);
        [first, self.factors[1] * (dot(1) - first * self.product)]
    }

    /// Takes a₁ v₁ and a₂ v₂ off a row from `from` on.
    #[inline]
    fn subtract(&self, along: [f32; 2], row: &mut [f32], from: usize) {
        let vectors = self.vectors[0][from..].iter().zip(&self.vectors[1][from..]);
        for (value, (&v, &w)) in row[from..].iter_mut().zip(vectors) {
            *value = *value - along[0] * f32::from(v) - along[1] * f32::from(w);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{LANES, Pair};
    use std::arch::x86_64::{
        __m256, _mm_loadu_si128, _mm256_add_ps, _mm256_cvtepi16_epi32, _mm256_cvtepi32_ps,
        _mm256_loadu_ps, _mm256_mul_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
        _mm256_sub_ps,
    };

    /// Values of a vector.
    const WIDTH: usize = 8;

    #[target_feature(enable = "avx2")]
    pub(super) fn reflect(pair: &Pair<'_>, row: &mut [f32]) {
        let along = pair.along(&products(pair, row), row);
        let [a, b] = along.map(|a| _mm256_set1_ps(a));
        let [v, w] = pair.vectors.map(|v| v.as_chunks().0);
        for ((values, v), w) in row.as_chunks_mut().0.iter_mut().zip(v).zip(w) {
            let less = _mm256_sub_ps(load(values), _mm256_mul_ps(a, widen(v)));
            store(values, _mm256_sub_ps(less, _mm256_mul_ps(b, widen(w))));
        }
        let whole = row.len() / WIDTH * WIDTH;
        pair.subtract(along, row, whole);
    }

    #[target_feature(enable = "avx2")]
    fn products(pair: &Pair<'_>, row: &[f32]) -> [[f32; LANES]; 2] {
        let mut sums = [[_mm256_setzero_ps(); LANES / WIDTH]; 2];
        let [v, w] = pair.vectors.map(|v| v.as_chunks::<LANES>().0);
        for ((values, v), w) in row.as_chunks::<LANES>().0.iter().zip(v).zip(w) {
            let (values, v, w) = (values.as_chunks().0, v.as_chunks().0, w.as_chunks().0);
            for part in 0..LANES / WIDTH {
                let value = load(&values[part]);
                let products = [&v[part], &w[part]].map(|v| _mm256_mul_ps(widen(v), value));
                for (sums, product) in sums.iter_mut().zip(products) {
                    sums[part] = _mm256_add_ps(sums[part], product);
                }
            }
        }
        let mut all = [[0.0; LANES]; 2];
        for (all, sums) in all.iter_mut().zip(sums) {
            let places = all.as_chunks_mut().0.iter_mut();
            places.zip(sums).for_each(|(place, sum)| store(place, sum));
        }
        all
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn widen(vector: &[i16; WIDTH]) -> __m256 {
        // SAFETY: as many bytes as are read.
        let vector = unsafe { _mm_loadu_si128(vector.as_ptr().cast()) };
        _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(vector))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(values: &[f32; WIDTH]) -> __m256 {
        // SAFETY: as many values as are read.
        unsafe { _mm256_loadu_ps(values.as_ptr()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(values: &mut [f32; WIDTH], vector: __m256) {
        // SAFETY: as many values as are written.
        unsafe { _mm256_storeu_ps(values.as_mut_ptr(), vector) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_are_the_same_on_every_processor(
            seed in prop::collection::vec((any::<i16>(), any::<i16>(), -1e3f32..1e3), 1..200),
        ) {
            let first: Vec<i16> = seed.iter().map(|s| s.0).collect();
            let second: Vec<i16> = seed.iter().map(|s| s.1).collect();
            let mut here: Vec<f32> = seed.iter().map(|s| s.2).collect();
            let mut plain = here.clone();
            let pair = Pair {
                vectors: [&first, &second],
                factors: [1e-9, 2e-9],
                product: 1e8,
            };
            pair.reflect(&mut here);
            pair.reflect_plainly(&mut plain);
            prop_assert_eq!(here, plain);
        }
    }
}
