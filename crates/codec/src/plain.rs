//! `f32`, `bf16` and `int8`: every value by itself, at a fixed width.

use crate::rounding::nearest;
use half::bf16;

/// Values that quotients of a row's range are rounded to, less one.
const INT8_STEPS: f32 = 255.0;

pub(crate) fn put_f32(values: &[f32], out: &mut Vec<u8>) {
    values
        .iter()
        .for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
}

pub(crate) fn take_f32(payload: &[u8], out: &mut Vec<f32>) {
    let values = payload.chunks_exact(4);
    out.extend(values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
}

pub(crate) fn put_bf16(values: &[f32], out: &mut Vec<u8>) {
    values
        .iter()
        .for_each(|v| out.extend_from_slice(&bf16::from_f32(*v).to_le_bytes()));
}

pub(crate) fn take_bf16(payload: &[u8], out: &mut Vec<f32>) {
    let values = payload.chunks_exact(2);
    out.extend(values.map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()));
}

/// Bytes of an `int8` row: the least value, the step, and a byte a value.
pub(crate) fn int8_row_bytes(hidden: usize) -> usize {
    8 + hidden
}

/// One row as its least value, a step, and how many steps each value is above.
pub(crate) fn put_int8(row: &[f32], out: &mut Vec<u8>) {
    let least = row.iter().copied().fold(f32::INFINITY, f32::min);
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // Halves, because the range of finite values may be infinite.
    let step = (most / 2.0 - least / 2.0) / INT8_STEPS * 2.0;
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    out.extend_from_slice(&least.to_le_bytes());
    out.extend_from_slice(&step.to_le_bytes());
    out.extend(
        row.iter()
            .map(|v| nearest(v * inverse - least * inverse) as u8),
    );
}

/// Reads a row. One whose least value or step is not finite gives values that are not.
pub(crate) fn take_int8(row: &[u8], out: &mut Vec<f32>) {
    let (head, codes) = row.split_at(8);
    let least = f32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let step = f32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    // The greatest value may be rounded to beyond the greatest there is.
    let value = |code: u8| f64::from(least) + f64::from(step) * f64::from(code);
    let (lowest, highest) = if least.is_finite() && step.is_finite() {
        (f64::from(f32::MIN), f64::from(f32::MAX))
    } else {
        (f64::NEG_INFINITY, f64::INFINITY)
    };
    out.extend(
        codes
            .iter()
            .map(|&code| value(code).clamp(lowest, highest) as f32),
    );
}
