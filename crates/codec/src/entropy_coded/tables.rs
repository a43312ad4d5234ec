//! Static frequency tables, one for each spread that a value may have in steps.
//!
//! A **spread** is how far values of one kind reach, in steps, as an integer logarithm (see
//! [`super::log_scale`]). Half a doubling shares a [`Band`] and its tables. Spreads above 8 steps
//! share the last bands: there the distribution is smooth, and the lowest bits of an index are as
//! good as uniform and are written as they are.

use crate::rans::{Decoder, Share, TOTAL};

/// Spreads of a band.
const BAND_WIDTH: i32 = 4;
/// The least spread of the first band: 2⁻⁴ steps. Smaller ones belong to it too.
const FIRST: i32 = -32;
/// Number of bands; the last ends at 2³ steps.
pub(crate) const BANDS: usize = 14;
/// Sets of tables: one for each of the trellis' two quantisers (see [`super::trellis`]).
pub(crate) const QUANTISERS: usize = 2;
/// The least spread whose indices have bits written as they are.
const SHIFTED: i32 = FIRST + BAND_WIDTH * BANDS as i32;
/// The most bits written as they are: a step is never that much smaller than a scale.
const MAX_SHIFT: i32 = 12;

/// What a value's spread says of its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Band {
    /// Which tables.
    pub(crate) number: u8,
    /// Bits of the index that are written as they are.
    pub(crate) shift: u8,
}

impl Band {
    /// The band of a spread.
    #[inline]
    pub(crate) fn of(spread: i32) -> Self {
        let shift = if spread >= SHIFTED {
            ((spread - SHIFTED) / 8 + 1).min(MAX_SHIFT)
        } else {
            0
        };
        let number = (spread - 8 * shift - FIRST).div_euclid(BAND_WIDTH);
        Self {
            number: number.clamp(0, BANDS as i32 - 1) as u8,
            shift: shift as u8,
        }
    }

    /// The part of an index that a table has, and the bits that are written as they are. Centred:
    /// the part 0 holds as many indices below zero as above, but for one.
    #[inline]
    pub(crate) fn split(self, index: i32) -> (i32, u32) {
        let centred = index + self.half();
        (
            centred >> self.shift,
            (centred & ((1 << self.shift) - 1)) as u32,
        )
    }

    /// The index of both.
    #[inline]
    pub(crate) fn join(self, part: i32, low: u32) -> i32 {
        (part << self.shift) + low as i32 - self.half()
    }

    #[inline]
    fn half(self) -> i32 {
        (1 << self.shift) >> 1
    }
}

/// Indices from −radius to radius have a symbol each in a band's tables; the rest shares one, the
/// escape. Five times the band's largest spread, as few values are farther out.
pub(crate) fn radius(band: usize) -> usize {
    const RADII: [usize; BANDS] = [2, 2, 2, 2, 2, 3, 4, 5, 8, 11, 15, 21, 30, 41];
    RADII[band]
}

/// Symbols of a band's tables.
pub(crate) fn symbols(band: usize) -> usize {
    2 * radius(band) + 2
}

/// One table, ready to encode and decode by.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    radius: i32,
    shares: Vec<Share>,
    /// The symbol at each of [`TOTAL`] places.
    lookup: Box<[u8; TOTAL as usize]>,
    /// Bits of each symbol.
    costs: Vec<f32>,
}

impl Table {
    /// A table of a band's frequencies, by index from −radius on, the escape last. `None` unless
    /// they are as many as there are symbols, all positive, with the right sum.
    pub(crate) fn new(band: usize, frequencies: &[u16]) -> Option<Self> {
        let sum: u32 = frequencies.iter().map(|&f| u32::from(f)).sum();
        if frequencies.len() != symbols(band) || frequencies.contains(&0) || sum != TOTAL {
            return None;
        }
        let mut start = 0;
        let mut shares = Vec::with_capacity(frequencies.len());
        let mut lookup = Box::new([0; TOTAL as usize]);
        for (symbol, &frequency) in frequencies.iter().enumerate() {
            shares.push(Share { start, frequency });
            lookup[usize::from(start)..][..usize::from(frequency)].fill(symbol as u8);
            start += frequency;
        }
        let bits = |&f: &u16| libm::log2f(TOTAL as f32 / f32::from(f));
        Some(Self {
            radius: radius(band) as i32,
            shares,
            lookup,
            costs: frequencies.iter().map(bits).collect(),
        })
    }

    pub(crate) fn frequencies(&self) -> impl Iterator<Item = u16> {
        self.shares.iter().map(|s| s.frequency)
    }

    /// The share of an index, if it is not one that escapes.
    #[inline]
    pub(crate) fn share(&self, part: i32) -> Option<Share> {
        if part.abs() <= self.radius {
            self.shares.get((part + self.radius) as usize).copied()
        } else {
            None
        }
    }

    #[inline]
    pub(crate) fn escape(&self) -> Share {
        self.shares[self.shares.len() - 1]
    }

    /// Bits of a value that is written apart.
    #[inline]
    pub(crate) fn escape_cost(&self) -> f32 {
        self.costs[self.costs.len() - 1] + 16.0
    }

    /// Bits of an index' part; infinite for one that escapes.
    #[inline]
    pub(crate) fn cost(&self, part: i32) -> f32 {
        if part.abs() <= self.radius {
            self.costs[(part + self.radius) as usize]
        } else {
            f32::INFINITY
        }
    }

    /// Reads a symbol: an index' part, or `None` for an escape.
    #[inline]
    pub(crate) fn read(&self, decoder: &mut Decoder<'_>) -> Option<i32> {
        let symbol = usize::from(self.lookup[decoder.peek() as usize]);
        decoder.advance(self.shares[symbol]);
        let part = symbol as i32 - self.radius;
        (part <= self.radius).then_some(part)
    }
}

/// All tables of a profile.
#[derive(Debug, Clone)]
pub(crate) struct Tables(Vec<Table>);

impl Tables {
    /// Tables made by `frequencies(quantiser, band)`; `None` when one of them is none.
    pub(crate) fn new(
        mut frequencies: impl FnMut(usize, usize) -> Option<Vec<u16>>,
    ) -> Option<Self> {
        let all = (0..QUANTISERS).flat_map(|q| (0..BANDS).map(move |b| (q, b)));
        all.map(|(quantiser, band)| Table::new(band, &frequencies(quantiser, band)?))
            .collect::<Option<_>>()
            .map(Self)
    }

    #[inline]
    pub(crate) fn get(&self, quantiser: usize, band: Band) -> &Table {
        &self.0[quantiser * BANDS + usize::from(band.number)]
    }

    /// Every table's frequencies, quantiser by quantiser, band by band.
    pub(crate) fn frequencies(&self) -> impl Iterator<Item = u16> {
        self.0.iter().flat_map(Table::frequencies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_share_half_a_doubling() {
        let band = |number, shift| Band { number, shift };
        assert_eq!(Band::of(-1000), band(0, 0));
        assert_eq!(Band::of(-32), band(0, 0));
        assert_eq!(Band::of(-28), band(1, 0));
        assert_eq!(Band::of(23), band(13, 0));
        assert_eq!(Band::of(24), band(12, 1));
        assert_eq!(Band::of(31), band(13, 1));
        assert_eq!(Band::of(32), band(12, 2));
        assert_eq!(Band::of(10_000), band(13, 12));
    }

    #[test]
    fn an_index_is_its_two_parts() {
        for shift in 0..=12 {
            let band = Band { number: 13, shift };
            for index in [-70_000, -4097, -2, -1, 0, 1, 2, 3, 4096, 99_999] {
                let (part, low) = band.split(index);
                assert!(low < 1 << shift);
                assert_eq!(band.join(part, low), index);
            }
        }
    }

    #[test]
    fn frequencies_that_are_none_are_refused() {
        let mut good = vec![1; symbols(0)];
        good[2] = 4096 - 5;
        let table = Table::new(0, &good).unwrap();
        assert_eq!(table.frequencies().collect::<Vec<_>>(), good);
        assert_eq!(table.share(3), None);
        assert_eq!(table.share(0).unwrap().frequency, 4091);
        for bad in [vec![], vec![4096], vec![0, 1, 4092, 1, 1, 1], vec![1; 6]] {
            assert!(Table::new(0, &bad).is_none(), "{bad:?}");
        }
    }
}
