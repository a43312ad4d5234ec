//! Values of -1, 0 and 1 with one scale for 256 of them.

use super::half_at;

/// Five values a byte: a byte is a fraction in base three, whose digits come out at the top one by one.
pub(super) fn tq1_0(block: &[u8; 54], out: &mut [f32; 256]) {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    let scale = half_at(block, 52);
    let mut group = |bytes: &[u8], powers: &[u8], start: usize| {
        for (digit, power) in powers.iter().enumerate() {
            for (i, byte) in bytes.iter().enumerate() {
                let rest = byte.wrapping_mul(*power);
                let value = ((u16::from(rest) * 3) >> 8) as i8 - 1;
                out[start + digit * bytes.len() + i] = scale * f32::from(value);
            }
        }
    };
    group(&block[..32], &POWERS, 0);
    group(&block[32..48], &POWERS, 160);
    group(&block[48..52], &POWERS[..4], 240);
}

/// Four values a byte.
pub(super) fn tq2_0(block: &[u8; 66], out: &mut [f32; 256]) {
    let scale = half_at(block, 64);
    for group in 0..8 {
        let (start, shift) = (32 * (group / 4), 2 * (group % 4));
        for i in 0..32 {
            let value = ((block[start + i] >> shift) & 3) as i8 - 1;
            out[32 * group + i] = scale * f32::from(value);
        }
    }
}
