//! Rows as 16-bit integers, to be multiplied with codes.

#![allow(unsafe_code)]

use super::codes::{QUAD, inputs_of_a_scale};
use crate::quantise::coded_row::CodeFormat;
#[cfg(target_arch = "x86_64")]
use crate::simd::Level;
use crate::simd::Simd;
use crate::workers::for_each_of;
use std::cell::RefCell;

/// The greatest integer. The sum of 128 products with 8 bits is below 2³¹ by far.
const GREATEST: f32 = 32767.0;
/// Values count as zeros where the greatest of a scale's is below this: the scale's inverse must be
/// finite.
const LEAST: f32 = 1e-30;
/// Values that are rounded before other threads are awake.
const WORTH_A_THREAD: usize = 1 << 15;
/// Values that a thread takes at once.
const TASK: usize = 1 << 13;

/// What the integers of one scale's inputs stand for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Scale {
    /// A value by its integer.
    pub(super) scale: f32,
    /// The sum of the values.
    pub(super) sum: f32,
}

/// Rows `[rows, inputs]` as `scale · integer`, with a scale for as many inputs as share one of the
/// weights', so that a sum over them is one of integers: exact, whatever its order. The integers
/// are off by at most 2⁻¹⁶ of the greatest value that shares their scale. Where a value is not
/// finite, scale and sum are no number.
pub(super) struct IntegerRows {
    /// `[rows, depth]`, filled up with zeros.
    values: Vec<i16>,
    /// `[rows, scales]`.
    scales: Vec<Scale>,
    /// Inputs, a multiple of [`QUAD`].
    depth: usize,
    scales_a_row: usize,
    inputs_a_scale: usize,
}

thread_local! {
    /// Memory of the last rows that this thread has given up.
    static SPARE: RefCell<(Vec<i16>, Vec<Scale>)> = RefCell::default();
}

impl IntegerRows {
    pub(super) fn new(
        simd: Simd,
        format: CodeFormat,
        x: &[f32],
        rows: usize,
        inputs: usize,
    ) -> Self {
        let inputs_a_scale = inputs_of_a_scale(format);
        let depth = inputs.next_multiple_of(QUAD);
        let scales_a_row = inputs.div_ceil(inputs_a_scale);
        let (mut values, mut scales) = SPARE.take();
        values.resize(rows * depth, 0);
        scales.resize(rows * scales_a_row, Scale::default());
        let mut all = Self {
            values,
            scales,
            depth,
            scales_a_row,
            inputs_a_scale,
        };
        if x.is_empty() {
            return all;
        }
        let round = |(x, (values, scales)): (&[f32], (&mut [i16], &mut [Scale]))| {
            let places = values.chunks_exact_mut(depth);
            let places = places.zip(scales.chunks_exact_mut(scales_a_row));
            for (x, (values, scales)) in x.chunks_exact(inputs).zip(places) {
                simd.round_row(x, values, scales, inputs_a_scale);
            }
        };
        if x.len() < WORTH_A_THREAD {
            round((x, (&mut all.values, &mut all.scales)));
        } else {
            let rows = (TASK / inputs).max(1);
            let places = all.values.chunks_mut(rows * depth);
            let places = places.zip(all.scales.chunks_mut(rows * scales_a_row));
            for_each_of(x.chunks(rows * inputs).zip(places), &round);
        }
        all
    }

    /// A row's integers from an input on, which is the first of a scale; a row is [`Self::depth`]
    /// before the next.
    pub(super) fn values(&self, row: usize, from: usize) -> &[i16] {
        &self.values[row * self.depth + from..]
    }

    /// A row's scales from the one of an input on; a row is [`Self::scales_a_row`] before the next.
    pub(super) fn scales(&self, row: usize, from: usize) -> &[Scale] {
        &self.scales[row * self.scales_a_row + from / self.inputs_a_scale..]
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    pub(super) fn scales_a_row(&self) -> usize {
        self.scales_a_row
    }
}

impl Drop for IntegerRows {
    fn drop(&mut self) {
        let spare = (
            std::mem::take(&mut self.values),
            std::mem::take(&mut self.scales),
        );
        SPARE.set(spare);
    }
}

impl Simd {
    /// The nearest integers to a row's values over their scales, and zeros behind them.
    fn round_row(
        self,
        x: &[f32],
        integers: &mut [i16],
        scales: &mut [Scale],
        inputs_a_scale: usize,
    ) {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx2")]
        fn wide(x: &[f32], integers: &mut [i16], scales: &mut [Scale], inputs_a_scale: usize) {
            round_row(x, integers, scales, inputs_a_scale);
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        fn vectorised(
            x: &[f32],
            integers: &mut [i16],
            scales: &mut [Scale],
            inputs_a_scale: usize,
        ) {
            round_row(x, integers, scales, inputs_a_scale);
        }
        match self.level() {
            // SAFETY: the processor has the instructions, or there would be no such `Simd`.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Vnni => unsafe { wide(x, integers, scales, inputs_a_scale) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 | Level::Avx2 => unsafe {
                vectorised(x, integers, scales, inputs_a_scale);
            },
            // The compiler uses NEON by itself.
            _ => round_row(x, integers, scales, inputs_a_scale),
        }
    }
}

#[inline(always)]
fn round_row(x: &[f32], integers: &mut [i16], scales: &mut [Scale], inputs_a_scale: usize) {
    let (integers, behind) = integers.split_at_mut(x.len());
    behind.fill(0);
    let parts = x
        .chunks(inputs_a_scale)
        .zip(integers.chunks_mut(inputs_a_scale));
    for ((x, integers), scale) in parts.zip(scales) {
        *scale = round(x, integers);
    }
}

/// The nearest integers to values over their scale.
#[inline(always)]
fn round(x: &[f32], integers: &mut [i16]) -> Scale {
    // Rounds to an integer, ties to even, whose two's complement the lower bits then are.
    const SHIFT: f32 = 12_582_912.0;
    // As integers, so that what is no number is the greatest.
    let greatest = x
        .iter()
        .fold(0, |most, x| most.max(x.to_bits() & 0x7fff_ffff));
    let greatest = f32::from_bits(greatest);
    if !greatest.is_finite() {
        integers.fill(0);
        return Scale {
            scale: f32::NAN,
            sum: f32::NAN,
        };
    }
    if greatest < LEAST {
        integers.fill(0);
        return Scale::default();
    }
    let inverse = GREATEST / greatest;
    let mut sum = 0;
    for (integer, x) in integers.iter_mut().zip(x) {
        *integer = (x * inverse + SHIFT).to_bits() as i16;
        sum += i32::from(*integer);
    }
    let scale = greatest / GREATEST;
    Scale {
        scale,
        sum: sum as f32 * scale,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_shape::Group;

    #[test]
    fn values_are_near_and_their_sum_is_that_of_the_integers() {
        let inputs = 150;
        for rows in [1, 3, 200] {
            let x: Vec<f32> = (0..rows * inputs)
                .map(|i| ((i * 7919 % 1000) as f32 - 500.0) * 0.37)
                .collect();
            for format in [
                CodeFormat::Eight,
                CodeFormat::Four(Group::G32),
                CodeFormat::Four(Group::G128),
            ] {
                let size = inputs_of_a_scale(format);
                let all = IntegerRows::new(Simd::best(), format, &x, rows, inputs);
                for (row, x) in x.chunks(inputs).enumerate() {
                    let values = &all.values(row, 0)[..all.depth()];
                    assert_eq!(values[inputs..], [0, 0]);
                    let scales = &all.scales(row, 0)[..all.scales_a_row()];
                    assert_eq!(scales.len(), inputs.div_ceil(size));
                    let parts = x.chunks(size).zip(values.chunks(size));
                    for ((x, values), scale) in parts.zip(scales) {
                        let greatest = x.iter().fold(0f32, |most, x| most.max(x.abs()));
                        let mut sum = 0;
                        for (x, &value) in x.iter().zip(values) {
                            let error = (x - f32::from(value) * scale.scale).abs();
                            assert!(error <= greatest * 1.6e-5, "{x}: {value}");
                            sum += i32::from(value);
                        }
                        assert_eq!(scale.sum, sum as f32 * scale.scale);
                    }
                }
            }
        }
    }

    #[test]
    fn they_are_the_same_by_all_instructions_and_in_used_memory() {
        let inputs = 203;
        let mut x: Vec<f32> = (0..7 * inputs).map(|i| (i as f32 * 0.7).sin()).collect();
        (x[300], x[900]) = (f32::NAN, 1e30);
        x[406..609].fill(0.0);
        let format = CodeFormat::Four(Group::G32);
        let bits = |simd| {
            drop(IntegerRows::new(simd, format, &vec![7.0; 5000], 10, 500));
            let all = IntegerRows::new(simd, format, &x, 7, inputs);
            let scales = all.scales.iter();
            let scales: Vec<_> = scales
                .map(|s| [s.scale.to_bits(), s.sum.to_bits()])
                .collect();
            (all.values.clone(), scales)
        };
        let levels = Simd::available();
        assert!(levels.iter().all(|&simd| bits(simd) == bits(levels[0])));
    }

    #[test]
    fn extremes_are_kept_and_what_is_no_number_is_told() {
        let format = CodeFormat::Four(Group::G32);
        for greatest in [f32::MAX, 1.0, 1e-29] {
            let all = IntegerRows::new(Simd::best(), format, &[greatest, -greatest], 1, 2);
            assert_eq!(all.values(0, 0), [32767, -32767, 0, 0]);
            assert_eq!(all.scales(0, 0)[0].sum, 0.0);
        }
        for none in [0.0, 1e-31, f32::MIN_POSITIVE] {
            let all = IntegerRows::new(Simd::best(), format, &[none, none], 1, 2);
            assert_eq!(all.scales(0, 0), [Scale::default()]);
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [1.0; 64];
            x[40] = bad;
            let all = IntegerRows::new(Simd::best(), format, &x, 1, 64);
            let [first, second] = all.scales(0, 0) else {
                panic!()
            };
            assert!(first.sum == 32.0 && second.scale.is_nan() && second.sum.is_nan());
        }
    }
}
