//! The text of all loops.

/// The loops for one kind of vectors, the same text for every kind, so that what is tested with one
/// kind is what runs with another. `$vectors` has their `LANES`, and what is done with them: `zero`,
/// `splat`, `load`, `store` and `multiply_add`.
macro_rules! loops {
    ($module:ident, $vectors:ident, [$($rows:literal)+], $(#[$features:meta])?) => {
        pub(super) mod $module {
            use super::super::{Block, Loop, WIDTH};
            use super::$vectors::{LANES, load, multiply_add, splat, store, zero};

            pub(in crate::gemm::kernel) static LOOPS: [Loop; [$($rows),+].len()] = [$(run::<$rows>),+];

            const VECTORS: usize = WIDTH / LANES;

            /// # Safety
            /// See [`Loop`].
            $(#[$features])?
            unsafe fn run<const ROWS: usize>(block: &Block) {
                let b = *block;
                // SAFETY: the caller vouches for `[ROWS, depth]` values of x, `[depth, WIDTH]` of
                // the panel, and `[ROWS, WIDTH]` of seed and out, at their strides; nothing beyond
                // them is touched.
                unsafe {
                    let mut sums = [[zero(); VECTORS]; ROWS];
                    for (i, row) in sums.iter_mut().enumerate() {
                        for (v, sum) in row.iter_mut().enumerate() {
                            *sum = load(b.seed.add(i * b.seed_stride + v * LANES));
                        }
                    }
                    // Of rows and vectors of weights, the fewer are kept in registers beside the sums.
                    for p in 0..b.depth {
                        let x = |i: usize| splat(*b.x.add(i * b.x_stride + p));
                        let weights = |v: usize| load(b.panel.add(p * WIDTH + v * LANES));
                        if ROWS <= VECTORS {
                            let x: [_; ROWS] = std::array::from_fn(x);
                            for v in 0..VECTORS {
                                let weights = weights(v);
                                for (row, x) in sums.iter_mut().zip(&x) {
                                    row[v] = multiply_add(*x, weights, row[v]);
                                }
                            }
                        } else {
                            let weights: [_; VECTORS] = std::array::from_fn(weights);
                            for (i, row) in sums.iter_mut().enumerate() {
                                let x = x(i);
                                for (sum, weights) in row.iter_mut().zip(&weights) {
                                    *sum = multiply_add(x, *weights, *sum);
                                }
                            }
                        }
                    }
                    for (i, row) in sums.iter().enumerate() {
                        for (v, sum) in row.iter().enumerate() {
                            store(b.out.add(i * b.out_stride + v * LANES), *sum);
                        }
                    }
                }
            }
        }
    };
}
