//! The inner loop with vectors of 8 values.

#![allow(unsafe_code)]

use super::kernel::{Block, Loop, WIDTH};
use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_storeu_ps};
use std::array::from_fn;

/// Three rows of four vectors leave four of the 16 registers for what is multiplied.
pub(super) static LOOPS: [Loop; 3] = [run::<1>, run::<2>, run::<3>];

const LANES: usize = 8;
const VECTORS: usize = WIDTH / LANES;

/// # Safety
/// See [`Loop`].
#[target_feature(enable = "avx2,fma")]
unsafe fn run<const ROWS: usize>(block: &Block) {
    let &Block { x, panel, seed, out, .. } = block;
    // SAFETY: the caller vouches for `[ROWS, depth]` values of x, `[depth, WIDTH]` of the panel,
    // and `[ROWS, WIDTH]` of seed and out, at their strides; nothing beyond them is touched.
    unsafe {
        let mut sums: [[_; VECTORS]; ROWS] = from_fn(|i| {
            from_fn(|v| _mm256_loadu_ps(seed.add(i * block.seed_stride + v * LANES)))
        });
        for p in 0..block.depth {
            let weights: [_; VECTORS] =
                from_fn(|v| _mm256_loadu_ps(panel.add(p * WIDTH + v * LANES)));
            for (i, row) in sums.iter_mut().enumerate() {
                let value = _mm256_set1_ps(*x.add(i * block.x_stride + p));
                for (sum, weight) in row.iter_mut().zip(weights) {
                    *sum = _mm256_fmadd_ps(value, weight, *sum);
                }
            }
        }
        for (i, row) in sums.iter().enumerate() {
            for (v, sum) in row.iter().enumerate() {
                _mm256_storeu_ps(out.add(i * block.out_stride + v * LANES), *sum);
            }
        }
    }
}
