//! `tabq`: token-wise adaptive bit quantisation (arXiv 2511.04002) of what threshold splitting
//! leaves, in codes of a fixed width.
//!
//! A row's step follows from the distortion that is allowed, and the width is the least that pays
//! once outliers are apart (see [`crate::threshold_split`]). `docs/codec.md` has the bytes.

use crate::bits::{BitReader, BitWriter};
use crate::entropy_coded::Profile;
use crate::error::DecodeError;
use crate::plain;
use crate::rounding::{nearest, to_bf16};
use crate::threshold_split::{Histogram, OUTLIER_BITS, WIDTHS, Window, scale_without_outliers};
use half::bf16;
use std::sync::Arc;

/// A row's first byte when its values follow exactly.
const EXACT: u8 = 0;
/// The most bits of a place's remainder.
const MAX_RICE: u32 = 15;

/// Which step a row gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StepRule {
    /// The error that is allowed, relative to the row without its outliers, in the L2 norm.
    pub(crate) relative: f32,
    /// An absolute step that has been calibrated, instead, where rows are not much larger than
    /// those it was calibrated on.
    pub(crate) step: Option<f32>,
}

impl StepRule {
    /// Without a calibration: safe at every cut that was measured, at up to half a bit more than
    /// a calibrated one.
    pub(crate) const UNCALIBRATED: Self = Self {
        relative: 0.017,
        step: None,
    };

    /// The rule of a profile, or without one.
    pub(crate) fn of(profile: Option<&Arc<Profile>>) -> Self {
        Self {
            step: profile.map(|p| p.tabq_step()),
            ..Self::UNCALIBRATED
        }
    }

    fn step(self, scale: f32) -> f32 {
        // A uniform quantiser's error is step / √12.
        let relative = 12f32.sqrt() * self.relative * scale;
        match self.step {
            Some(step) => step.max(relative / 4.0).min(relative * 4.0),
            None => relative,
        }
    }
}

/// What encoding needs room for.
#[derive(Debug)]
pub(crate) struct Scratch {
    levels: Vec<i32>,
    histogram: Histogram,
    outliers: Vec<usize>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            levels: Vec::new(),
            histogram: Histogram::new(),
            outliers: Vec::new(),
        }
    }
}

/// Appends a row and returns the number of its outliers.
pub(crate) fn put_row(
    row: &[f32],
    rule: StepRule,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> usize {
    // The step travels in 16 bits, so that is the one to quantise by.
    let step = bf16::from_f32(rule.step(scale_without_outliers(row)));
    let begin = out.len();
    if quantise(row, step.to_f32(), &mut scratch.levels) {
        let window = scratch.histogram.choose(&scratch.levels);
        put_split(row, step, window, scratch, out);
        if out.len() - begin <= 4 * row.len() {
            return scratch.outliers.len();
        }
        out.truncate(begin);
    }
    out.push(EXACT);
    plain::put_f32(row, out);
    row.len()
}

/// Rounds to levels; false when the step is none that a row can be written by.
fn quantise(row: &[f32], step: f32, levels: &mut Vec<i32>) -> bool {
    levels.clear();
    let inverse = 1.0 / step;
    if !(step > 0.0 && inverse.is_finite() && (step * 512.0).is_finite()) {
        return false;
    }
    // What is farther out than levels reach is an outlier wherever it is put.
    levels.extend(row.iter().map(|v| nearest(v * inverse)));
    true
}

fn put_split(row: &[f32], step: bf16, window: Window, scratch: &mut Scratch, out: &mut Vec<u8>) {
    let Window { bits, lowest, .. } = window;
    out.push(bits as u8);
    out.extend_from_slice(&step.to_le_bytes());
    out.extend_from_slice(&(lowest as i16).to_le_bytes());
    let outliers = &mut scratch.outliers;
    outliers.clear();
    let codes = 1u32 << bits;
    let mut writer = BitWriter::new(out);
    for (column, &level) in scratch.levels.iter().enumerate() {
        let code = level.wrapping_sub(lowest) as u32;
        if code < codes {
            writer.put(code, bits);
        } else {
            // An outlier's place among the codes holds the low bits of its value.
            outliers.push(column);
            writer.put(u32::from(to_bf16(row[column])) & (codes - 1), bits);
        }
    }
    writer.finish();
    put_outliers(row, bits, outliers, out);
}

fn put_outliers(row: &[f32], bits: u32, outliers: &[usize], out: &mut Vec<u8>) {
    crate::header::put_varint(out, outliers.len() as u64);
    if outliers.is_empty() {
        return;
    }
    // Gaps are about geometric, for which Rice's code is made: log2 of ln 2 times the mean.
    let mean = row.len() as f64 / outliers.len() as f64;
    let rice = (libm::log2(mean * std::f64::consts::LN_2).round().max(0.0) as u32).min(MAX_RICE);
    let mut writer = BitWriter::new(out);
    writer.put(rice, 4);
    let mut next = 0;
    for &column in outliers {
        let gap = (column - next) as u32;
        writer.put_unary(gap >> rice);
        writer.put(gap & ((1 << rice) - 1), rice);
        writer.put(u32::from(to_bf16(row[column])) >> bits, OUTLIER_BITS - bits);
        next = column + 1;
    }
    writer.finish();
}

/// The least bytes of a row of `hidden` values: head, codes of the narrowest width and no outliers, or
/// the values as they are where those are shorter.
pub(crate) fn least_row_bytes(hidden: usize) -> usize {
    let narrowest = *WIDTHS.start() as usize;
    (6 + (hidden * narrowest).div_ceil(8)).min(1 + 4 * hidden)
}

/// Reads a row of `hidden` values from the front of `payload` and returns what is behind it.
pub(crate) fn take_row<'a>(
    payload: &'a [u8],
    hidden: usize,
    out: &mut Vec<f32>,
) -> Result<&'a [u8], DecodeError> {
    let (&bits, rest) = payload.split_first().ok_or(DecodeError::Truncated)?;
    if bits == EXACT {
        let (row, rest) = rest
            .split_at_checked(4 * hidden)
            .ok_or(DecodeError::Truncated)?;
        plain::take_f32(row, out);
        return Ok(rest);
    }
    let bits = u32::from(bits);
    if !WIDTHS.contains(&bits) {
        return Err(DecodeError::Malformed("a width that is none"));
    }
    let (head, rest) = rest.split_at_checked(4).ok_or(DecodeError::Truncated)?;
    let step = bf16::from_le_bytes([head[0], head[1]]).to_f32();
    let lowest = i32::from(i16::from_le_bytes([head[2], head[3]]));
    if !(step > 0.0 && (step * 65_536.0).is_finite()) {
        return Err(DecodeError::Malformed("a step that is none"));
    }
    let begin = out.len();
    let code_bytes = (hidden * bits as usize).div_ceil(8);
    let (codes, rest) = rest
        .split_at_checked(code_bytes)
        .ok_or(DecodeError::Truncated)?;
    let mut reader = BitReader::new(codes);
    for _ in 0..hidden {
        let code = reader.take(bits).ok_or(DecodeError::Truncated)?;
        out.push(step * (lowest + code as i32) as f32);
    }
    take_outliers(rest, bits, codes, &mut out[begin..])
}

fn take_outliers<'a>(
    payload: &'a [u8],
    bits: u32,
    codes: &[u8],
    row: &mut [f32],
) -> Result<&'a [u8], DecodeError> {
    let (count, rest) = crate::header::take_varint(payload)?;
    if count > row.len() as u64 {
        return Err(DecodeError::Malformed("more outliers than values"));
    }
    if count == 0 {
        return Ok(rest);
    }
    let mut reader = BitReader::new(rest);
    let rice = reader.take(4).ok_or(DecodeError::Truncated)?;
    let mut next = 0;
    for _ in 0..count {
        let limit = (row.len() >> rice) as u32;
        let high = reader.take_unary(limit).ok_or(DecodeError::Truncated)?;
        let low = reader.take(rice).ok_or(DecodeError::Truncated)?;
        let column = next + ((high << rice) | low) as usize;
        let high = reader
            .take(OUTLIER_BITS - bits)
            .ok_or(DecodeError::Truncated)?;
        let value = row
            .get_mut(column)
            .ok_or(DecodeError::Malformed("an outlier behind the row"))?;
        let low = BitReader::at(codes, column * bits as usize).take(bits);
        let low = low.ok_or(DecodeError::Truncated)?;
        *value = bf16::from_bits((high << bits | low) as u16).to_f32();
        next = column + 1;
    }
    Ok(reader.rest())
}
