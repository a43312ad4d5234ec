//! Scales and steps as integers: 8 to a doubling, so that both sides compute with the same ones.

/// Places of a doubling.
pub(crate) const OCTAVE: i32 = 8;

/// 2^(i/8), to the nearest binary32.
#[allow(clippy::unreadable_literal, reason = "they are bit patterns")]
const EIGHTHS: [u32; 8] = [
    0x3f800000, 0x3f8b95c2, 0x3f9837f0, 0x3fa5fed7, 0x3fb504f3, 0x3fc5672a, 0x3fd744fd, 0x3feac0c7,
];

/// 2^(scale/8) for scales between ∓960, where it is a normal number.
pub(crate) fn exp2(scale: i32) -> f32 {
    let scale = scale.clamp(-960, 960);
    let power = (scale.div_euclid(OCTAVE) + 127) as u32;
    f32::from_bits(EIGHTHS[scale.rem_euclid(OCTAVE) as usize]) * f32::from_bits(power << 23)
}

/// The nearest scale of a positive value.
pub(crate) fn log2(value: f32) -> i32 {
    let log = libm::log2(f64::from(value)) * f64::from(OCTAVE);
    log.round().clamp(-960.0, 960.0) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_powers_of_two_by_eighths() {
        for scale in -960..=960 {
            let exact = (f64::from(scale) / 8.0).exp2();
            let found = f64::from(exp2(scale));
            assert!((found / exact - 1.0).abs() < 1e-7, "{scale}");
            assert_eq!(log2(exp2(scale)), scale);
        }
    }
}
