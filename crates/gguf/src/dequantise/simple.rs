//! Blocks of 32 values with one scale, and one offset in the `_1` types.
//!
//! A byte of four-bit numbers holds value i in its low half and value i + 16 in its high half; the
//! fifth bits of the Q5 types lie together in 32 bits, value i's in bit i.

use super::{half_at, u32_at};

pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let scale = half_at(block, 0);
    for i in 0..16 {
        let byte = block[2 + i];
        out[i] = scale * f32::from((byte & 15) as i8 - 8);
        out[i + 16] = scale * f32::from((byte >> 4) as i8 - 8);
    }
}

pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (scale, offset) = (half_at(block, 0), half_at(block, 2));
    for i in 0..16 {
        let byte = block[4 + i];
        out[i] = scale * f32::from(byte & 15) + offset;
        out[i + 16] = scale * f32::from(byte >> 4) + offset;
    }
}

pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let (scale, fifth) = (half_at(block, 0), u32_at(block, 2));
    for i in 0..16 {
        let byte = block[6 + i];
        out[i] = scale * f32::from(with_fifth(byte & 15, fifth, i) as i8 - 16);
        out[i + 16] = scale * f32::from(with_fifth(byte >> 4, fifth, i + 16) as i8 - 16);
    }
}

pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (scale, offset, fifth) = (half_at(block, 0), half_at(block, 2), u32_at(block, 4));
    for i in 0..16 {
        let byte = block[8 + i];
        out[i] = scale * f32::from(with_fifth(byte & 15, fifth, i)) + offset;
        out[i + 16] = scale * f32::from(with_fifth(byte >> 4, fifth, i + 16)) + offset;
    }
}

pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let scale = half_at(block, 0);
    for i in 0..32 {
        out[i] = f32::from(block[2 + i] as i8) * scale;
    }
}

#[inline(always)]
fn with_fifth(low: u8, fifth: u32, place: usize) -> u8 {
    low | (((fifth >> place) & 1) << 4) as u8
}
