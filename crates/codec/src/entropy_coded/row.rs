//! One row's fields: the numbers that stand before its values.

use super::log_scale::{self, exp2};
use super::profile::{FINE, Profile};
use super::tables::Band;
use crate::rans::{Decoder, Share};

/// The scale 2⁰ as it is written.
const SCALE_ZERO: i32 = 128;
/// The fineness 2⁰ as it is written: a step as large as the scale.
const FINENESS_ZERO: i32 = 24;
const FINENESS_BITS: u32 = 7;

/// A row's scale and step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowSteps {
    /// Logarithm of the scale, 0 to 255.
    scale: u8,
    /// Logarithm of how many steps a scale has, 0 to 127.
    fineness: u8,
    /// Whether the trellis' two quantisers take turns.
    pub(super) trellis: bool,
}

impl RowSteps {
    /// The step that a profile gives a row of this scale at an operating point.
    pub(super) fn choose(profile: &Profile, point: usize, scale: f32, trellis: bool) -> Self {
        let scale = (log_scale::log2(scale) + SCALE_ZERO).clamp(0, 255);
        let relative = scale - SCALE_ZERO;
        let steps = &profile.steps;
        let fine = i32::from(steps.base[point]) + relative * FINE * i32::from(steps.slope) / 64;
        // Steps are calibrated finer than they are written: so that the mean over rows is what was
        // calibrated, it is rounded at a place that differs between scales.
        let dither = [0, 4, 2, 6, 1, 5, 3, 7][(scale & 7) as usize];
        let step = (fine + dither).div_euclid(FINE);
        let fineness = (relative - step + FINENESS_ZERO).clamp(0, (1 << FINENESS_BITS) - 1);
        Self {
            scale: scale as u8,
            fineness: fineness as u8,
            trellis,
        }
    }

    /// How far the row's values reach, in steps, as far as its scale says it.
    pub(super) fn spread(self) -> i32 {
        self.logs().1
    }

    /// The same step, of a row whose values are said to reach as far as `spread`. `None` when no row
    /// can say that.
    pub(super) fn with_spread(self, spread: i32) -> Option<Self> {
        let by = spread - self.spread();
        let fineness = i32::from(self.fineness) + by;
        Some(Self {
            scale: u8::try_from(i32::from(self.scale) + by).ok()?,
            fineness: u8::try_from(fineness)
                .ok()
                .filter(|f| *f >> FINENESS_BITS == 0)?,
            trellis: self.trellis,
        })
    }

    fn logs(self) -> (i32, i32) {
        let scale = i32::from(self.scale) - SCALE_ZERO;
        (scale, i32::from(self.fineness) - FINENESS_ZERO)
    }

    /// The step.
    pub(super) fn step(self, profile: &Profile) -> f32 {
        let (scale, fineness) = self.logs();
        exp2(scale - fineness + i32::from(profile.steps.unit))
    }

    /// One over the step.
    pub(super) fn inverse_step(self, profile: &Profile) -> f32 {
        let (scale, fineness) = self.logs();
        exp2(fineness - scale - i32::from(profile.steps.unit))
    }

    /// Each value's band.
    pub(super) fn bands(self, profile: &Profile, hidden: usize, bands: &mut Vec<Band>) {
        let (_, fineness) = self.logs();
        bands.clear();
        match &profile.channels {
            None => bands.resize(hidden, Band::of(fineness)),
            Some(channels) => {
                let spreads = channels.transformed.iter();
                bands.extend(spreads.map(|&s| Band::of(i32::from(s) + fineness)));
            }
        }
    }

    pub(super) fn put(self, shares: &mut Vec<Share>) {
        shares.push(Share::uniform(u32::from(self.scale), 8));
        shares.push(Share::uniform(u32::from(self.fineness), FINENESS_BITS));
        shares.push(Share::uniform(u32::from(self.trellis), 1));
    }

    pub(super) fn take(decoder: &mut Decoder<'_>) -> Self {
        Self {
            scale: decoder.uniform(8) as u8,
            fineness: decoder.uniform(FINENESS_BITS) as u8,
            trellis: decoder.uniform(1) == 1,
        }
    }
}

/// Numbers of outliers and their shares: mostly none.
const COUNTS: [u16; 16] = [
    2816, 640, 256, 128, 64, 48, 32, 24, 20, 16, 14, 12, 10, 8, 6, 2,
];
/// The most outliers that are split off a row.
pub(super) const MAX_OUTLIERS: usize = COUNTS.len() - 1;

fn count_share(count: usize) -> Share {
    Share {
        start: COUNTS[..count].iter().sum(),
        frequency: COUNTS[count],
    }
}

/// Writes a number of outliers, at most [`MAX_OUTLIERS`].
pub(super) fn put_count(count: usize, shares: &mut Vec<Share>) {
    shares.push(count_share(count));
}

pub(super) fn take_count(decoder: &mut Decoder<'_>) -> usize {
    let at = decoder.peek();
    let mut behind = 0;
    for (count, &share) in COUNTS.iter().enumerate() {
        behind += u32::from(share);
        if at < behind {
            decoder.advance(count_share(count));
            return count;
        }
    }
    // The counts' shares are all there is: a test adds them up.
    MAX_OUTLIERS
}

/// Writes a number of 16 bits.
pub(super) fn put_16(value: u16, shares: &mut Vec<Share>) {
    shares.push(Share::uniform(u32::from(value >> 8), 8));
    shares.push(Share::uniform(u32::from(value & 0xff), 8));
}

pub(super) fn take_16(decoder: &mut Decoder<'_>) -> u16 {
    let high = decoder.uniform(8);
    ((high << 8) | decoder.uniform(8)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_shares_are_all_there_is() {
        assert_eq!(COUNTS.iter().map(|&c| u32::from(c)).sum::<u32>(), 4096);
    }

    #[test]
    fn what_a_row_says_is_read_as_it_is_written() {
        let mut shares = Vec::new();
        let steps = RowSteps {
            scale: 200,
            fineness: 77,
            trellis: true,
        };
        steps.put(&mut shares);
        (0..=MAX_OUTLIERS).for_each(|count| put_count(count, &mut shares));
        put_16(0xabcd, &mut shares);
        let mut bytes = Vec::new();
        crate::rans::encode(&shares, &mut bytes);
        let mut decoder = Decoder::new(&bytes).unwrap();
        assert_eq!(RowSteps::take(&mut decoder), steps);
        for count in 0..=MAX_OUTLIERS {
            assert_eq!(take_count(&mut decoder), count);
        }
        assert_eq!(take_16(&mut decoder), 0xabcd);
        assert!(decoder.is_done());
        let unit = f64::from(Profile::built_in().steps.unit);
        let step = ((72.0 - 53.0 + unit) / 8.0).exp2() as f32;
        assert_eq!(steps.step(Profile::built_in()), step);
    }
}
