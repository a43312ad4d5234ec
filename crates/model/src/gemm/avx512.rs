//! The inner loop with vectors of 16 values.

#![allow(unsafe_code)]

use super::kernel::{Block, Loop, MAX_ROWS, WIDTH};
use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_storeu_ps};
use std::array::from_fn;

/// Twelve rows of two vectors leave eight of the 32 registers for what is multiplied.
pub(super) static LOOPS: [Loop; MAX_ROWS] = [
    run::<1>, run::<2>, run::<3>, run::<4>, run::<5>, run::<6>, run::<7>, run::<8>, run::<9>,
    run::<10>, run::<11>, run::<12>,
];

const LANES: usize = 16;
const VECTORS: usize = WIDTH / LANES;

/// # Safety
/// See [`Loop`].
#[target_feature(enable = "avx512f")]
unsafe fn run<const ROWS: usize>(block: &Block) {
    let &Block { x, panel, seed, out, .. } = block;
    // SAFETY: the caller vouches for `[ROWS, depth]` values of x, `[depth, WIDTH]` of the panel,
    // and `[ROWS, WIDTH]` of seed and out, at their strides; nothing beyond them is touched.
    unsafe {
        let mut sums: [[_; VECTORS]; ROWS] = from_fn(|i| {
            from_fn(|v| _mm512_loadu_ps(seed.add(i * block.seed_stride + v * LANES)))
        });
        for p in 0..block.depth {
            let weights: [_; VECTORS] =
                from_fn(|v| _mm512_loadu_ps(panel.add(p * WIDTH + v * LANES)));
            for (i, row) in sums.iter_mut().enumerate() {
                let value = _mm512_set1_ps(*x.add(i * block.x_stride + p));
                for (sum, weight) in row.iter_mut().zip(weights) {
                    *sum = _mm512_fmadd_ps(value, weight, *sum);
                }
            }
        }
        for (i, row) in sums.iter().enumerate() {
            for (v, sum) in row.iter().enumerate() {
                _mm512_storeu_ps(out.add(i * block.out_stride + v * LANES), *sum);
            }
        }
    }
}
