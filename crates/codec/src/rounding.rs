//! Rounding that compilers turn into vector instructions on every processor.

use half::bf16;

/// Adding 1.5 · 2²³ to a float of less than half of that leaves no bits for a fraction: the sum is
/// rounded to the nearest integer, ties to even, and has it in its lowest bits.
const SHIFT: f32 = 12_582_912.0;

/// Integers beyond these are not told apart.
pub(crate) const NEAREST_LIMIT: f32 = 4_194_303.0;

/// The nearest integer, ties to even, between ∓[`NEAREST_LIMIT`]. The value is not NaN.
#[inline]
pub(crate) fn nearest(value: f32) -> i32 {
    let shifted = value.clamp(-NEAREST_LIMIT, NEAREST_LIMIT) + SHIFT;
    shifted.to_bits() as i32 - SHIFT.to_bits() as i32
}

/// The nearest bfloat16, ties to even, but never an infinity. The value is not NaN.
pub(crate) fn to_bf16(value: f32) -> u16 {
    match bf16::from_f32(value) {
        rounded if rounded.is_finite() => rounded.to_bits(),
        rounded if rounded.is_sign_negative() => bf16::MIN.to_bits(),
        _ => bf16::MAX.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_what_the_standard_library_rounds_to(value in -4e6f32..4e6) {
            prop_assert_eq!(nearest(value), value.round_ties_even() as i32);
            let half = value.floor() + 0.5;
            prop_assert_eq!(nearest(half), half.round_ties_even() as i32);
        }
    }

    #[test]
    fn it_saturates() {
        assert_eq!(nearest(f32::MAX), 4_194_303);
        assert_eq!(nearest(f32::NEG_INFINITY), -4_194_303);
        assert_eq!(to_bf16(f32::MAX), bf16::MAX.to_bits());
        assert_eq!(to_bf16(f32::MIN), bf16::MIN.to_bits());
        assert_eq!(to_bf16(1.0), 0x3f80);
    }
}
