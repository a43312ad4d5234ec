//! What is done to values one by one between products, for processors with AVX2 and FMA, or NEON.
//!
//! As in [`crate::attention`], it is plain Rust over arrays, compiled for these instructions, and the same
//! text compiled for any processor is the safe twin that the tests compare it with.

#![allow(unsafe_code)]

use crate::simd::{Level, Simd};
use crate::workers::for_each_of;

/// Squares that are added up side by side.
const LANES: usize = 16;
/// Values that are worked on before other threads are awake.
const WORTH_A_THREAD: usize = 1 << 15;
/// Values that a thread takes at once.
const TASK: usize = 1 << 14;

impl Simd {
    /// `x / sqrt(mean(x²) + eps) · gain` in place.
    #[allow(
        unused_unsafe,
        reason = "for other processors there is nothing to vouch for"
    )]
    pub(crate) fn normalise(self, x: &mut [f32], gains: &[f32], eps: f32) {
        #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
        fn vectorised(x: &mut [f32], gains: &[f32], eps: f32) {
            normalise(x, gains, eps);
        }
        match self.level() {
            Level::Portable => normalise(x, gains, eps),
            // SAFETY: the processor has the instructions, or there would be no such `Simd`.
            #[allow(unreachable_patterns, reason = "where there are no other levels")]
            _ => unsafe { vectorised(x, gains, eps) },
        }
    }

    /// `silu(gate) · up` of a row `[gate, up]`, each as long as `out`.
    #[allow(
        unused_unsafe,
        reason = "for other processors there is nothing to vouch for"
    )]
    pub(crate) fn gate(self, gate_up: &[f32], out: &mut [f32]) {
        #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
        fn vectorised(gate_up: &[f32], out: &mut [f32]) {
            gate(gate_up, out);
        }
        match self.level() {
            Level::Portable => gate(gate_up, out),
            // SAFETY: the processor has the instructions, or there would be no such `Simd`.
            #[allow(unreachable_patterns, reason = "where there are no other levels")]
            _ => unsafe { vectorised(gate_up, out) },
        }
    }
}

/// Calls `work` with each row and its number, on several threads if there are many.
pub(crate) fn for_each_row(
    rows: &mut [f32],
    width: usize,
    work: &(dyn Fn(usize, &mut [f32]) + Sync),
) {
    let width = width.max(1);
    let several = |first: usize, rows: &mut [f32]| {
        for (number, row) in rows.chunks_exact_mut(width).enumerate() {
            work(first + number, row);
        }
    };
    if rows.len() < WORTH_A_THREAD {
        return several(0, rows);
    }
    let at_once = (TASK / width).max(1);
    let tasks = rows.chunks_mut(at_once * width).enumerate();
    for_each_of(tasks, &|(task, rows)| several(task * at_once, rows));
}

#[inline(always)]
fn normalise(x: &mut [f32], gains: &[f32], eps: f32) {
    let mut lanes = [0.0; LANES];
    let (vectors, rest) = x.as_chunks::<LANES>();
    for vector in vectors {
        for (lane, x) in lanes.iter_mut().zip(vector) {
            *lane = x.mul_add(*x, *lane);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = x.mul_add(*x, *lane);
    }
    let squares: f32 = lanes.iter().sum();
    let inverse = 1.0 / (squares / x.len() as f32 + eps).sqrt();
    for (x, gain) in x.iter_mut().zip(gains) {
        *x = *x * inverse * gain;
    }
}

#[inline(always)]
fn gate(gate_up: &[f32], out: &mut [f32]) {
    let (gates, ups) = gate_up.split_at(out.len());
    for ((out, gate), up) in out.iter_mut().zip(gates).zip(ups) {
        // One of both signs is at most 1, so that nothing overflows.
        let small = exp(-gate.abs());
        let numerator = if *gate < 0.0 { small } else { 1.0 };
        *out = gate * (numerator / (1.0 + small)) * up;
    }
}

/// eˣ for x ≤ 0 within two units in the last place, 0 below e⁻⁸⁷, NaN for NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
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

    fn values(count: usize, factor: f32) -> Vec<f32> {
        let value = |i: usize| ((i * 7919 + 13) % 1009) as f32 / 504.0 - 1.0;
        (0..count).map(|i| value(i) * factor).collect()
    }

    #[test]
    fn a_normalised_row_is_as_the_formula_says() {
        for count in [1, 7, LANES, 64, 577] {
            for factor in [1e-6, 1.0, 24_000.0] {
                let (x, gains) = (values(count, factor), values(count, 2.0));
                let square = |x: &f32| f64::from(*x).powi(2);
                let mean = x.iter().map(square).sum::<f64>() / count as f64;
                let mut found = x.clone();
                normalise(&mut found, &gains, 1e-5);
                for ((x, gain), found) in x.iter().zip(&gains).zip(&found) {
                    let expected = f64::from(*x) / (mean + 1e-5).sqrt() * f64::from(*gain);
                    assert!((f64::from(*found) - expected).abs() <= 1e-6 * expected.abs());
                }
                for simd in Simd::available() {
                    let mut vectorised = x.clone();
                    simd.normalise(&mut vectorised, &gains, 1e-5);
                    assert_eq!(vectorised, found, "{count}");
                }
            }
        }
    }

    #[test]
    fn a_gated_row_is_as_the_formula_says() {
        for factor in [1e-6, 1.0, 30.0, 1e6] {
            let x = values(2 * 133, factor);
            let mut found = vec![0.0; 133];
            gate(&x, &mut found);
            for (i, found) in found.iter().enumerate() {
                let (gate, up) = (f64::from(x[i]), f64::from(x[133 + i]));
                let expected = gate / (1.0 + (-gate).exp()) * up;
                let error = (f64::from(*found) - expected).abs();
                assert!(error <= 1e-6 * expected.abs() + 1e-25, "{gate}: {found}");
            }
            for simd in Simd::available() {
                let mut vectorised = vec![0.0; 133];
                simd.gate(&x, &mut vectorised);
                assert_eq!(vectorised, found);
            }
        }
        let mut found = [0.0; 2];
        gate(&[f32::NAN, 1.0, 1.0, f32::NAN], &mut found);
        assert!(found.iter().all(|v| v.is_nan()));
    }

    #[test]
    fn every_row_comes_once_with_its_number() {
        for rows in [0, 1, 5, 3000] {
            let mut all = vec![0.0; rows * 24];
            for_each_row(&mut all, 24, &|number, row| {
                row.iter_mut().for_each(|value| *value += number as f32);
            });
            let expected = (0..rows).flat_map(|row| [row as f32; 24]);
            assert!(all.into_iter().eq(expected), "{rows}");
        }
    }
}
