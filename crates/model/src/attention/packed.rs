//! Attention over [`PackedKv`] on the processor: one call for all that is between the projections.
//!
//! New keys and values are rotated and coded where they will stay, then every row reads the codes
//! of the positions up to its own. Nothing is made of the cache as a whole: a block of one head's
//! positions at a time becomes scores and weights, see [`super::tile`]. All arithmetic is in f32.
//!
//! Threads take rows of a head of a session, or, when there are few of one session, blocks of its
//! positions, whose sums are added in the order of positions either way. So a row's result depends on
//! neither the number of threads nor the rows that run with it.

use super::softmax::Sums;
use super::tile::{BLOCK, Scratch, Tile};
use crate::kv_cache::{PANEL, PackedKv, PanelMut};
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

/// Writes the keys and values of every session's rows, one in `kv` each, and puts what the rows attend to,
/// `[rows, heads, dim]` of one session after the other, into `out`.
pub(crate) fn attend(
    sessions: &[Attending<'_>],
    kv: &mut [&mut PackedKv],
    simd: Simd,
    out: &mut [f32],
) {
    let multiplications: usize = sessions
        .iter()
        .zip(kv.iter())
        .map(|(session, kv)| {
            let count = session.count(kv);
            session.heads * kv.head_dim() * count * (session.past + count)
        })
        .sum();
    let each = |items: usize, work: &(dyn Fn(usize) + Sync)| match multiplications {
        ..WORTH_A_THREAD => (0..items).for_each(work),
        _ => for_each(items, work),
    };
    write(sessions, kv, &each);
    let kv: Vec<&PackedKv> = kv.iter().map(|kv| &**kv).collect();
    match (sessions, &kv[..]) {
        ([session], [kv]) if session.shares_out_blocks(kv) => {
            session.attend_in_blocks(kv, simd, &each, out);
        }
        _ => attend_in_tiles(sessions, &kv, simd, &each, out),
    }
}

/// Calls its second argument once with each number below the first.
type Each<'a> = dyn Fn(usize, &(dyn Fn(usize) + Sync)) + 'a;

/// Writes all keys and values, those of each head in a page by one thread.
fn write(sessions: &[Attending<'_>], kv: &mut [&mut PackedKv], each: &Each<'_>) {
    let mut panels = Vec::new();
    let mut rows = 0;
    for (session, kv) in sessions.iter().zip(kv) {
        let (kv_heads, dim) = (kv.kv_heads(), kv.head_dim());
        let count = session.count(kv);
        rows += count;
        let pages = session.past / PANEL..(session.past + count).div_ceil(PANEL);
        let first = pages.start;
        let of_pages = kv.panels_mut(pages).enumerate();
        panels.extend(of_pages.map(|(at, panel)| {
            let (page, head) = (first + at / kv_heads, at % kv_heads);
            (session, page, head, kv_heads, dim, Mutex::new(panel))
        }));
    }
    let work = |item: usize| {
        let (session, page, head, kv_heads, dim, panel) = &panels[item];
        session.write(*page, *head, *kv_heads, *dim, &mut lock(panel));
    };
    // A row is written before another thread is awake.
    match rows {
        1 => (0..panels.len()).for_each(work),
        _ => each(panels.len(), &work),
    }
}

/// Attends head by head, the rows of each cut into tiles.
fn attend_in_tiles(
    sessions: &[Attending<'_>],
    kv: &[&PackedKv],
    simd: Simd,
    each: &Each<'_>,
    out: &mut [f32],
) {
    // What one thread does at once: a tile of a session, and where its results go.
    let mut items = Vec::new();
    let mut rest = out;
    for (session, kv) in sessions.iter().zip(kv) {
        let tiling = session.tiling(kv);
        let (kv_heads, dim, group) = (kv.kv_heads(), kv.head_dim(), session.group(kv));
        let (own, behind) = rest.split_at_mut(session.count(kv) * session.heads * dim);
        rest = behind;
        let first = items.len();
        for head in 0..kv_heads {
            for tile in 0..tiling.tiles {
                items.push((session, *kv, head, tile, tiling, Mutex::new(Vec::new())));
            }
        }
        for (at, place) in own.chunks_exact_mut(group * dim).enumerate() {
            let (row, head) = (at / kv_heads, at % kv_heads);
            let item = first + head * tiling.tiles + row / tiling.rows;
            let (.., places) = &mut items[item];
            places
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .push(place);
        }
    }
    each(items.len(), &|item| {
        let (session, kv, head, tile, tiling, places) = &items[item];
        let tile = session.tile(kv, *head, *tile, *tiling);
        let mut scratch = Scratch::of(&tile);
        let mut all = Sums::nothing(tile.rows(), tile.width());
        for block in 0..tile.blocks() {
            simd.gather(&tile, block, &mut scratch);
            simd.add(&mut all, &scratch.sums, tile.first_row(block));
        }
        put(&all, kv.head_dim(), &mut lock(places));
    });
}

/// How the rows of a session are cut.
#[derive(Clone, Copy)]
struct Tiling {
    /// Positions of a tile.
    rows: usize,
    tiles: usize,
}

impl Attending<'_> {
    /// Rows of the session.
    fn count(&self, kv: &PackedKv) -> usize {
        let heads = self.heads + 2 * kv.kv_heads();
        self.query_key_value.len() / (heads * kv.head_dim())
    }

    /// Query heads that share a head of keys.
    fn group(&self, kv: &PackedKv) -> usize {
        self.heads / kv.kv_heads()
    }

    /// Whether there are so few rows that threads should share out the positions instead.
    fn is_few(&self, kv: &PackedKv) -> bool {
        self.count(kv) * self.group(kv) <= SPLIT_ROWS
    }

    fn tiling(&self, kv: &PackedKv) -> Tiling {
        let count = self.count(kv);
        let least = if self.is_few(kv) {
            1
        } else {
            ITEMS.div_ceil(kv.kv_heads())
        };
        let rows = (TILE_ROWS / self.group(kv))
            .min(count.div_ceil(least))
            .max(1);
        Tiling {
            rows,
            tiles: count.div_ceil(rows),
        }
    }

    fn tile<'a>(
        &'a self,
        kv: &'a PackedKv,
        head: usize,
        number: usize,
        tiling: Tiling,
    ) -> Tile<'a> {
        let (group, dim) = (self.group(kv), kv.head_dim());
        let first = number * tiling.rows;
        let last = self.count(kv).min(first + tiling.rows);
        Tile {
            kv,
            head,
            dim,
            queries: self.queries(head, group, dim, first..last, kv.kv_heads()),
            group,
            past: self.past + first,
        }
    }

    /// Blocks of positions that the last row sees a part of.
    fn blocks(&self, kv: &PackedKv) -> usize {
        (self.past + self.count(kv)).div_ceil(BLOCK)
    }

    fn shares_out_blocks(&self, kv: &PackedKv) -> bool {
        self.is_few(kv) && self.blocks(kv) > 1
    }

    /// Attends with the blocks of positions shared out among threads, whose sums are added in the order of
    /// positions.
    fn attend_in_blocks(&self, kv: &PackedKv, simd: Simd, each: &Each<'_>, out: &mut [f32]) {
        let (kv_heads, dim) = (kv.kv_heads(), kv.head_dim());
        let tile = |head: usize| self.tile(kv, head, 0, self.tiling(kv));
        let mut places: Vec<Vec<&mut [f32]>> = (0..kv_heads).map(|_| Vec::new()).collect();
        for (at, place) in out.chunks_exact_mut(self.group(kv) * dim).enumerate() {
            places[at % kv_heads].push(place);
        }
        let blocks = self.blocks(kv);
        let sums: Vec<OnceLock<Sums>> = (0..kv_heads * blocks).map(|_| OnceLock::new()).collect();
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
    }

    /// One head of one row: queries, then keys, then values.
    fn vector(&self, row: usize, head: usize, kv_heads: usize, dim: usize) -> &[f32] {
        let begin = (row * (self.heads + 2 * kv_heads) + head) * dim;
        &self.query_key_value[begin..][..dim]
    }

    /// Writes those rows' keys and values of one head that lie in a page.
    fn write(
        &self,
        page: usize,
        head: usize,
        kv_heads: usize,
        dim: usize,
        panel: &mut PanelMut<'_>,
    ) {
        let first = (page * PANEL).max(self.past);
        let last = ((page + 1) * PANEL).min(self.past + self.angles.count());
        let mut key = vec![0.0; dim];
        for position in first..last {
            let row = position - self.past;
            let found = self.vector(row, self.heads + head, kv_heads, dim);
            self.angles.rotate(row, found, &mut key);
            let value = self.vector(row, self.heads + kv_heads + head, kv_heads, dim);
            panel.write(position % PANEL, &key, value);
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
