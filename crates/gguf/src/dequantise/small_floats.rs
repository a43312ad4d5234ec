//! Four-bit numbers that stand for the values of a short table: MXFP4, NVFP4, IQ4_NL and IQ4_XS.

use super::{half_at, u16_at};

/// Twice the values of a four-bit floating-point number with two bits of exponent and one of mantissa
/// (OCP Microscaling Formats 1.0); minus zero is given as zero.
const E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The values that IQ4_NL and IQ4_XS choose from: `kvalues_iq4nl` in ggml-common.h.
const IQ4: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

pub(super) fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    let exponent = u32::from(block[0]);
    // Half of 2^(exponent - 127), because the table holds twice the values; the two smallest are subnormal.
    let scale = f32::from_bits(if exponent < 2 {
        0x0020_0000 << exponent
    } else {
        (exponent - 1) << 23
    });
    for i in 0..16 {
        let byte = block[1 + i];
        out[i] = scale * from_table(&E2M1, byte);
        out[i + 16] = scale * from_table(&E2M1, byte >> 4);
    }
}

/// Four scales of eight bits for sixteen values each.
pub(super) fn nvfp4(block: &[u8; 36], out: &mut [f32; 64]) {
    for sub in 0..4 {
        let scale = half_of_ue4m3(block[sub]);
        for i in 0..8 {
            let byte = block[4 + 8 * sub + i];
            out[16 * sub + i] = scale * from_table(&E2M1, byte);
            out[16 * sub + i + 8] = scale * from_table(&E2M1, byte >> 4);
        }
    }
}

/// Half the value of an unsigned number with four bits of exponent and three of mantissa; NaN counts as zero.
fn half_of_ue4m3(byte: u8) -> f32 {
    if byte == 0x7F {
        return 0.0;
    }
    let (exponent, mantissa) = ((byte >> 3) & 15, f32::from(byte & 7));
    let value = if exponent == 0 {
        mantissa * f32::from_bits((127 - 9) << 23)
    } else {
        (1.0 + mantissa / 8.0) * f32::from_bits((u32::from(exponent) + 127 - 7) << 23)
    };
    value * 0.5
}

pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    let scale = half_at(block, 0);
    for i in 0..16 {
        let byte = block[2 + i];
        out[i] = scale * from_table(&IQ4, byte);
        out[i + 16] = scale * from_table(&IQ4, byte >> 4);
    }
}

/// A half, eight six-bit scales (their high bits in two bytes, their low ones in four), the numbers.
pub(super) fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let (scale, high_bits) = (half_at(block, 0), u16_at(block, 2));
    for sub in 0..8 {
        let low = (block[4 + sub / 2] >> (4 * (sub % 2))) & 15;
        let high = ((high_bits >> (2 * sub)) & 3) as u8;
        let scale = scale * f32::from((low | high << 4) as i8 - 32);
        for i in 0..16 {
            let byte = block[8 + 16 * sub + i];
            out[32 * sub + i] = scale * from_table(&IQ4, byte);
            out[32 * sub + i + 16] = scale * from_table(&IQ4, byte >> 4);
        }
    }
}

/// The value that a byte's low four bits stand for.
#[inline(always)]
fn from_table(table: &[i8; 16], byte: u8) -> f32 {
    f32::from(table[usize::from(byte & 15)])
}
