//! Attention over codes against plain loops over what the codes stand for.

mod speed;

use super::number_formats::{BrainFloats, Bytes, Floats, Nibbles};
use super::packed::{Attending, attend};
use super::softmax::Sums;
use super::tile::{Scratch, Tile};
use crate::backend::Heads;
use crate::gemm::Kernel;
use crate::kv_cache::{GROUP, KvMemory, PANEL, PackedKv, Panel};
use crate::rope::Angles;
use crate::simd::Simd;
use half::bf16;
use proptest::prelude::*;
use tandem_shape::KvType;

/// Queries, keys and values of some positions.
#[derive(Debug, Clone)]
struct Case {
    heads: Heads,
    /// `[positions, heads + 2 · kv_heads, dim]`.
    qkv: Vec<f32>,
}

impl Case {
    fn new(kv_heads: usize, group: usize, dim: usize, positions: usize) -> Self {
        let mut state = (dim * 31 + positions) as u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from((state >> 16) as i16) / 16384.0
        };
        let width = (kv_heads * group + 2 * kv_heads) * dim;
        Self {
            heads: Heads {
                heads: kv_heads * group,
                kv_heads,
                dim,
            },
            qkv: (0..positions * width).map(|_| next()).collect(),
        }
    }

    fn row(&self) -> usize {
        self.heads.width()
    }

    fn positions(&self) -> usize {
        self.qkv.len() / self.row()
    }

    fn frequencies(&self) -> Vec<f32> {
        let half = self.heads.dim / 2;
        (0..half).map(|i| 0.5f32.powi(i as i32)).collect()
    }

    fn angles(&self, past: usize, count: usize) -> Angles {
        Angles::new(&self.frequencies(), [(past, count)])
    }

    fn cache(&self, kv: KvType) -> PackedKv {
        let Heads { kv_heads, dim, .. } = self.heads;
        let memory = KvMemory::new(2 * PANEL * kv_heads * kv.row_bytes(dim));
        let mut packed = PackedKv::new(kv, self.heads, &memory);
        packed.set_pages(self.positions().div_ceil(PANEL)).unwrap();
        packed
    }

    /// One step behind `past` positions.
    fn step(&self, qkv: &[f32], angles: &Angles, past: usize, kv: &mut PackedKv) -> Vec<f32> {
        let step = Attending {
            query_key_value: qkv,
            heads: self.heads.heads,
            angles,
            first_angles: 0,
            past,
        };
        let mut out = vec![0.0; qkv.len() / self.row() * self.heads.attended_width()];
        attend(&[step], &mut [kv], Simd::best(), &mut out);
        out
    }

    /// All positions from `past` on, in steps of `rows`.
    fn run(&self, kv: &mut PackedKv, past: usize, rows: usize) -> Vec<f32> {
        let mut out = Vec::new();
        for first in (past..self.positions()).step_by(rows) {
            let count = rows.min(self.positions() - first);
            let qkv = &self.qkv[first * self.row()..][..count * self.row()];
            out.extend(self.step(qkv, &self.angles(first, count), first, kv));
        }
        out
    }

    /// What every position attends to, by plain loops in f64 over what is in `kv`.
    fn expected(&self, kv: &PackedKv) -> Vec<f64> {
        let Heads {
            heads,
            kv_heads,
            dim,
        } = self.heads;
        let angles = self.angles(0, self.positions());
        let mut out = Vec::new();
        for position in 0..self.positions() {
            for head in 0..heads {
                let mut query = vec![0.0; dim];
                let found = &self.qkv[position * self.row() + head * dim..][..dim];
                angles.rotate(position, found, &mut query);
                let panel = |p: usize| kv.panel(head / (heads / kv_heads), p / PANEL);
                let score = |p: usize| -> f64 {
                    let number = |d| f64::from(key(kv.kv_type(), panel(p), p % PANEL, d));
                    let products = (0..dim).map(|d| f64::from(query[d]) * number(d));
                    products.sum::<f64>() / (dim as f64).sqrt()
                };
                let scores: Vec<f64> = (0..=position).map(score).collect();
                let greatest = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - greatest).exp()).collect();
                let all: f64 = weights.iter().sum();
                out.extend((0..dim).map(|d| {
                    let number = |p| f64::from(value(kv.kv_type(), panel(p), dim, p % PANEL, d));
                    let each = weights.iter().enumerate();
                    each.map(|(p, w)| w * number(p)).sum::<f64>() / all
                }));
            }
        }
        out
    }
}

fn code(form: KvType, codes: &[u8], at: usize) -> f32 {
    match form {
        KvType::F32 => f32::from_ne_bytes(codes[4 * at..][..4].try_into().unwrap()),
        KvType::Bf16 => bf16::from_ne_bytes(codes[2 * at..][..2].try_into().unwrap()).to_f32(),
        KvType::Int8 => f32::from(codes[at].cast_signed()),
        KvType::Int4 => f32::from(codes[at / 2] >> (4 * (at % 2)) & 15),
    }
}

/// A number of a key, the way the layout is written down.
fn key(form: KvType, rows: Panel<'_>, position: usize, d: usize) -> f32 {
    let code = code(form, rows.keys, d * PANEL + position);
    match form {
        KvType::F32 | KvType::Bf16 => code,
        KvType::Int8 => code * rows.key_scales()[position],
        KvType::Int4 => {
            let at = d / GROUP * 2 * PANEL + position;
            let grid = |at: usize| bf16::from_bits(rows.key_grids()[at]).to_f32();
            code * grid(at) + grid(at + PANEL)
        }
    }
}

/// A number of a value.
fn value(form: KvType, rows: Panel<'_>, dim: usize, position: usize, d: usize) -> f32 {
    let code = code(form, rows.values, position * dim + d);
    match form {
        KvType::F32 | KvType::Bf16 => code,
        KvType::Int8 => code * rows.value_scales()[position],
        KvType::Int4 => {
            let at = (position * dim.div_ceil(GROUP) + d / GROUP) * 2;
            let grid = |at: usize| bf16::from_bits(rows.value_grids()[at]).to_f32();
            code * grid(at) + grid(at + 1)
        }
    }
}

/// The largest difference, against the largest number.
fn difference(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let each = found.iter().zip(expected);
    let error = |(f, e): (&f32, &f64)| {
        if f.is_finite() {
            (f64::from(*f) - e).abs()
        } else {
            f64::INFINITY
        }
    };
    each.map(error).fold(0.0, f64::max) / largest
}

fn case() -> impl Strategy<Value = (Case, usize)> {
    let dims = prop::sample::select(vec![8usize, 16, 24, 32, 64, 80]);
    let shape = (1usize..4, 1usize..6, dims, 1usize..300);
    shape.prop_flat_map(|(kv_heads, group, dim, positions)| {
        let case = Case::new(kv_heads, group, dim, positions);
        (Just(case), 1..=positions)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Also: a row has the same bits whichever rows run with it.
    #[test]
    fn attention_is_its_safe_twin((case, rows) in case()) {
        for form in KvType::ALL {
            let mut kv = case.cache(form);
            let at_once = case.run(&mut kv, 0, case.positions());
            let error = difference(&at_once, &case.expected(&kv));
            prop_assert!(error < 2e-6, "{form}: {error}");
            prop_assert!(case.run(&mut case.cache(form), 0, rows) == at_once, "{form}");
            // A truncation to the middle, and the rest one by one.
            let past = case.positions() / 2;
            let width = at_once.len() / case.positions();
            prop_assert!(case.run(&mut kv, past, 1) == at_once[past * width..], "{form}");
        }
    }
}

/// Pages are full of numbers that are none before they are written.
#[test]
fn what_was_not_written_is_not_attended_to() {
    let case = Case::new(2, 3, 32, 100);
    for form in KvType::ALL {
        let found = case.run(&mut case.cache(form), 0, 1);
        assert!(found.iter().all(|number| number.is_finite()), "{form}");
    }
}

/// The same text compiled for any processor has the same bits.
#[test]
fn vectors_are_plain_floats() {
    let vectors = Simd::best();
    let kernel = Kernel::of(vectors);
    for (group, dim) in [(1, 8), (2, 24), (3, 64), (5, 80)] {
        let case = Case::new(1, group, dim, 150);
        for form in KvType::ALL {
            let mut kv = case.cache(form);
            let _ = case.run(&mut kv, 0, 150);
            for (past, rows) in [(149, 1), (140, 10), (100, 3), (0, 150)] {
                let queries = Case::new(1, group, dim, rows);
                let tile = Tile {
                    kv: &kv,
                    head: 0,
                    dim,
                    queries: &queries.qkv[..rows * group * dim],
                    group,
                    past,
                    next: &[],
                };
                let (mut one, mut two) = (Scratch::default(), Scratch::default());
                let (mut sums, mut plain) = (Sums::default(), Sums::default());
                one.fit(&tile);
                two.fit(&tile);
                sums.clear(tile.rows(), tile.width());
                plain.clear(tile.rows(), tile.width());
                for block in 0..tile.blocks() {
                    vectors.gather(&tile, block, &mut one);
                    vectors.add(&mut sums, &one.sums, tile.first_row(block));
                    match form {
                        KvType::F32 => tile.gather::<Floats>(block, kernel, &mut two),
                        KvType::Bf16 => tile.gather::<BrainFloats>(block, kernel, &mut two),
                        KvType::Int8 => tile.gather::<Bytes>(block, kernel, &mut two),
                        KvType::Int4 => tile.gather::<Nibbles>(block, kernel, &mut two),
                    }
                    plain.add(&two.sums, tile.first_row(block));
                }
                let bits = |s: &Sums| -> Vec<u32> {
                    let all = s.greatest.iter().chain(&s.weights).chain(&s.values);
                    all.map(|v| v.to_bits()).collect()
                };
                assert!(
                    bits(&sums) == bits(&plain),
                    "{form}: {rows} rows behind {past}"
                );
            }
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let case = Case::new(3, 3, 64, 400);
    for form in KvType::ALL {
        let mut all = Vec::new();
        for threads in [1, 2, 3] {
            crate::set_threads(threads);
            let mut kv = case.cache(form);
            let out = [case.run(&mut kv, 0, 400), case.run(&mut kv, 390, 1)].concat();
            all.push(out);
        }
        assert!(all[0] == all[1] && all[0] == all[2], "{form}");
    }
}

/// A broken model is seen as one, and nothing panics. Rows before the broken one are sound where
/// they ran before it.
#[test]
fn a_number_that_is_none_stays_behind_its_position() {
    for form in KvType::ALL {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for part in 0..3 {
                let mut case = Case::new(2, 2, 16, 60);
                let sound = case.run(&mut case.cache(form), 0, 60);
                let at = 40 * case.row() + [0, 4 * 16, 6 * 16][part] + 3;
                case.qkv[at] = bad;
                let found = case.run(&mut case.cache(form), 0, 1);
                let width = 4 * 16;
                assert!(found[..40 * width] == sound[..40 * width], "{form}");
                let row = &found[40 * width..][..width];
                assert!(
                    row.iter().any(|v| !v.is_finite()),
                    "{form}: {bad} in {part}"
                );
                let _ = case.run(&mut case.cache(form), 0, 60);
            }
        }
    }
}
