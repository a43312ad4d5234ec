//! The K types: blocks of 256 values in sub-blocks of 16 or 32 that have scales of their own, which
//! are quantised themselves.

use super::half_at;

/// Sixteen bytes of scale (low half) and offset (high half), 64 bytes of two-bit numbers, two halves.
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (scale, offset) = (half_at(block, 80), half_at(block, 82));
    for sub in 0..16 {
        let packed = block[sub];
        let (scale, offset) = (
            scale * f32::from(packed & 15),
            offset * f32::from(packed >> 4),
        );
        let (start, shift) = two_bits(sub);
        for i in 0..16 {
            let number = (block[16 + start + i] >> shift) & 3;
            out[16 * sub + i] = scale * f32::from(number) - offset;
        }
    }
}

/// A mask of third bits, 64 bytes of two-bit numbers, sixteen six-bit scales in twelve bytes, a half.
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let scale = half_at(block, 108);
    for sub in 0..16 {
        let low = if sub < 8 {
            block[96 + sub] & 15
        } else {
            block[96 + sub - 8] >> 4
        };
        let high = (block[104 + sub % 4] >> (2 * (sub / 4))) & 3;
        let scale = scale * f32::from((low | high << 4) as i8 - 32);
        let (start, shift) = two_bits(sub);
        for i in 0..16 {
            let low = (block[32 + start + i] >> shift) & 3;
            // The mask says which values are not four lower.
            let third = (block[16 * (sub % 2) + i] >> (sub / 2)) & 1;
            out[16 * sub + i] = scale * f32::from(low as i8 - 4 * (1 - third as i8));
        }
    }
}

/// Two halves, eight six-bit scales and offsets in twelve bytes, 128 bytes of four-bit numbers.
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (scale, offset) = (half_at(block, 0), half_at(block, 2));
    for sub in 0..8 {
        let (scale_bits, offset_bits) = six_bits(block, sub);
        let (scale, offset) = (
            scale * f32::from(scale_bits),
            offset * f32::from(offset_bits),
        );
        let (start, shift) = (16 + 32 * (sub / 2), 4 * (sub % 2));
        for i in 0..32 {
            let number = (block[start + i] >> shift) & 15;
            out[32 * sub + i] = scale * f32::from(number) - offset;
        }
    }
}

/// As Q4_K, with 32 bytes of fifth bits before the numbers: bit j of byte i is value i's of sub-block j.
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (scale, offset) = (half_at(block, 0), half_at(block, 2));
    for sub in 0..8 {
        let (scale_bits, offset_bits) = six_bits(block, sub);
        let (scale, offset) = (
            scale * f32::from(scale_bits),
            offset * f32::from(offset_bits),
        );
        let (start, shift) = (48 + 32 * (sub / 2), 4 * (sub % 2));
        for i in 0..32 {
            let fifth = (block[16 + i] >> sub) & 1;
            let number = (block[start + i] >> shift) & 15 | fifth << 4;
            out[32 * sub + i] = scale * f32::from(number) - offset;
        }
    }
}

/// 128 bytes of low four bits, 64 of high two bits, sixteen signed scales, a half.
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let scale = half_at(block, 208);
    for sub in 0..16 {
        let scale = scale * f32::from(block[192 + sub] as i8);
        // Sub-blocks of 32 here: two of them share bytes of low bits, four share bytes of high bits.
        let (wide, part) = (sub / 2, 16 * (sub % 2));
        let (half, quarter) = (wide / 4, wide % 4);
        let (low_start, low_shift) = (64 * half + 32 * (quarter % 2) + part, 4 * (quarter / 2));
        let (high_start, high_shift) = (128 + 32 * half + part, 2 * quarter);
        for i in 0..16 {
            let low = (block[low_start + i] >> low_shift) & 15;
            let high = (block[high_start + i] >> high_shift) & 3;
            out[16 * sub + i] = scale * f32::from((low | high << 4) as i8 - 32);
        }
    }
}

/// Where the two-bit numbers of a sub-block of 16 begin, and by how much they are shifted: a byte
/// holds values 32 apart, and 32 bytes hold 128 values.
#[inline(always)]
fn two_bits(sub: usize) -> (usize, usize) {
    (32 * (sub / 8) + 16 * (sub % 2), 2 * (sub % 8 / 2))
}

/// A sub-block's scale and offset from the twelve bytes after the two halves: the first four of each
/// lie in six bits of a byte, the others in four bits of one and the two bits that are left of another.
#[inline(always)]
fn six_bits<const BYTES: usize>(block: &[u8; BYTES], sub: usize) -> (u8, u8) {
    let packed = |place: usize| block[4 + place];
    if sub < 4 {
        (packed(sub) & 63, packed(sub + 4) & 63)
    } else {
        let scale = packed(sub + 4) & 15 | (packed(sub - 4) >> 6) << 4;
        (scale, packed(sub + 4) >> 4 | (packed(sub) >> 6) << 4)
    }
}
