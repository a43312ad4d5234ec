//! Rows as 16-bit integers, to be multiplied with codes.

use super::codes::{QUAD, inputs_of_a_scale};
use crate::quantise::coded_row::CodeFormat;
use crate::workers::for_each_of;

/// The greatest integer. The sum of 128 products with 8 bits is below 2³¹ by far.
const GREATEST: f32 = 32767.0;
/// Values count as zeros where the greatest of a scale's is below this: the scale's inverse must be
/// finite.
const LEAST: f32 = 1e-30;
/// Values that are rounded before other threads are awake.
const WORTH_A_THREAD: usize = 1 << 14;

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

impl IntegerRows {
    pub(super) fn new(format: CodeFormat, x: &[f32], rows: usize, inputs: usize) -> Self {
        let inputs_a_scale = inputs_of_a_scale(format);
        let depth = inputs.next_multiple_of(QUAD);
        let scales_a_row = inputs.div_ceil(inputs_a_scale);
        let mut all = Self {
            values: vec![0; rows * depth],
            scales: vec![Scale::default(); rows * scales_a_row],
            depth,
            scales_a_row,
            inputs_a_scale,
        };
        if x.is_empty() {
            return all;
        }
        let places = all.values.chunks_exact_mut(depth);
        let places = places.zip(all.scales.chunks_exact_mut(scales_a_row));
        let work = x.chunks_exact(inputs).zip(places);
        let round = |(x, (values, scales)): (&[f32], (&mut [i16], &mut [Scale]))| {
            let parts = x
                .chunks(inputs_a_scale)
                .zip(values.chunks_mut(inputs_a_scale));
            for ((x, values), scale) in parts.zip(scales) {
                *scale = round(x, values);
            }
        };
        if x.len() < WORTH_A_THREAD {
            work.for_each(round)
        } else {
            for_each_of(work, &round)
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

/// The nearest integers to values over their scale.
#[inline]
fn round(x: &[f32], integers: &mut [i16]) -> Scale {
    // Rounds to an integer, ties to even, whose two's complement the lower bits then are.
    const SHIFT: f32 = 12_582_912.0;
    // As integers, so that what is no number is the greatest.
    let greatest = x
        .iter()
        .fold(0, |most, x| most.max(x.to_bits() & 0x7fff_ffff));
    let greatest = f32::from_bits(greatest);
    if !greatest.is_finite() {
        return Scale {
            scale: f32::NAN,
            sum: f32::NAN,
        };
    }
    if greatest < LEAST {
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
                let all = IntegerRows::new(format, &x, rows, inputs);
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
    fn extremes_are_kept_and_what_is_no_number_is_told() {
        let format = CodeFormat::Four(Group::G32);
        for greatest in [f32::MAX, 1.0, 1e-29] {
            let all = IntegerRows::new(format, &[greatest, -greatest], 1, 2);
            assert_eq!(all.values(0, 0), [32767, -32767, 0, 0]);
            assert_eq!(all.scales(0, 0)[0].sum, 0.0);
        }
        for none in [0.0, 1e-31, f32::MIN_POSITIVE] {
            let all = IntegerRows::new(format, &[none, none], 1, 2);
            assert_eq!(all.scales(0, 0), [Scale::default()]);
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [1.0; 64];
            x[40] = bad;
            let all = IntegerRows::new(format, &x, 1, 64);
            let [first, second] = all.scales(0, 0) else {
                panic!()
            };
            assert!(first.sum == 32.0 && second.scale.is_nan() && second.sum.is_nan());
        }
    }
}
