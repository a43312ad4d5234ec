//! Symbols to rows.

use super::encoder::{apart, next};
use super::profile::Profile;
use super::row::{self, RowSteps};
use super::tables::Band;
use super::trellis;
use crate::error::DecodeError;
use crate::rans;

/// What decoding needs room for.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    bands: Vec<Band>,
    outliers: Vec<(usize, f32)>,
}

/// Bytes that a payload of `rows` rows has at least. A row's scale and step take 16 bits; one is left
/// to what the coder's divisions round off, and eight bytes to the last rows, whose bits share the
/// coder's state.
pub(crate) fn least_payload(rows: usize) -> usize {
    (rows * 15 / 8).saturating_sub(8)
}

/// Appends the next `rows` rows. `decoder` must be done behind the last row of a payload.
pub(crate) fn decode_rows(
    decoder: &mut rans::Decoder<'_>,
    (rows, hidden): (usize, usize),
    profile: &Profile,
    scratch: &mut Scratch,
    out: &mut Vec<f32>,
) -> Result<(), DecodeError> {
    for _ in 0..rows {
        // What has run dry would go on for ever: each symbol at the beginning of its table costs nothing.
        if decoder.is_done() {
            return Err(DecodeError::Truncated);
        }
        take_row(decoder, hidden, profile, scratch, out)?;
    }
    Ok(())
}

fn take_row(
    decoder: &mut rans::Decoder<'_>,
    hidden: usize,
    profile: &Profile,
    scratch: &mut Scratch,
    out: &mut Vec<f32>,
) -> Result<(), DecodeError> {
    let steps = RowSteps::take(decoder);
    scratch.outliers.clear();
    for _ in 0..row::take_count(decoder) {
        let column = usize::from(row::take_16(decoder));
        let value = apart(row::take_16(decoder));
        if column >= hidden {
            return Err(DecodeError::Malformed("an outlier behind the row"));
        }
        scratch.outliers.push((column, value));
    }
    steps.bands(profile, hidden, &mut scratch.bands);
    let begin = out.len();
    take_values(decoder, steps, profile, &scratch.bands, out);
    let values = &mut out[begin..];
    if let Some(channels) = &profile.channels {
        channels.reflectors.backward(values);
        for &(column, value) in &scratch.outliers {
            values[column] = value;
        }
        let means = values.iter_mut().zip(&channels.means);
        means.for_each(|(value, mean)| *value += mean);
    }
    Ok(())
}

fn take_values(
    decoder: &mut rans::Decoder<'_>,
    steps: RowSteps,
    profile: &Profile,
    bands: &[Band],
    out: &mut Vec<f32>,
) {
    let step = steps.step(profile);
    let mut state = 0;
    out.extend(bands.iter().map(|&band| {
        let quantiser = trellis::quantiser(state);
        match profile.tables.get(quantiser, band).read(decoder) {
            Some(part) => {
                let low = match band.shift {
                    0 => 0,
                    shift => decoder.uniform(u32::from(shift)),
                };
                let index = band.join(part, low);
                state = next(steps, state, index);
                trellis::point(quantiser, index) * step
            }
            None => {
                state = next(steps, state, 0);
                apart(row::take_16(decoder))
            }
        }
    }));
}
