//! Products with matrices in plain memory: what a segment spends its time on.
//!
//! A decode step reads every weight once, so it cannot be faster than memory; a prefill multiplies
//! every weight with every row, so it cannot be faster than the fused multiply-adds of the
//! processor. libtorch leaves f32 products to MKL, which on an AMD processor comes close to
//! neither. `docs/measurements/llama-cpp.md` has the figures of both.
//!
//! Here the weights are packed once, when they are loaded, and every product reads them front to
//! back (see [`Panels`]). Each output is one sum, in the order of its inputs, whatever the number
//! of rows or of threads and whatever the width of the vectors. So what a product makes of a row
//! does not depend on which other rows run with it, nor on the processor.
//!
//! A matrix may be held as 8- or 4-bit integers (see [`codes`]): then rows are rounded to integers of
//! 16 bits, and what a product makes of a row does not depend on other rows either.
//!
//! There are loops for x86-64 with AVX2 and FMA, AVX-512, or AVX-512 with VNNI, for aarch64 with and without
//! its dot product, and for any processor, where they are slow. Their safe twin is in the tests, as the sum that they must equal to the bit.

mod code_kernel;
mod codes;
mod integer_rows;
mod kernel;
mod panels;
mod product;

#[cfg(test)]
mod tests;

pub(crate) use kernel::Kernel;
pub(crate) use panels::Panels;
