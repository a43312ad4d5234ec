//! A profile from sample rows of a cut.
//!
//! Means and spreads are of the rows without their outliers; the reflections turn the principal
//! directions of what is left into axes; the tables are histograms of what the quantisers make of
//! the samples at many steps. Steps are set by whoever can measure what they cost: see
//! [`Profile::with_step`].

use super::encoder::RowEncoder;
use super::log_scale::{self, exp2};
use super::principal::principal_reflectors;
use super::profile::{Channels, FINE, POINTS, Profile, Steps};
use super::reflectors::Reflectors;
use super::tables::{BANDS, Tables, radius, symbols};
use crate::codec::Codec;
use crate::rans::TOTAL;
use crate::threshold_split::scale_without_outliers;
use std::sync::Arc;

/// Spreads of a row beyond which a sample says nothing of its channel.
const CLIP: f32 = 6.0;
/// Finenesses at which tables learn, in scales: from about 2 bits a value to 8.
const LEARNT: std::ops::RangeInclusive<i32> = -4..=6;
/// Bands that share a doubling of the step.
const BANDS_OF_DOUBLING: i32 = 2;
/// Counts that every symbol begins with, so that none is impossible.
const PRIOR: f64 = 0.3;

/// A profile of `rows`, `[rows, hidden]`, of the cut after `split` layers of the model whose
/// weights have this fingerprint, with `reflections` reflections.
pub fn fit(
    rows: &[f32],
    hidden: usize,
    weights: [u8; 32],
    split: u16,
    reflections: usize,
) -> Profile {
    let means = means(rows, hidden);
    let centred: Vec<f32> = rows
        .chunks_exact(hidden)
        .flat_map(|row| row.iter().zip(&means).map(|(v, m)| v - m))
        .collect();
    let raw_spreads = spreads(&centred, hidden);
    let mut middle = raw_spreads.clone();
    middle.sort_by(f32::total_cmp);
    let unit = log_scale::log2(middle[hidden / 2].max(1e-12)).clamp(-300, 300);
    let cleaned = without_outliers(centred, hidden, &raw_spreads);
    let vectors = principal_reflectors(&cleaned, hidden, reflections);
    let reflectors = Reflectors::new(hidden, vectors)
        .or_else(|| Reflectors::new(hidden, Vec::new()))
        .unwrap_or_else(|| unreachable!("no reflectors are always some"));
    let mut turned = cleaned;
    turned
        .chunks_exact_mut(hidden)
        .for_each(|row| reflectors.forward(row));
    let scales = |spreads: &[f32]| {
        let relative = spreads
            .iter()
            .map(|&s| log_scale::log2(s.max(1e-12)) - unit);
        relative.map(|s| s.clamp(-400, 400) as i16).collect()
    };
    let channels = Channels {
        means,
        spreads: scales(&raw_spreads),
        transformed: scales(&spreads(&turned, hidden)),
        reflectors,
    };
    let profile = Profile {
        fingerprint: [0; 32],
        weights,
        split,
        steps: Steps {
            unit: unit as i16,
            // As good a beginning as any: 5.5, 4.5 and 3 bits.
            base: [-28 * FINE as i16, -20 * FINE as i16, -8 * FINE as i16],
            slope: 0,
            tabq: exp2(unit - 16),
        },
        channels: Some(channels),
        tables: first_tables(),
    };
    learn_tables(profile, rows, hidden).sealed()
}

/// A profile of no model: tables for rows of which nothing is known but their scale.
pub fn fit_built_in(samples: &[(&[f32], usize)]) -> Profile {
    let mut profile = Profile {
        fingerprint: [0; 32],
        weights: [0; 32],
        split: 0,
        steps: Steps {
            unit: 0,
            base: [-30 * FINE as i16, -22 * FINE as i16, -10 * FINE as i16],
            slope: 64,
            tabq: 1.0,
        },
        channels: None,
        tables: first_tables(),
    };
    for _ in 0..2 {
        let mut counts = Counts::new();
        for &(rows, hidden) in samples {
            // All values of a row share a band here, so each band wants a step of its own.
            counts.add(&profile, rows, hidden, BANDS_OF_DOUBLING);
        }
        profile.tables = counts.tables();
    }
    profile.sealed()
}

fn learn_tables(mut profile: Profile, rows: &[f32], hidden: usize) -> Profile {
    for _ in 0..2 {
        let mut counts = Counts::new();
        counts.add(&profile, rows, hidden, 1);
        profile.tables = counts.tables();
    }
    profile
}

impl Profile {
    /// The same with other steps for one codec: the logarithm to base 2 of a step of the rows'
    /// own unit (see [`Profile::step`]). Does nothing for codecs without one.
    #[must_use]
    pub fn with_step(mut self, codec: Codec, step_log2: f64) -> Self {
        match codec.point() {
            Some(point) => {
                let fine = (step_log2 * f64::from(log_scale::OCTAVE * FINE)).round();
                self.steps.base[point] = fine.clamp(-8000.0, 8000.0) as i16;
            }
            None if codec == Codec::TabQ => {
                let unit = f64::from(exp2(i32::from(self.steps.unit)));
                self.steps.tabq = (libm::exp2(step_log2) * unit) as f32;
            }
            None => {}
        }
        self.sealed()
    }

    /// The logarithm to base 2 of a codec's step, relative to the profile's unit.
    pub fn step(&self, codec: Codec) -> Option<f64> {
        match codec.point() {
            Some(point) => {
                Some(f64::from(self.steps.base[point]) / f64::from(log_scale::OCTAVE * FINE))
            }
            None if codec == Codec::TabQ => {
                let unit = f64::from(exp2(i32::from(self.steps.unit)));
                Some(libm::log2(f64::from(self.steps.tabq) / unit))
            }
            None => None,
        }
    }

    /// As the bytes say it is: a profile that was written and read again is the same.
    fn sealed(self) -> Self {
        match Self::read(&self.to_bytes()) {
            Ok(profile) => profile,
            Err(error) => unreachable!("what was written is read: {error}"),
        }
    }
}

/// Means by channel of rows that are no outliers as a whole.
fn means(rows: &[f32], hidden: usize) -> Vec<f32> {
    let lengths: Vec<f32> = rows.chunks_exact(hidden).map(root_mean_square).collect();
    let mut sorted = lengths.clone();
    sorted.sort_by(f32::total_cmp);
    let usual = 5.0 * sorted[sorted.len() / 2];
    let mut sums = vec![0.0f64; hidden];
    let mut count = 0;
    for (row, _) in rows
        .chunks_exact(hidden)
        .zip(&lengths)
        .filter(|&(_, &length)| length <= usual)
    {
        count += 1;
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += f64::from(value);
        }
    }
    sums.iter()
        .map(|sum| (sum / f64::from(count.max(1))) as f32)
        .collect()
}

fn root_mean_square(row: &[f32]) -> f32 {
    let squares: f64 = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    (squares / row.len() as f64).sqrt() as f32
}

/// Spreads by channel, of rows brought to one scale, outliers left out.
fn spreads(rows: &[f32], hidden: usize) -> Vec<f32> {
    let mut channel = Vec::with_capacity(rows.len() / hidden);
    let mut spreads: Vec<f32> = (0..hidden)
        .map(|column| {
            channel.clear();
            channel.extend(rows[column..].iter().step_by(hidden));
            scale_without_outliers(&channel)
        })
        .collect();
    // A second look, with each row's own scale taken off.
    let least = spreads.iter().copied().fold(0.0, f32::max) * 1e-6 + f32::MIN_POSITIVE;
    spreads.iter_mut().for_each(|s| *s = s.max(least));
    let scales = row_scales(rows, hidden, &spreads);
    (0..hidden)
        .map(|column| {
            channel.clear();
            let values = rows[column..].iter().step_by(hidden).zip(&scales);
            channel.extend(values.map(|(v, scale)| v / scale));
            let all = scale_without_outliers(&channel);
            let limit = CLIP * all;
            let clipped = channel.iter().map(|v| f64::from(v.clamp(-limit, limit)));
            let squares: f64 = clipped.map(|v| v * v).sum();
            ((squares / channel.len() as f64).sqrt() as f32).max(least)
        })
        .collect()
}

fn row_scales(rows: &[f32], hidden: usize, spreads: &[f32]) -> Vec<f32> {
    rows.chunks_exact(hidden)
        .map(|row| {
            let normalised: Vec<f32> = row.iter().zip(spreads).map(|(v, s)| v / s).collect();
            scale_without_outliers(&normalised).max(f32::MIN_POSITIVE)
        })
        .collect()
}

/// Rows brought to one scale, what is far outside its channel's spread set to zero.
fn without_outliers(mut rows: Vec<f32>, hidden: usize, spreads: &[f32]) -> Vec<f32> {
    let scales = row_scales(&rows, hidden, spreads);
    for (row, scale) in rows.chunks_exact_mut(hidden).zip(scales) {
        for (value, spread) in row.iter_mut().zip(spreads) {
            *value /= scale;
            if value.abs() > 2.0 * CLIP * spread {
                *value = 0.0;
            }
        }
    }
    rows
}

/// How often each index was met.
struct Counts(Vec<Vec<f64>>);

impl Counts {
    fn new() -> Self {
        let bands = (0..2).flat_map(|_| 0..BANDS);
        Self(bands.map(|band| vec![PRIOR; symbols(band)]).collect())
    }

    /// Encodes rows at many steps, so many of a doubling, and counts what comes out.
    fn add(&mut self, profile: &Profile, rows: &[f32], hidden: usize, of_doubling: i32) {
        // Channels of unlike spreads reach all bands with a step every doubling; every 7th row is sample
        // enough for one.
        let learnt = LEARNT.start() * of_doubling..=LEARNT.end() * of_doubling;
        for (number, fineness) in learnt.enumerate() {
            let step = -f64::from(fineness) / f64::from(of_doubling);
            let mut at = profile.clone();
            at.steps.base = [(step * f64::from(log_scale::OCTAVE * FINE)) as i16; POINTS];
            at.steps.slope = 64;
            let mut encoder = RowEncoder::new(Arc::new(at), 0, true);
            for row in rows.chunks_exact(hidden).skip(number).step_by(7) {
                encoder.count(row, |quantiser, band, part| {
                    let reach = radius(band) as i32;
                    let symbol = if part.abs() <= reach {
                        (part + reach) as usize
                    } else {
                        2 * reach as usize + 1
                    };
                    self.0[quantiser * BANDS + band][symbol] += 1.0;
                });
            }
        }
    }

    fn tables(&self) -> Tables {
        let tables =
            Tables::new(|quantiser, band| Some(frequencies(&self.0[quantiser * BANDS + band])));
        tables.unwrap_or_else(|| unreachable!("frequencies are made to fit"))
    }
}

/// Tables to begin with: two-sided exponentials of each band's spread.
fn first_tables() -> Tables {
    let tables = Tables::new(|_, band| {
        let spread = f64::from(exp2(-30 + 4 * band as i32));
        let reach = radius(band) as i32;
        let weight =
            |part: i32| libm::exp(-std::f64::consts::SQRT_2 * f64::from(part.abs()) / spread);
        let mut weights: Vec<f64> = (-reach..=reach).map(weight).collect();
        weights.push(1e-4);
        Some(frequencies(&weights))
    });
    tables.unwrap_or_else(|| unreachable!("frequencies are made to fit"))
}

/// Integer frequencies in proportion to weights, each at least 1, that add up to the total.
fn frequencies(weights: &[f64]) -> Vec<u16> {
    let sum: f64 = weights.iter().sum();
    let room = f64::from(TOTAL) - weights.len() as f64;
    let mut frequencies: Vec<u16> = weights
        .iter()
        .map(|w| 1 + (w / sum * room).floor() as u16)
        .collect();
    let given: u32 = frequencies.iter().map(|&f| u32::from(f)).sum();
    let largest = (0..weights.len()).max_by(|&a, &b| weights[a].total_cmp(&weights[b]));
    if let Some(largest) = largest {
        frequencies[largest] += (TOTAL - given) as u16;
    }
    frequencies
}
