//! Attention over [`KvPanels`] on the processor: one call for all that is between the projections.
//!
//! New keys and values are rotated and coded where they will stay, then every row reads the codes
//! of the positions up to its own. Nothing is made of the cache as a whole: a block of one head's
//! positions at a time becomes scores and weights, see [`super::tile`]. All arithmetic is in f32.
//!
//! Threads take rows of a head, or, when these are few, blocks of its positions, whose sums are
//! added in the order of positions either way. So a row's result depends on neither the number of
//! threads nor the rows that run with it.

use super::softmax::Sums;
use super::tile::{Scratch, Tile};
use crate::kv_cache::{HeadPanels, KvPanels, PANEL};
use crate::rope::Angles;
use crate::simd::Simd;
use crate::workers::for_each;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The most rows of queries that share a panel of floats.
const TILE_ROWS: usize = 192;
/// The most rows of queries whose threads share out blocks of positions: what each block gathers is
/// held until all are done.
const SPLIT_ROWS: usize = 32;
/// Work items that more rows are cut into at least, so that threads end together.
const ITEMS: usize = 8;
/// Multiplications that are done before other threads are awake.
const WORTH_A_THREAD: usize = 1 << 15;

/// The rows of one session in a step, and where they stand.
pub(crate) struct Attending<'a> {
    /// `[rows, heads + 2 · kv_heads, dim]`.
    pub(crate) query_key_value: &'a [f32],
    pub(crate) heads: usize,
    /// The rows' angles.
    pub(crate) angles: &'a Angles,
    /// Positions before the first row's.
    pub(crate) past: usize,
}

impl Attending<'_> {
    /// Writes the rows' keys and values, and puts what the rows attend to, `[rows, heads, dim]`, into `out`.
    pub(crate) fn attend(&self, kv: &mut impl KvPanels, simd: Simd, out: &mut [f32]) {
        let (kv_heads, dim) = (kv.kv_heads(), kv.head_dim());
        let count = self.query_key_value.len() / ((self.heads + 2 * kv_heads) * dim);
        let multiplications = self.heads * dim * count * (self.past + count);
        let each = |items: usize, work: &(dyn Fn(usize) + Sync)| match multiplications {
            ..WORTH_A_THREAD => (0..items).for_each(work),
            _ => for_each(items, work),
        };
        let writers: Vec<_> = kv.heads_mut().into_iter().map(Mutex::new).collect();
        match count {
            1 => (0..kv_heads).for_each(|h| self.write(h, kv_heads, dim, &mut *lock(&writers[h]))),
            _ => each(kv_heads, &|h| {
                self.write(h, kv_heads, dim, &mut *lock(&writers[h]));
            }),
        }
        drop(writers);

        let group = self.heads / kv_heads;
        let few = count * group <= SPLIT_ROWS;
        let least = if few { 1 } else { ITEMS.div_ceil(kv_heads) };
        let positions = (TILE_ROWS / group).min(count.div_ceil(least)).max(1);
        let tiles = count.div_ceil(positions);
        let kv = &*kv;
        let tile = |item: usize| {
            let (head, first) = (item / tiles, item % tiles * positions);
            let last = count.min(first + positions);
            Tile {
                kv,
                head,
                dim,
                queries: self.queries(head, group, dim, first..last, kv_heads),
                group,
                past: self.past + first,
            }
        };
        let mut places: Vec<Vec<&mut [f32]>> = (0..kv_heads * tiles).map(|_| Vec::new()).collect();
        for (at, place) in out.chunks_exact_mut(group * dim).enumerate() {
            let (row, head) = (at / kv_heads, at % kv_heads);
            places[head * tiles + row / positions].push(place);
        }
        let blocks = tile(0).blocks();
        if few && blocks > 1 {
            let sums: Vec<OnceLock<Sums>> =
                (0..kv_heads * blocks).map(|_| OnceLock::new()).collect();
            each(kv_heads * blocks, &|item| {
                let tile = tile(item / blocks);
                let mut scratch = Scratch::of(&tile);
                simd.gather(&tile, item % blocks, &mut scratch);
                let _ = sums[item].set(scratch.sums);
            });
            for (head, places) in places.iter_mut().enumerate() {
                let tile = tile(head);
                let mut all = Sums::nothing(tile.rows(), tile.width());
                let of_head = sums[head * blocks..][..blocks].iter();
                for (block, sums) in of_head.filter_map(OnceLock::get).enumerate() {
                    simd.add(&mut all, sums, tile.first_row(block));
                }
                put(&all, dim, places);
            }
        } else {
            let places: Vec<_> = places.into_iter().map(Mutex::new).collect();
            each(places.len(), &|item| {
                let tile = tile(item);
                let mut scratch = Scratch::of(&tile);
                let mut all = Sums::nothing(tile.rows(), tile.width());
                for block in 0..tile.blocks() {
                    simd.gather(&tile, block, &mut scratch);
                    simd.add(&mut all, &scratch.sums, tile.first_row(block));
                }
                put(&all, dim, &mut lock(&places[item]));
            });
        }
    }

    /// One head of one row: queries, then keys, then values.
    fn vector(&self, row: usize, head: usize, kv_heads: usize, dim: usize) -> &[f32] {
        let begin = (row * (self.heads + 2 * kv_heads) + head) * dim;
        &self.query_key_value[begin..][..dim]
    }

    /// Writes all rows' keys and values of one head.
    fn write(&self, head: usize, kv_heads: usize, dim: usize, kv: &mut impl HeadPanels) {
        let count = self.angles.count();
        let mut key = vec![0.0; dim];
        for row in 0..count {
            let found = self.vector(row, self.heads + head, kv_heads, dim);
            self.angles.rotate(row, found, &mut key);
            let value = self.vector(row, self.heads + kv_heads + head, kv_heads, dim);
            let position = self.past + row;
            kv.panel_mut(position / PANEL)
                .write(position % PANEL, &key, value);
        }
    }

    /// The queries of a head's group, rotated and scaled: `[rows, group, dim]`.
    fn queries(
        &self,
        head: usize,
        group: usize,
        dim: usize,
        rows: std::ops::Range<usize>,
        kv_heads: usize,
    ) -> Vec<f32> {
        let mut queries = vec![0.0; rows.len() * group * dim];
        let each = rows.flat_map(|row| (0..group).map(move |g| (row, g)));
        for ((row, g), query) in each.zip(queries.chunks_exact_mut(dim)) {
            let found = self.vector(row, head * group + g, kv_heads, dim);
            self.angles.rotate(row, found, query);
            let scale = 1.0 / (dim as f32).sqrt();
            query.iter_mut().for_each(|q| *q *= scale);
        }
        queries
    }
}

/// Puts weighted means at their places, `[group, dim]` each.
fn put(sums: &Sums, dim: usize, places: &mut [&mut [f32]]) {
    let width = sums.values.len() / sums.weights.len();
    let heads = places.iter_mut().flat_map(|p| p.chunks_exact_mut(dim));
    let rows = sums.values.chunks_exact(width).zip(&sums.weights);
    for (place, (values, weight)) in heads.zip(rows) {
        for (place, value) in place.iter_mut().zip(values) {
            *place = value / weight;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
