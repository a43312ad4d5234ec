//! The IQ1, IQ2 and IQ3 types: groups of four or eight values that are entries of a codebook, with
//! signs beside them and a scale for 16 or 32 values.
//!
//! The codebooks are a part of the format: `iq2xxs_grid` and its like in ggml's ggml-common.h. Here
//! they are packed, an entry's first value in the lowest bits: two bits a value for the books of eight,
//! four bits for those of four. `tests/reference/make-grids.py` writes the files anew.

use super::{half_at, u16_at, u32_at};

static IQ1: &[u8; 4096] = include_bytes!("grids/iq1.bin");
static IQ2_XXS: &[u8; 512] = include_bytes!("grids/iq2_xxs.bin");
static IQ2_XS: &[u8; 1024] = include_bytes!("grids/iq2_xs.bin");
static IQ2_S: &[u8; 2048] = include_bytes!("grids/iq2_s.bin");
static IQ3_XXS: &[u8; 512] = include_bytes!("grids/iq3_xxs.bin");
static IQ3_S: &[u8; 1024] = include_bytes!("grids/iq3_s.bin");

/// What the packed numbers stand for; the last of the books of eight occurs in none of them.
const IQ1_VALUES: [f32; 4] = [-1.0, 0.0, 1.0, 0.0];
const IQ2_VALUES: [f32; 4] = [8.0, 25.0, 43.0, 0.0];
const IQ3_XXS_VALUES: [f32; 8] = [4.0, 12.0, 20.0, 28.0, 36.0, 44.0, 52.0, 62.0];
const IQ3_S_VALUES: [f32; 8] = [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0];

/// IQ1 shifts a group's values by this much up or down.
const IQ1_SHIFT: f32 = 0.125;

pub(super) fn iq1_s(block: &[u8; 50], out: &mut [f32; 256]) {
    let scale = half_at(block, 0);
    for sub in 0..8 {
        // Sixteen bits: four times three high bits of an index, three bits of scale, the shift's sign.
        let packed = u16_at(block, 34 + 2 * sub);
        let scale = scale * f32::from(2 * ((packed >> 12) & 7) + 1);
        let shift = if packed & 0x8000 == 0 {
            IQ1_SHIFT
        } else {
            -IQ1_SHIFT
        };
        for group in 0..4 {
            let place = 4 * sub + group;
            let high = usize::from((packed >> (3 * group)) & 7);
            let entry = entry_of_eight(IQ1, usize::from(block[2 + place]) | high << 8);
            for i in 0..8 {
                out[8 * place + i] = scale * (value(&IQ1_VALUES, entry, 2, i) + shift);
            }
        }
    }
}

pub(super) fn iq1_m(block: &[u8; 56], out: &mut [f32; 256]) {
    // The block's scale lies in the top four bits of four 16-bit numbers, whose other bits are the
    // scales of sixteen values each.
    let packed: [u16; 4] = std::array::from_fn(|part| u16_at(block, 48 + 2 * part));
    let bits = packed
        .iter()
        .rev()
        .fold(0, |bits, part| bits << 4 | part >> 12);
    let scale = half::f16::from_bits(bits).to_f32();
    for place in 0..32 {
        let sub = place / 2;
        let scale = scale * f32::from(2 * ((packed[sub / 4] >> (3 * (sub % 4))) & 7) + 1);
        let high = (block[32 + sub] >> (4 * (place % 2))) & 15;
        let shift = if high & 8 == 0 { IQ1_SHIFT } else { -IQ1_SHIFT };
        let entry = entry_of_eight(IQ1, usize::from(block[place]) | usize::from(high & 7) << 8);
        for i in 0..8 {
            out[8 * place + i] = scale * (value(&IQ1_VALUES, entry, 2, i) + shift);
        }
    }
}

pub(super) fn iq2_xxs(block: &[u8; 66], out: &mut [f32; 256]) {
    let scale = half_at(block, 0);
    for sub in 0..8 {
        // Four indices, then four times seven bits of signs and four bits of scale.
        let start = 2 + 8 * sub;
        let packed = u32_at(block, start + 4);
        let scale = scale * (0.5 + (packed >> 28) as f32) * 0.25;
        for group in 0..4 {
            let entry = entry_of_eight(IQ2_XXS, usize::from(block[start + group]));
            let signs = eight_signs((packed >> (7 * group)) as u8 & 127);
            for i in 0..8 {
                out[32 * sub + 8 * group + i] =
                    signed(scale * value(&IQ2_VALUES, entry, 2, i), signs, i);
            }
        }
    }
}

pub(super) fn iq2_xs(block: &[u8; 74], out: &mut [f32; 256]) {
    let scale = half_at(block, 0);
    for place in 0..32 {
        // Nine bits of index, seven of signs.
        let packed = u16_at(block, 2 + 2 * place);
        let scale = scale * (0.5 + four_bits(block, 66, place / 2)) * 0.25;
        let entry = entry_of_eight(IQ2_XS, usize::from(packed & 511));
        let signs = eight_signs((packed >> 9) as u8);
        for i in 0..8 {
            out[8 * place + i] = signed(scale * value(&IQ2_VALUES, entry, 2, i), signs, i);
        }
    }
}

pub(super) fn iq2_s(block: &[u8; 82], out: &mut [f32; 256]) {
    let scale = half_at(block, 0);
    for place in 0..32 {
        let scale = scale * (0.5 + four_bits(block, 74, place / 2)) * 0.25;
        let high = (block[66 + place / 4] >> (2 * (place % 4))) & 3;
        let entry = entry_of_eight(
            IQ2_S,
            usize::from(block[2 + place]) | usize::from(high) << 8,
        );
        let signs = block[34 + place];
        for i in 0..8 {
            out[8 * place + i] = signed(scale * value(&IQ2_VALUES, entry, 2, i), signs, i);
        }
    }
}

pub(super) fn iq3_xxs(block: &[u8; 98], out: &mut [f32; 256]) {
    let scale = half_at(block, 0);
    for sub in 0..8 {
        let packed = u32_at(block, 66 + 4 * sub);
        let scale = scale * (0.5 + (packed >> 28) as f32) * 0.5;
        for group in 0..8 {
            let entry = entry_of_four(IQ3_XXS, usize::from(block[2 + 8 * sub + group]));
            let signs = eight_signs((packed >> (7 * (group / 2))) as u8 & 127);
            for i in 0..4 {
                let number = scale * value(&IQ3_XXS_VALUES, entry, 4, i);
                out[32 * sub + 4 * group + i] = signed(number, signs, 4 * (group % 2) + i);
            }
        }
    }
}

pub(super) fn iq3_s(block: &[u8; 110], out: &mut [f32; 256]) {
    let scale = half_at(block, 0);
    for place in 0..64 {
        let scale = scale * (1.0 + 2.0 * four_bits(block, 106, place / 8));
        let high = (block[66 + place / 8] >> (place % 8)) & 1;
        let entry = entry_of_four(
            IQ3_S,
            usize::from(block[2 + place]) | usize::from(high) << 8,
        );
        let signs = block[74 + place / 2];
        for i in 0..4 {
            let number = scale * value(&IQ3_S_VALUES, entry, 4, i);
            out[4 * place + i] = signed(number, signs, 4 * (place % 2) + i);
        }
    }
}

#[inline(always)]
fn entry_of_eight<const SIZE: usize>(grid: &[u8; SIZE], index: usize) -> u16 {
    u16::from_le_bytes([grid[2 * index], grid[2 * index + 1]])
}

/// Four values of four bits each, so the same width as eight of two bits.
#[inline(always)]
fn entry_of_four<const SIZE: usize>(grid: &[u8; SIZE], index: usize) -> u16 {
    entry_of_eight(grid, index)
}

/// Value `i` of an entry whose values are `bits` wide.
#[inline(always)]
fn value<const VALUES: usize>(values: &[f32; VALUES], entry: u16, bits: usize, i: usize) -> f32 {
    values[usize::from(entry >> (bits * i)) & (VALUES - 1)]
}

/// The four-bit number `index` of those that begin at `start`, low half first.
#[inline(always)]
fn four_bits<const BYTES: usize>(block: &[u8; BYTES], start: usize, index: usize) -> f32 {
    f32::from((block[start + index / 2] >> (4 * (index % 2))) & 15)
}

/// Seven signs are stored; the eighth makes the number of minus signs even.
#[inline(always)]
fn eight_signs(seven: u8) -> u8 {
    seven | (seven.count_ones() as u8 & 1) << 7
}

#[inline(always)]
fn signed(number: f32, signs: u8, i: usize) -> f32 {
    if (signs >> i) & 1 == 0 {
        number
    } else {
        -number
    }
}
