//! Integers for a position's key or value.

use half::bf16;

/// Rounds to an integer, for numbers that are small against it.
const SHIFT: f32 = 12_582_912.0;

/// Codes from −127 to 127 and their scale, NaN where not all numbers are finite.
pub(crate) fn eight_bits(numbers: &[f32], codes: &mut [i8]) -> f32 {
    let (least, greatest) = ends(numbers);
    let greatest = greatest.max(-least);
    if !(greatest > 0.0 && greatest.is_finite()) {
        codes.fill(0);
        return if greatest == 0.0 { 0.0 } else { f32::NAN };
    }
    let inverse = 127.0 / greatest;
    for (code, number) in codes.iter_mut().zip(numbers) {
        *code = (number * inverse + SHIFT - SHIFT) as i8;
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
