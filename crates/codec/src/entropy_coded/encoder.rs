//! Rows to symbols.

use super::log_scale::{OCTAVE, exp2};
use super::profile::{Channels, Profile};
use super::row::{self, MAX_OUTLIERS, RowSteps};
use super::tables::{Band, Tables};
use super::trellis::{self, Index, Search};
use crate::rans::{self, Share};
use crate::rounding::{nearest, to_bf16};
use crate::threshold_split::scale_without_outliers;
use half::bf16;
use std::sync::Arc;

/// Scales of a row beyond which a value leaves it before the transform, which would spread it
/// over all others.
const THRESHOLD: f32 = 12.0;

/// What a bit is worth in squared errors, in steps: what it costs to have one fewer, from the law
/// that an error of step²/12 falls four-fold a bit, less a little that was found by trial.
const LAMBDA: f32 = 0.1;

/// Encodes rows by a profile at one of its operating points.
#[derive(Debug)]
pub(crate) struct RowEncoder {
    profile: Arc<Profile>,
    point: usize,
    trellis: bool,
    inverse_spreads: Vec<f32>,
    inverse_transformed: Vec<f32>,
    values: Vec<f32>,
    normalised: Vec<f32>,
    outliers: Vec<(usize, u16)>,
    bands: Vec<Band>,
    indices: Vec<Index>,
    search: Search,
    shares: Vec<Share>,
}

impl RowEncoder {
    pub(crate) fn new(profile: Arc<Profile>, point: usize, trellis: bool) -> Self {
        let unit = profile.steps.unit;
        let inverse = |scales: fn(&Channels) -> &Vec<i16>| {
            let scales = profile.channels.as_ref().map(scales);
            let scales = scales.into_iter().flatten();
            scales
                .map(|&s| exp2(-i32::from(s) - i32::from(unit)))
                .collect()
        };
        Self {
            inverse_spreads: inverse(|c| &c.spreads),
            inverse_transformed: inverse(|c| &c.transformed),
            profile,
            point,
            trellis,
            values: Vec::new(),
            normalised: Vec::new(),
            outliers: Vec::new(),
            bands: Vec::new(),
            indices: Vec::new(),
            search: Search::default(),
            shares: Vec::new(),
        }
    }

    pub(crate) fn profile(&self) -> &Profile {
        &self.profile
    }

    pub(crate) fn leave_trellis(&mut self) {
        self.trellis = false;
    }

    /// Appends the payload of a frame of `rows`, each of `hidden` finite values. Returns how many
    /// values were written apart.
    pub(crate) fn encode(&mut self, rows: &[f32], hidden: usize, out: &mut Vec<u8>) -> usize {
        self.shares.clear();
        let apart = rows.chunks_exact(hidden).map(|row| self.row(row)).sum();
        rans::encode(&self.shares, out);
        apart
    }

    /// Quantises a row and tells of every index the quantiser, the band, and the part that its
    /// table has.
    #[cfg(feature = "fit")]
    pub(super) fn count(&mut self, row: &[f32], mut met: impl FnMut(usize, usize, i32)) {
        let steps = self.quantise(row, |_, steps| steps);
        let mut state = 0;
        for (&index, &band) in self.indices.iter().zip(&self.bands) {
            let (part, behind) = match index {
                Index::Coded(index) => (band.split(index).0, next(steps, state, index)),
                Index::Escaped => (i32::MAX, next(steps, state, 0)),
            };
            met(trellis::quantiser(state), usize::from(band.number), part);
            state = behind;
        }
    }

    fn row(&mut self, row: &[f32]) -> usize {
        let steps = self.quantise(row, |rows, steps| match &rows.profile.channels {
            None => cheapest(&rows.values, steps, &rows.profile.tables),
            Some(_) => steps,
        });
        self.put(steps)
    }

    /// Makes `values`, in steps, `bands` and `indices` of a row. `spread` may say otherwise how far
    /// the values reach; the step has to stay.
    fn quantise(
        &mut self,
        row: &[f32],
        spread: impl FnOnce(&Self, RowSteps) -> RowSteps,
    ) -> RowSteps {
        self.transform(row);
        let steps = self.steps();
        let profile = Arc::clone(&self.profile);
        let inverse_step = steps.inverse_step(&profile);
        self.values.iter_mut().for_each(|v| *v *= inverse_step);
        let steps = spread(self, steps);
        steps.bands(&profile, row.len(), &mut self.bands);
        let (values, bands) = (&self.values, &self.bands);
        if steps.trellis {
            self.search
                .quantise(values, bands, &profile.tables, LAMBDA, &mut self.indices)
        } else {
            trellis::quantise_plainly(values, bands, &profile.tables, &mut self.indices);
        }
        steps
    }

    /// Splits outliers off, and transforms the rest into `values`.
    fn transform(&mut self, row: &[f32]) {
        self.outliers.clear();
        self.values.clear();
        let Some(channels) = &self.profile.channels else {
            self.values.extend_from_slice(row);
            return;
        };
        let means = row.iter().zip(&channels.means);
        self.values.extend(means.map(|(value, mean)| value - mean));
        let threshold =
            THRESHOLD * scale(&self.values, &self.inverse_spreads, &mut self.normalised);
        let scaled = self.values.iter().zip(&self.inverse_spreads);
        let far = scaled
            .enumerate()
            .filter(|(_, (v, inverse))| (*v * *inverse).abs() > threshold);
        for (column, _) in far.take(MAX_OUTLIERS) {
            self.outliers.push((column, to_bf16(self.values[column])));
        }
        for &(column, _) in &self.outliers {
            self.values[column] = 0.0;
        }
        channels.reflectors.forward(&mut self.values);
    }

    fn steps(&mut self) -> RowSteps {
        let scale = match &self.profile.channels {
            None => {
                scale_without_outliers(&self.values) * exp2(-i32::from(self.profile.steps.unit))
            }
            Some(_) => scale(
                &self.values,
                &self.inverse_transformed,
                &mut self.normalised,
            ),
        };
        RowSteps::choose(&self.profile, self.point, scale, self.trellis)
    }

    fn put(&mut self, steps: RowSteps) -> usize {
        let shares = &mut self.shares;
        steps.put(shares);
        row::put_count(self.outliers.len(), shares);
        for &(column, value) in &self.outliers {
            row::put_16(column as u16, shares);
            row::put_16(value, shares);
        }
        let step = steps.step(&self.profile);
        let (mut state, mut escaped) = (0, 0);
        let coded = self.indices.iter().zip(&self.bands).zip(&self.values);
        for ((&index, &band), &value) in coded {
            let table = self.profile.tables.get(trellis::quantiser(state), band);
            let (part, low) = match index {
                Index::Coded(index) => band.split(index),
                Index::Escaped => (i32::MAX, 0),
            };
            match (index, table.share(part)) {
                (Index::Coded(index), Some(share)) => {
                    shares.push(share);
                    if band.shift > 0 {
                        shares.push(Share::uniform(low, u32::from(band.shift)));
                    }
                    state = next(steps, state, index);
                }
                _ => {
                    shares.push(table.escape());
                    row::put_16(to_bf16(value * step), shares);
                    state = next(steps, state, 0);
                    escaped += 1;
                }
            }
        }
        escaped + self.outliers.len()
    }
}

/// The scale of `values`, each relative to its channel's spread.
fn scale(values: &[f32], inverse_spreads: &[f32], normalised: &mut Vec<f32>) -> f32 {
    normalised.clear();
    let scaled = values.iter().zip(inverse_spreads);
    normalised.extend(scaled.map(|(value, inverse)| value * inverse));
    scale_without_outliers(normalised)
}

/// The spread by which `values`, in steps, take the fewest bits, where one has to do for all of them.
///
/// A row's scale alone does not tell it: the shapes of rows differ. And of the built-in tables only those
/// that whole doublings reach are learnt (each other one holds all its symbols alike), so those are
/// what there is to choose from.
fn cheapest(values: &[f32], steps: RowSteps, tables: &Tables) -> RowSteps {
    let whole = steps.spread().div_euclid(OCTAVE) * OCTAVE;
    let near = [0, OCTAVE, -OCTAVE, 2 * OCTAVE];
    let spreads = near
        .into_iter()
        .filter_map(|by| steps.with_spread(whole + by));
    let cost = |steps: &RowSteps| {
        let band = Band::of(steps.spread());
        let table = tables.get(0, band);
        let bits = |&value: &f32| {
            let (part, _) = band.split(nearest(value));
            (table.cost(part) + f32::from(band.shift)).min(table.escape_cost())
        };
        values.iter().map(bits).sum::<f32>()
    };
    let costs = spreads.map(|steps| (cost(&steps), steps));
    let least = costs.min_by(|a, b| a.0.total_cmp(&b.0));
    least.map_or(steps, |(_, steps)| steps)
}

/// Without the trellis the machine stands still.
pub(super) fn next(steps: RowSteps, state: u8, index: i32) -> u8 {
    if steps.trellis {
        trellis::next(state, index)
    } else {
        state
    }
}

/// The value that was written apart.
pub(super) fn apart(bits: u16) -> f32 {
    bf16::from_bits(bits).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_takes_fewer_bits_by_another_table_and_keeps_its_step() {
        let profile = Arc::clone(Profile::built_in());
        for (point, few) in [(0, 6.6), (1, 5.6), (2, 3.9)] {
            let mut encoder = RowEncoder::new(Arc::clone(&profile), point, true);
            for size in [1e-3, 0.7, 1.0, 1.2, 1.5, 1.7, 300.0] {
                let uniform = |i: u32| (i.wrapping_mul(2_654_435_769) >> 8) as f32 / 16_777_216.0;
                let row: Vec<f32> = (0..6 * 512)
                    .map(|i| uniform(i) - 0.5)
                    .collect::<Vec<_>>()
                    .chunks_exact(6)
                    .map(|parts| size * parts.iter().sum::<f32>())
                    .collect();
                let named = encoder.quantise(&row, |_, steps| steps);
                let best = cheapest(&encoder.values, named, &profile.tables);
                assert_eq!(best.step(&profile), named.step(&profile));
                assert_eq!(
                    Band::of(best.spread()).number % 2,
                    0,
                    "a band that was learnt"
                );
                let mut frame = Vec::new();
                encoder.encode(&row, row.len(), &mut frame);
                let bits = 8.0 * frame.len() as f32 / row.len() as f32;
                assert!(bits < few, "{bits} bits a value at point {point}");
            }
        }
    }
}
