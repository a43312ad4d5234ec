//! Products with f32 matrices on x86-64: what a segment spends its time on.
//!
//! A decode step reads every weight once, so it cannot be faster than memory; a prefill multiplies
//! every weight with every row, so it cannot be faster than the fused multiply-adds of the
//! processor. libtorch gets close to neither everywhere: it leaves f32 products to MKL, which on
//! processors that are not Intel's has a product with one row that uses one thread and SSE (12 of
//! 30 GB/s), and which repacks the weights on every call. `docs/results.md` has the figures.
//!
//! Here the weights are packed once, when they are loaded, and every product reads them front to
//! back (see [`Panels`]). Each output is one sum, in the order of its inputs, whatever the number
//! of rows, of threads, or the width of the vectors. So a row's result does not depend on which
//! other rows run with it, nor on the processor: a prompt gives the same bits whether it is run
//! whole, in chunks, or token by token in a replay.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod kernel;
mod panels;
mod workers;

pub(crate) use panels::Panels;
