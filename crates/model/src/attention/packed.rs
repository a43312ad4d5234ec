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
use std::cell::RefCell;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    /// The angles of all rows of the step.
    pub(crate) angles: &'a Angles,
    /// Which of them are the first row's.
    pub(crate) first_angles: usize,
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

/// What a thread works in. It keeps the memory from one piece of work to the next.
#[derive(Debug, Default)]
struct Room {
    /// Of a tile, see [`Attending::queries`].
    queries: Vec<f32>,
    scratch: Scratch,
    sums: Sums,
    /// A rotated key.
    key: Vec<f32>,
    /// Codes of a key or a value.
    codes: Vec<u8>,
    /// What the blocks of each head gathered, where blocks are shared out.
    blocks: Vec<Mutex<Sums>>,
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

/// Works in this thread's room.
fn with_room(work: impl FnOnce(&mut Room)) {
    let mut room = ROOM.take();
    work(&mut room);
    ROOM.set(room);
}

/// Writes all keys and values, those of each head in a page by one thread.
fn write(sessions: &[Attending<'_>], kv: &mut [&mut PackedKv], each: &Each<'_>) {
    let mut panels = Vec::with_capacity(2 * sessions.len());
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
            (
                session,
                (page, count),
                head,
                (kv_heads, dim),
                Mutex::new(panel),
            )
        }));
    }
    let work = |item: usize| {
        let (session, place, head, shape, panel) = &panels[item];
        with_room(|room| session.write(*place, *head, *shape, &mut lock(panel), room));
    };
    // A row is written before another thread is awake.
    match rows {
        1 => (0..panels.len()).for_each(work),
        _ => each(panels.len(), &work),
    }
}

/// What one thread does at once: a tile of one head of a session.
struct Item<'a> {
    session: &'a Attending<'a>,
    kv: &'a PackedKv,
    head: usize,
    /// Its rows of the session.
    rows: Range<usize>,
    /// The number of the first of them among all sessions' rows.
    first_row: usize,
}

/// Attends head by head, the rows of each cut into tiles.
fn attend_in_tiles(
    sessions: &[Attending<'_>],
    kv: &[&PackedKv],
    simd: Simd,
    each: &Each<'_>,
    out: &mut [f32],
) {
    let Some((first, kv_heads)) = sessions.first().zip(kv.first().map(|kv| kv.kv_heads())) else {
        return;
    };
    // All are one layer's.
    let (dim, group) = (kv[0].head_dim(), first.group(kv[0]));
    let mut items = Vec::with_capacity(sessions.len() * kv_heads);
    let mut before = 0;
    for (session, kv) in sessions.iter().zip(kv) {
        let (count, at_once) = (session.count(kv), session.rows_of_a_tile(kv));
        for head in 0..kv_heads {
            items.extend((0..count).step_by(at_once).map(|first| Item {
                session,
                kv,
                head,
                rows: first..count.min(first + at_once),
                first_row: before + first,
            }));
        }
        before += count;
    }
    // Of each row, and in it of each head of keys.
    let places: Vec<_> = out.chunks_exact_mut(group * dim).map(Mutex::new).collect();
    each(items.len(), &|item| {
        let own = &items[item];
        with_room(|room| {
            let next = items.get(item + 1);
            let mut tile = own
                .session
                .tile(own.kv, own.head, &own.rows, &mut room.queries);
            tile.next = next.map_or(&[], |next| next.kv.panel(next.head, 0).keys);
            room.scratch.fit(&tile);
            room.sums.clear(tile.rows(), tile.width());
            for block in 0..tile.blocks() {
                simd.gather(&tile, block, &mut room.scratch);
                simd.add(&mut room.sums, &room.scratch.sums, tile.first_row(block));
            }
            let places = places[own.first_row * kv_heads + own.head..].iter();
            let places = places.step_by(kv_heads).take(own.rows.len());
            for (row, place) in places.enumerate() {
                put(&room.sums, row * group, dim, &mut lock(place));
            }
        });
    });
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

    fn rows_of_a_tile(&self, kv: &PackedKv) -> usize {
        let least = if self.is_few(kv) {
            1
        } else {
            ITEMS.div_ceil(kv.kv_heads())
        };
        (TILE_ROWS / self.group(kv))
            .min(self.count(kv).div_ceil(least))
            .max(1)
    }

    /// Some rows of one head, whose queries are put into `queries`.
    fn tile<'a>(
        &self,
        kv: &'a PackedKv,
        head: usize,
        rows: &Range<usize>,
        queries: &'a mut Vec<f32>,
    ) -> Tile<'a> {
        let (group, dim) = (self.group(kv), kv.head_dim());
        self.queries((head, group, dim), rows.clone(), kv.kv_heads(), queries);
        Tile {
            kv,
            head,
            dim,
            queries,
            group,
            past: self.past + rows.start,
            next: &[],
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
        let (kv_heads, dim, group) = (kv.kv_heads(), kv.head_dim(), self.group(kv));
        let rows = 0..self.count(kv);
        let blocks = self.blocks(kv);
        let mut own = ROOM.take();
        own.blocks.resize_with(kv_heads * blocks, Mutex::default);
        let gathered = &own.blocks;
        each(kv_heads * blocks, &|item| {
            with_room(|room| {
                let tile = self.tile(kv, item / blocks, &rows, &mut room.queries);
                room.scratch.fit(&tile);
                simd.gather(&tile, item % blocks, &mut room.scratch);
                std::mem::swap(&mut room.scratch.sums, &mut lock(&gathered[item]));
            });
        });
        for head in 0..kv_heads {
            let tile = self.tile(kv, head, &rows, &mut own.queries);
            own.sums.clear(tile.rows(), tile.width());
            for (block, sums) in own.blocks[head * blocks..][..blocks].iter().enumerate() {
                simd.add(&mut own.sums, &lock(sums), tile.first_row(block));
            }
            let places = out.chunks_exact_mut(group * dim).skip(head);
            for (row, place) in places.step_by(kv_heads).enumerate() {
                put(&own.sums, row * group, dim, place);
            }
        }
        ROOM.set(own);
    }

    /// One head of one row: queries, then keys, then values.
    fn vector(&self, row: usize, head: usize, kv_heads: usize, dim: usize) -> &[f32] {
        let begin = (row * (self.heads + 2 * kv_heads) + head) * dim;
        &self.query_key_value[begin..][..dim]
    }

    /// Writes those of its `count` rows' keys and values of one head that lie in a page.
    fn write(
        &self,
        (page, count): (usize, usize),
        head: usize,
        (kv_heads, dim): (usize, usize),
        panel: &mut PanelMut<'_>,
        room: &mut Room,
    ) {
        let first = (page * PANEL).max(self.past);
        let last = ((page + 1) * PANEL).min(self.past + count);
        room.key.resize(dim, 0.0);
        for position in first..last {
            let row = position - self.past;
            let found = self.vector(row, self.heads + head, kv_heads, dim);
            self.angles
                .rotate(self.first_angles + row, found, &mut room.key);
            let value = self.vector(row, self.heads + kv_heads + head, kv_heads, dim);
            panel.write(position % PANEL, &room.key, value, &mut room.codes);
        }
    }

    /// The queries of a head's group, rotated and scaled: `[rows, group, dim]`.
    fn queries(
        &self,
        (head, group, dim): (usize, usize, usize),
        rows: Range<usize>,
        kv_heads: usize,
        queries: &mut Vec<f32>,
    ) {
        queries.resize(rows.len() * group * dim, 0.0);
        let each = rows.flat_map(|row| (0..group).map(move |g| (row, g)));
        for ((row, g), query) in each.zip(queries.chunks_exact_mut(dim)) {
            let found = self.vector(row, head * group + g, kv_heads, dim);
            self.angles.rotate(self.first_angles + row, found, query);
            let scale = 1.0 / (dim as f32).sqrt();
            query.iter_mut().for_each(|q| *q *= scale);
        }
    }
}

/// Puts the weighted means of the rows from `first` on at their place, `[group, dim]`.
fn put(sums: &Sums, first: usize, dim: usize, place: &mut [f32]) {
    let width = sums.values.len() / sums.weights.len();
    let rows = sums.values.chunks_exact(width).zip(&sums.weights);
    for (place, (values, weight)) in place.chunks_exact_mut(dim).zip(rows.skip(first)) {
        for (place, value) in place.iter_mut().zip(values) {
            *place = value / weight;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
