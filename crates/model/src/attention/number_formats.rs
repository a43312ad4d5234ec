//! How the numbers of a cache are read: eight at a time, as floats.

use super::softmax::LANES;
use super::tile::PANELS;
use crate::kv_cache::GROUP;
use crate::prefetch::prefetch;

/// Positions of a panel of keys, and dimensions that values are taken by: four vectors.
pub(super) const WIDTH: usize = 4 * LANES;

/// [`WIDTH`] floats.
pub(super) type Wide = [[f32; LANES]; 4];

/// How numbers are coded.
pub(super) trait NumberFormat {
    /// Bytes of [`LANES`] codes.
    const BYTES: usize;
    /// Each position has a scale in f32, which scores and weights are multiplied with.
    const SCALED: bool = false;
    /// Each group of dimensions has a scale and an offset in bf16, which make numbers of codes.
    const GRIDS: bool = false;

    /// A panel of codes is one of floats.
    const FLOATS: bool = false;

    /// Eight codes as they are.
    fn floats(codes: &[u8]) -> [f32; LANES];
}

pub(super) struct Floats;
pub(super) struct BrainFloats;
pub(super) struct Bytes;
pub(super) struct Nibbles;

impl NumberFormat for Floats {
    const BYTES: usize = 32;
    const FLOATS: bool = true;

    #[inline(always)]
    fn floats(codes: &[u8]) -> [f32; LANES] {
        let mut floats = [0.0; LANES];
        for (float, code) in floats.iter_mut().zip(codes.as_chunks().0) {
            *float = f32::from_ne_bytes(*code);
        }
        floats
    }
}

impl NumberFormat for BrainFloats {
    const BYTES: usize = 16;

    #[inline(always)]
    fn floats(codes: &[u8]) -> [f32; LANES] {
        let mut floats = [0.0; LANES];
        for (float, code) in floats.iter_mut().zip(codes.as_chunks().0) {
            *float = widened(u16::from_ne_bytes(*code));
        }
        floats
    }
}

impl NumberFormat for Bytes {
    const BYTES: usize = 8;
    const SCALED: bool = true;

    #[inline(always)]
    fn floats(codes: &[u8]) -> [f32; LANES] {
        let mut floats = [0.0; LANES];
        for (float, code) in floats.iter_mut().zip(codes) {
            *float = f32::from(code.cast_signed());
        }
        floats
    }
}

impl NumberFormat for Nibbles {
    const BYTES: usize = 4;
    const GRIDS: bool = true;

    #[inline(always)]
    fn floats(codes: &[u8]) -> [f32; LANES] {
        let word = match codes.first_chunk() {
            Some(bytes) => u32::from_le_bytes(*bytes),
            None => 0,
        };
        let mut floats = [0.0; LANES];
        for (i, float) in floats.iter_mut().enumerate() {
            *float = ((word >> (4 * i)) & 15) as i32 as f32;
        }
        floats
    }
}

/// bf16 as f32.
#[inline(always)]
fn widened(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// [`WIDTH`] positions' keys: `[dim]` rows of codes.
#[derive(Clone, Copy)]
pub(super) struct KeyPanel<'a> {
    pub(super) codes: &'a [u8],
    /// `[groups, 2, WIDTH]` in bf16: scales, then offsets. Empty without [`NumberFormat::GRIDS`].
    pub(super) grids: &'a [u16],
    /// What is read behind it, for memory to fetch meanwhile.
    pub(super) next: &'a [u8],
}

impl<'a> KeyPanel<'a> {
    /// Each group of dimensions: its first, its rows of codes, its scales and offsets.
    #[inline(always)]
    fn groups<F: NumberFormat>(self) -> impl Iterator<Item = (usize, &'a [u8], [Wide; 2])> {
        let rows = self.codes.chunks(GROUP * 4 * F::BYTES).enumerate();
        rows.map(move |(group, rows)| {
            let mut grids = [Wide::default(); 2];
            if F::GRIDS {
                let stored = &self.grids[group * 2 * WIDTH..][..2 * WIDTH];
                for (wide, stored) in grids.iter_mut().zip(stored.chunks_exact(WIDTH)) {
                    for (vector, stored) in wide.iter_mut().zip(stored.chunks_exact(LANES)) {
                        for (float, bits) in vector.iter_mut().zip(stored) {
                            *float = widened(*bits);
                        }
                    }
                }
            }
            (group * GROUP, rows, grids)
        })
    }

    /// The scores of rows with the panel's positions, but for [`NumberFormat::SCALED`]. Each is one sum in
    /// the order of dimensions.
    #[inline(always)]
    pub(super) fn scores<F: NumberFormat, const ROWS: usize>(
        self,
        queries: [&[f32]; ROWS],
    ) -> [Wide; ROWS] {
        let mut sums = [Wide::default(); ROWS];
        for (first, rows, grids) in self.groups::<F>() {
            for (dim, codes) in (first..).zip(rows.chunks_exact(4 * F::BYTES)) {
                let mut query = [0.0; ROWS];
                for (query, queries) in query.iter_mut().zip(queries) {
                    *query = queries[dim];
                }
                prefetch(self.next, dim * 4 * F::BYTES, 4 * F::BYTES);
                for v in 0..4 {
                    let mut keys = F::floats(&codes[v * F::BYTES..][..F::BYTES]);
                    if F::GRIDS {
                        for i in 0..LANES {
                            keys[i] = keys[i].mul_add(grids[0][v][i], grids[1][v][i]);
                        }
                    }
                    for row in 0..ROWS {
                        for i in 0..LANES {
                            sums[row][v][i] = query[row].mul_add(keys[i], sums[row][v][i]);
                        }
                    }
                }
            }
        }
        sums
    }

    /// The keys as floats, `[dim, WIDTH]`.
    #[inline(always)]
    pub(super) fn expand<F: NumberFormat>(self, out: &mut [f32]) {
        for (first, rows, grids) in self.groups::<F>() {
            let out = out[first * WIDTH..].chunks_exact_mut(WIDTH);
            for (codes, out) in rows.chunks_exact(4 * F::BYTES).zip(out) {
                for v in 0..4 {
                    let mut keys = F::floats(&codes[v * F::BYTES..][..F::BYTES]);
                    if F::GRIDS {
                        for i in 0..LANES {
                            keys[i] = keys[i].mul_add(grids[0][v][i], grids[1][v][i]);
                        }
                    }
                    out[v * LANES..][..LANES].copy_from_slice(&keys);
                }
            }
        }
    }
}

/// The values of a panel's positions: rows of codes, one a position.
#[derive(Clone, Copy)]
pub(super) struct ValuePanel<'a> {
    pub(super) codes: &'a [u8],
    /// `[positions, groups, 2]` in bf16. Empty without [`NumberFormat::GRIDS`].
    pub(super) grids: &'a [u16],
}

/// The values of the first positions of a block.
pub(super) struct ValueBlock<'a> {
    pub(super) panels: [ValuePanel<'a>; PANELS],
    /// Positions that are looked at.
    pub(super) seen: usize,
    pub(super) dim: usize,
    /// What is read behind the last panel, for memory to fetch meanwhile.
    pub(super) next: &'a [u8],
}

impl<'a> ValuePanel<'a> {
    /// The first `count` positions' codes of `units` vectors from dimension `first` on, all of one group,
    /// with their scale and offset.
    #[inline(always)]
    fn positions<F: NumberFormat>(
        self,
        (dim, count): (usize, usize),
        first: usize,
        units: usize,
    ) -> impl Iterator<Item = (&'a [u8], [f32; 2])> {
        let row = dim / LANES * F::BYTES;
        let begin = first / LANES * F::BYTES;
        let codes = self.codes[..count * row].chunks_exact(row);
        let grids = 2 * dim.div_ceil(GROUP);
        codes.enumerate().map(move |(position, codes)| {
            let mut grid = [0.0; 2];
            if F::GRIDS {
                let at = position * grids + 2 * (first / GROUP);
                grid = [widened(self.grids[at]), widened(self.grids[at + 1])];
            }
            (&codes[begin..][..units * F::BYTES], grid)
        })
    }
}

impl<'a> ValueBlock<'a> {
    /// Each panel that is looked at, with its first position in the block and how many of it are.
    #[inline(always)]
    fn panels(&self) -> impl Iterator<Item = (ValuePanel<'a>, usize, usize)> {
        let firsts = (0..self.seen).step_by(WIDTH);
        let seen = self.seen;
        firsts
            .zip(self.panels)
            .map(move |(first, panel)| (panel, first, WIDTH.min(seen - first)))
    }

    /// What is read behind the panel whose first position this is.
    #[inline(always)]
    fn behind(&self, first: usize) -> &'a [u8] {
        let behind = first + WIDTH;
        if behind < self.seen {
            self.panels[behind / WIDTH].codes
        } else {
            self.next
        }
    }

    /// Sums of values with each row's weights, for `UNITS` vectors of dimensions from `first` on,
    /// all of one group. Each is one sum in the order of positions.
    #[inline(always)]
    pub(super) fn weighted<F: NumberFormat, const ROWS: usize, const UNITS: usize>(
        &self,
        first: usize,
        weights: [&[f32]; ROWS],
    ) -> [[[f32; LANES]; UNITS]; ROWS] {
        let mut sums = [[[0.0; LANES]; UNITS]; ROWS];
        let row_bytes = self.dim / LANES * F::BYTES;
        for (panel, begin, count) in self.panels() {
            let positions = panel.positions::<F>((self.dim, count), first, UNITS);
            let behind = if first == 0 { self.behind(begin) } else { &[] };
            for (position, (codes, grid)) in (begin..).zip(positions) {
                prefetch(behind, (position - begin) * row_bytes, row_bytes);
                let mut weight = [0.0; ROWS];
                for (weight, weights) in weight.iter_mut().zip(weights) {
                    *weight = weights[position];
                }
                for v in 0..UNITS {
                    let mut values = F::floats(&codes[v * F::BYTES..][..F::BYTES]);
                    if F::GRIDS {
                        for value in &mut values {
                            *value = value.mul_add(grid[0], grid[1]);
                        }
                    }
                    for row in 0..ROWS {
                        for i in 0..LANES {
                            sums[row][v][i] = weight[row].mul_add(values[i], sums[row][v][i]);
                        }
                    }
                }
            }
        }
        sums
    }

    /// The values of the dimensions from `first` on as floats, `[positions, WIDTH]`; what is past
    /// the last dimension is left as it is.
    #[inline(always)]
    pub(super) fn expand<F: NumberFormat>(&self, first: usize, out: &mut [f32]) {
        let units = (self.dim - first).min(WIDTH) / LANES;
        for (panel, begin, count) in self.panels() {
            let positions = panel.positions::<F>((self.dim, count), first, units);
            let out = out[begin * WIDTH..].chunks_exact_mut(WIDTH);
            for ((codes, grid), out) in positions.zip(out) {
                let units = codes.chunks_exact(F::BYTES);
                for (codes, out) in units.zip(out.chunks_exact_mut(LANES)) {
                    let mut values = F::floats(codes);
                    if F::GRIDS {
                        for value in &mut values {
                            *value = value.mul_add(grid[0], grid[1]);
                        }
                    }
                    out.copy_from_slice(&values);
                }
            }
        }
    }
}
