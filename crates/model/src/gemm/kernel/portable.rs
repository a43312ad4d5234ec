//! Loops for any processor.

use super::{Block, Loop, WIDTH};

/// The loops for 1, 2, 3, … rows.
pub(super) static LOOPS: [Loop; 2] = [run::<1>, run::<2>];

/// # Safety
/// See [`Loop`].
unsafe fn run<const ROWS: usize>(block: &Block) {
    let b = *block;
    // SAFETY: the caller vouches for `[ROWS, depth]` values of x, `[depth, WIDTH]` of the panel, and
    // `[ROWS, WIDTH]` of seed and out, at their strides; nothing beyond them is touched.
    unsafe {
        for row in 0..ROWS {
            let mut sums = [0.0; WIDTH];
            for (output, sum) in sums.iter_mut().enumerate() {
                *sum = *b.seed.add(row * b.seed_stride + output);
            }
            for input in 0..b.depth {
                let x = *b.x.add(row * b.x_stride + input);
                for (output, sum) in sums.iter_mut().enumerate() {
                    *sum = x.mul_add(*b.panel.add(input * WIDTH + output), *sum);
                }
            }
            for (output, sum) in sums.iter().enumerate() {
                *b.out.add(row * b.out_stride + output) = *sum;
            }
        }
    }
}
