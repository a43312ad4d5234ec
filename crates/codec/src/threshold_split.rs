//! Threshold splitting (arXiv 2511.04002): the few values that a row's range cannot hold leave it.
//!
//! Here for codes of a fixed width, where an outlier costs everyone a bit: a width of b bits holds
//! 2^b steps, a window on the number line; what lies outside is an outlier. The narrower the
//! window, the fewer bits a value and the more outliers: [`choose`] takes the cheapest.

/// What a row is split by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Bits of a code.
    pub(crate) bits: u32,
    /// The level of code 0. Level j is j steps from zero.
    pub(crate) lowest: i32,
    /// Values outside.
    pub(crate) outliers: usize,
}

/// The widths there are. Fewer than 2 bits never pay: then most values are outliers.
pub(crate) const WIDTHS: std::ops::RangeInclusive<u32> = 2..=8;

/// Levels that are told apart on each side of zero. What is farther out is an outlier at every
/// width, as no window of 2^8 levels that holds most of a row reaches that far.
const REACH: i32 = 1024;
const LEVELS: usize = 2 * REACH as usize + 1;

/// Bits that an outlier costs beside its code: what the code has no room for of its 16, and its
/// place, for which this is a good guess at some dozens in a row.
pub(crate) const OUTLIER_BITS: u32 = 16;
const PLACE_BITS: f64 = 6.5;

/// The root mean square of a row without its outliers, as far as that can be said before one
/// knows which they are: values above four times of it are left out until nothing changes.
pub(crate) fn scale_without_outliers(row: &[f32]) -> f32 {
    let mut limit = f32::INFINITY;
    let mut scale = 0.0;
    for _ in 0..8 {
        let (mut sum, mut count) = ([0.0f32; 8], [0u32; 8]);
        for values in row.chunks(8) {
            for ((value, sum), count) in values.iter().zip(&mut sum).zip(&mut count) {
                let inside = value.abs() <= limit;
                *sum += if inside { value * value } else { 0.0 };
                *count += u32::from(inside);
            }
        }
        let kept = count.iter().sum::<u32>().max(1);
        let next = (sum.iter().map(|&s| f64::from(s)).sum::<f64>() / f64::from(kept)).sqrt() as f32;
        // A sum of squares that overflowed: the largest values go in a second look.
        let next = if next.is_finite() {
            next
        } else {
            f32::MAX.sqrt() / 64.0
        };
        if next == scale {
            break;
        }
        scale = next;
        limit = 4.0 * scale;
    }
    scale
}

/// Counts of a row's levels.
#[derive(Debug)]
pub(crate) struct Histogram {
    counts: Vec<u32>,
}

impl Histogram {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; LEVELS],
        }
    }

    /// The cheapest window for a row's levels.
    pub(crate) fn choose(&mut self, levels: &[i32]) -> Window {
        self.counts.fill(0);
        let mut far = 0;
        let (mut first, mut last) = (LEVELS, 0);
        for &level in levels {
            match usize::try_from(level.saturating_add(REACH)) {
                Ok(at) if at < LEVELS => {
                    self.counts[at] += 1;
                    (first, last) = (first.min(at), last.max(at));
                }
                _ => far += 1,
            }
        }
        let inside = levels.len() - far;
        let mut best = None;
        for bits in WIDTHS {
            let (lowest, held) = self.fullest(first.min(last), last, 1 << bits);
            let outliers = inside - held + far;
            let cost = levels.len() as f64 * f64::from(bits)
                + outliers as f64 * (f64::from(OUTLIER_BITS - bits) + PLACE_BITS);
            if best.is_none_or(|(least, _)| cost < least) {
                let window = Window {
                    bits,
                    lowest: lowest as i32 - REACH,
                    outliers,
                };
                best = Some((cost, window));
            }
            if outliers == far {
                break;
            }
        }
        best.map_or(
            Window {
                bits: *WIDTHS.end(),
                lowest: 0,
                outliers: levels.len(),
            },
            |(_, window)| window,
        )
    }

    /// Where `width` levels among `first..=last` hold the most values, and how many.
    fn fullest(&self, first: usize, last: usize, width: usize) -> (usize, usize) {
        let count = |at: usize| self.counts.get(at).copied().unwrap_or(0) as usize;
        let mut held: usize = (first..(first + width).min(last + 1)).map(count).sum();
        let mut best = (first, held);
        for lowest in first + 1..=(last + 1).saturating_sub(width).max(first) {
            held = held - count(lowest - 1) + count(lowest + width - 1);
            if held > best.1 {
                best = (lowest, held);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cost(levels: &[i32], bits: u32, lowest: i32) -> f64 {
        let top = lowest + (1 << bits);
        let outliers = levels.iter().filter(|&&l| l < lowest || l >= top).count();
        levels.len() as f64 * f64::from(bits)
            + outliers as f64 * (f64::from(OUTLIER_BITS - bits) + PLACE_BITS)
    }

    proptest! {
        #[test]
        fn no_window_is_cheaper(levels in prop::collection::vec(prop_oneof![-40i32..40, -900i32..900, Just(5000)], 1..120)) {
            let window = Histogram::new().choose(&levels);
            let top = window.lowest + (1 << window.bits);
            let outside = levels.iter().filter(|&&l| l < window.lowest || l >= top).count();
            prop_assert_eq!(outside, window.outliers);
            let chosen = cost(&levels, window.bits, window.lowest);
            for bits in WIDTHS {
                for lowest in -REACH..REACH {
                    prop_assert!(cost(&levels, bits, lowest) >= chosen, "{} {}", bits, lowest);
                }
            }
        }
    }

    #[test]
    fn outliers_do_not_count_for_the_scale() {
        let mut row: Vec<f32> = (0..576).map(|i| (i as f32).sin()).collect();
        let alone = scale_without_outliers(&row);
        row[7] = 24_000.0;
        row[9] = -3e38;
        let scale = scale_without_outliers(&row);
        assert!((scale / alone - 1.0).abs() < 0.01, "{scale} {alone}");
        assert!((alone - 0.5f32.sqrt()).abs() < 0.01);
        assert_eq!(scale_without_outliers(&[0.0; 9]), 0.0);
    }
}
