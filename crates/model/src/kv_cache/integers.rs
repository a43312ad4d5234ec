//! Integers for a position's key or value.

use half::bf16;

/// Rounds to an integer, for numbers that are small against it.
const SHIFT: f32 = 12_582_912.0;

/// Codes from −127 to 127, in two's complement, and their scale, NaN where not all numbers are finite.
pub(crate) fn eight_bits(numbers: &[f32], codes: &mut [u8]) -> f32 {
    let (least, greatest) = ends(numbers);
    let greatest = greatest.max(-least);
    if !(greatest > 0.0 && greatest.is_finite()) {
        codes.fill(0);
        return if greatest == 0.0 { 0.0 } else { f32::NAN };
    }
    let inverse = 127.0 / greatest;
    for (code, number) in codes.iter_mut().zip(numbers) {
        *code = ((number * inverse + SHIFT - SHIFT) as i8).cast_unsigned();
    }
    greatest / 127.0
}

/// Codes from 0 to 15 of a group, with the scale and the offset that make numbers of them, NaN where
/// not all numbers are finite.
pub(crate) fn four_bits(numbers: &[f32], codes: &mut [u8]) -> [bf16; 2] {
    let (least, greatest) = ends(numbers);
    let offset = bf16::from_f32(least);
    let scale = bf16::from_f32((greatest - offset.to_f32()) / 15.0);
    let inverse = 1.0 / scale.to_f32();
    if !(inverse > 0.0 && inverse.is_finite()) {
        codes.fill(0);
        let all_alike = greatest - least <= 15.0 * f32::MIN_POSITIVE;
        let scale = if all_alike { bf16::ZERO } else { bf16::NAN };
        return [scale, offset];
    }
    for (code, number) in codes.iter_mut().zip(numbers) {
        let code_of = (number - offset.to_f32()) * inverse;
        *code = (code_of.clamp(0.0, 15.0) + SHIFT - SHIFT) as u8;
    }
    [scale, offset]
}

/// The least and the greatest number, NaN where one is.
fn ends(numbers: &[f32]) -> (f32, f32) {
    let (mut least, mut greatest) = (f32::INFINITY, f32::NEG_INFINITY);
    let mut nothing = 0.0;
    for number in numbers {
        least = least.min(*number);
        greatest = greatest.max(*number);
        // 0 but for infinite numbers and NaN.
        nothing += number * 0.0;
    }
    (least + nothing, greatest + nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: usize) -> Vec<f32> {
        let number = |i: usize| ((i * i * 31 + seed * 7) % 199) as f32 / 20.0 - 3.0;
        (0..32).map(number).collect()
    }

    #[test]
    fn eight_bits_are_within_half_a_step() {
        for seed in 0..50 {
            let numbers = numbers(seed);
            let mut codes = [0; 32];
            let scale = eight_bits(&numbers, &mut codes);
            assert!(codes.iter().any(|c| c.cast_signed().unsigned_abs() == 127));
            for (code, number) in codes.iter().zip(&numbers) {
                let error = (f32::from(code.cast_signed()) * scale - number).abs();
                assert!(error <= 0.501 * scale, "{number}: {code}");
            }
        }
    }

    #[test]
    fn four_bits_are_within_half_a_step_and_what_16_bits_round() {
        for seed in 0..50 {
            let numbers = numbers(seed);
            let mut codes = [0; 32];
            let [scale, offset] = four_bits(&numbers, &mut codes).map(bf16::to_f32);
            for (code, number) in codes.iter().zip(&numbers) {
                let error = (f32::from(*code) * scale + offset - number).abs();
                assert!(error <= 0.58 * scale, "{number}: {code}");
            }
        }
    }

    #[test]
    fn numbers_that_are_alike_or_tiny_stay_numbers() {
        for number in [0.0, -0.0, 2.5, -7.0, 1e-40, f32::MIN_POSITIVE, 1e38] {
            let numbers = [number; 32];
            let (mut eight, mut four) = ([0u8; 32], [0; 32]);
            let scale = eight_bits(&numbers, &mut eight);
            let found = f32::from(eight[3].cast_signed()) * scale;
            assert!((found - number).abs() <= 0.01 * number.abs() + 1e-37);
            let [scale, offset] = four_bits(&numbers, &mut four).map(bf16::to_f32);
            let found = f32::from(four[3]) * scale + offset;
            assert!((found - number).abs() <= 0.01 * number.abs() + 1e-37);
        }
    }

    #[test]
    fn what_is_no_number_makes_no_numbers() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut numbers = numbers(1);
            numbers[9] = bad;
            assert!(eight_bits(&numbers, &mut [1; 32]).is_nan());
            let [scale, _] = four_bits(&numbers, &mut [1; 32]);
            assert!(scale.is_nan());
        }
    }
}
