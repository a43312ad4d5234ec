//! Some rows' queries with a block of one head's positions.
//!
//! A few rows, as in decoding, are multiplied with codes that become floats in registers. Many rows
//! pay for a panel of floats, which stays in a cache for all of them and is multiplied with as a
//! matrix is (see [`crate::gemm`]). Sums are the same either way: a row has the same bits whichever
//! rows run with it.

use super::number_formats::{KeyPanel, NumberFormat, ValueBlock, ValuePanel, WIDTH, Wide};
use super::softmax::{LANES, Sums, soften};
use crate::gemm::Kernel;
use crate::kv_cache::{PackedKv, Panel};

/// Positions of a block: what a row gathers from them is added up apart from the other blocks'.
pub(super) const BLOCK: usize = 128;
/// Panels of a block.
pub(super) const PANELS: usize = BLOCK / WIDTH;
/// The most rows that are multiplied with codes.
const FEW_ROWS: usize = 8;
/// Rows that are multiplied with codes at once: four vectors of sums each leave four of 16
/// registers.
const AT_ONCE: usize = 3;

/// Rows that attend to one head of keys and values.
pub(super) struct Tile<'a> {
    pub(super) kv: &'a PackedKv,
    pub(super) head: usize,
    pub(super) dim: usize,
    /// `[rows, dim]`, rotated and scaled: those of a position's query heads, position after
    /// position.
    pub(super) queries: &'a [f32],
    /// Query heads of a position.
    pub(super) group: usize,
    /// Positions before the first row's own.
    pub(super) past: usize,
    /// What is read behind the tile, for memory to fetch meanwhile.
    pub(super) next: &'a [u8],
}

/// What a block is worked on in.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// `[rows, BLOCK]`.
    scores: Vec<f32>,
    panel: Vec<f32>,
    /// What the rows gathered from the last block.
    pub(super) sums: Sums,
}

impl Scratch {
    /// Makes it large enough for a tile.
    pub(super) fn fit(&mut self, tile: &Tile<'_>) {
        let rows = tile.rows();
        if rows > FEW_ROWS {
            self.panel.resize(WIDTH * tile.dim.max(BLOCK), 0.0);
        }
        self.scores.resize(rows * BLOCK, 0.0);
        self.sums.fit(rows, tile.width());
    }
}

impl Tile<'_> {
    pub(super) fn rows(&self) -> usize {
        self.queries.len() / self.dim
    }

    /// Values of a row of [`Sums`]: whole panels.
    pub(super) fn width(&self) -> usize {
        self.dim.next_multiple_of(WIDTH)
    }

    /// Blocks that the last row sees a part of.
    pub(super) fn blocks(&self) -> usize {
        (self.past + self.rows().div_ceil(self.group)).div_ceil(BLOCK)
    }

    /// The first row that sees a part of a block.
    pub(super) fn first_row(&self, block: usize) -> usize {
        (block * BLOCK).saturating_sub(self.past) * self.group
    }

    /// Positions of a block that a row sees: those before it and its own.
    fn visible(&self, row: usize, block: usize) -> usize {
        let all = self.past + row / self.group + 1;
        all.saturating_sub(block * BLOCK).min(BLOCK)
    }

    /// Gathers into `scratch.sums` what the rows that see a part of this block see there.
    #[inline(always)]
    pub(super) fn gather<F: NumberFormat>(
        &self,
        block: usize,
        kernel: Kernel,
        scratch: &mut Scratch,
    ) {
        let rows = self.first_row(block)..self.rows();
        let seen = self.visible(rows.end - 1, block);
        let panels = seen.div_ceil(WIDTH);
        let first_panel = block * PANELS;
        // Past the last one that is seen the first stands in, and is not looked at.
        let stored: [Panel<'_>; PANELS] = std::array::from_fn(|panel| {
            let number = if panel < panels { panel } else { 0 };
            self.kv.panel(self.head, first_panel + number)
        });
        for (panel, own) in stored[..panels].iter().enumerate() {
            let keys = KeyPanel {
                codes: own.keys,
                grids: if F::GRIDS { own.key_grids() } else { &[] },
                next: match stored[..panels].get(panel + 1) {
                    Some(next) => next.keys,
                    None => stored[0].values,
                },
            };
            let mut first = rows.start;
            if rows.len() > FEW_ROWS {
                let floats = if F::FLOATS {
                    bytemuck::cast_slice(keys.codes)
                } else {
                    keys.expand::<F>(&mut scratch.panel);
                    &scratch.panel[..self.dim * WIDTH]
                };
                kernel.multiply(
                    &self.queries[first * self.dim..],
                    self.dim,
                    floats,
                    &mut scratch.scores[first * BLOCK + panel * WIDTH..],
                    BLOCK,
                    rows.len(),
                );
                first = rows.end;
            }
            while first < rows.end {
                let scores = &mut scratch.scores[first * BLOCK + panel * WIDTH..];
                first += match rows.end - first {
                    1 => self.score::<F, 1>(keys, first, scores),
                    2 => self.score::<F, 2>(keys, first, scores),
                    _ => self.score::<F, AT_ONCE>(keys, first, scores),
                };
            }
        }
        let (mut key_scales, mut value_scales) = ([0.0; BLOCK], [0.0; BLOCK]);
        if F::SCALED {
            for (panel, stored) in stored[..panels].iter().enumerate() {
                key_scales[panel * WIDTH..][..WIDTH].copy_from_slice(stored.key_scales());
                value_scales[panel * WIDTH..][..WIDTH].copy_from_slice(stored.value_scales());
            }
        }
        for row in rows.clone() {
            let scores = &mut scratch.scores[row * BLOCK..][..panels * WIDTH];
            let visible = self.visible(row, block);
            if F::SCALED {
                scale(scores, &key_scales);
            }
            let (greatest, sum) = soften(scores, visible);
            scratch.sums.greatest[row] = greatest;
            scratch.sums.weights[row] = sum;
            if F::SCALED {
                scale(&mut scores[..visible], &value_scales);
            }
        }
        let values = ValueBlock {
            panels: stored.map(|panel| ValuePanel {
                codes: panel.values,
                grids: if F::GRIDS { panel.value_grids() } else { &[] },
            }),
            seen,
            dim: self.dim,
            next: if block + 1 < self.blocks() {
                self.kv.panel(self.head, first_panel + PANELS).keys
            } else {
                self.next
            },
        };
        let width = self.width();
        for dim in (0..self.dim).step_by(WIDTH) {
            let mut first = rows.start;
            if rows.len() > FEW_ROWS {
                values.expand::<F>(dim, &mut scratch.panel);
                kernel.multiply(
                    &scratch.scores[first * BLOCK..],
                    BLOCK,
                    &scratch.panel[..seen * WIDTH],
                    &mut scratch.sums.values[first * width + dim..],
                    width,
                    rows.len(),
                );
                first = rows.end;
            }
            while first < rows.end {
                let weights = &scratch.scores[first * BLOCK..];
                let out = &mut scratch.sums.values[first * width + dim..];
                first += match rows.end - first {
                    1 => self.weigh::<F, 1>(&values, dim, weights, out),
                    2 => self.weigh::<F, 2>(&values, dim, weights, out),
                    _ => self.weigh::<F, AT_ONCE>(&values, dim, weights, out),
                };
            }
        }
    }

    /// The scores of `ROWS` rows from `first` on with a panel, [`BLOCK`] apart. Returns `ROWS`.
    #[inline(always)]
    fn score<F: NumberFormat, const ROWS: usize>(
        &self,
        keys: KeyPanel<'_>,
        first: usize,
        scores: &mut [f32],
    ) -> usize {
        let mut queries = [self.queries; ROWS];
        for (row, query) in queries.iter_mut().enumerate() {
            *query = &self.queries[(first + row) * self.dim..][..self.dim];
        }
        let sums: [Wide; ROWS] = keys.scores::<F, ROWS>(queries);
        for (sums, scores) in sums.iter().zip(scores.chunks_mut(BLOCK)) {
            scores[..WIDTH].copy_from_slice(sums.as_flattened());
        }
        ROWS
    }

    /// The values from dimension `dim` on, weighted, of `ROWS` rows. Returns `ROWS`.
    #[inline(always)]
    fn weigh<F: NumberFormat, const ROWS: usize>(
        &self,
        values: &ValueBlock<'_>,
        dim: usize,
        weights: &[f32],
        out: &mut [f32],
    ) -> usize {
        let mut each = [weights; ROWS];
        for (row, each) in each.iter_mut().enumerate() {
            *each = &weights[row * BLOCK..][..BLOCK];
        }
        let width = self.width();
        if self.dim - dim >= WIDTH {
            let sums = values.weighted::<F, ROWS, 4>(dim, each);
            for (sums, out) in sums.iter().zip(out.chunks_mut(width)) {
                out[..WIDTH].copy_from_slice(sums.as_flattened());
            }
        } else {
            for unit in (0..self.dim - dim).step_by(LANES) {
                let sums = values.weighted::<F, ROWS, 1>(dim + unit, each);
                for (sums, out) in sums.iter().zip(out.chunks_mut(width)) {
                    out[unit..][..LANES].copy_from_slice(sums.as_flattened());
                }
            }
        }
        ROWS
    }
}

#[inline(always)]
fn scale(values: &mut [f32], scales: &[f32; BLOCK]) {
    for (value, scale) in values.iter_mut().zip(scales) {
        *value *= scale;
    }
}
