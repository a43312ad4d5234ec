//! The product of rows with a packed matrix.

#![allow(unsafe_code)]

use super::code_kernel::{self, CodeBlock};
use super::integer_rows::IntegerRows;
use super::kernel::{Block, MAX_ROWS, WIDTH};
use super::panels::{Panels, Part};
use crate::error::{ModelError, Result};
use crate::workers::for_each;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;

/// Inputs after which a sum is put down and the next rows' turn comes, so that this part of a
/// panel (64 KiB of floats) is still in a cache that a core has of its own when they need it. Whole
/// groups of every size.
pub(super) const DEPTH: usize = 512;
/// Multiplications that are done before other threads are awake.
const WORTH_A_THREAD: usize = 1 << 15;
/// Work items that a product with many rows is cut into at least, so that threads end together.
const ITEMS: usize = 64;

impl Panels {
    /// `x · Wᵀ + b` into `out`, which is made `[rows, outputs]`.
    ///
    /// # Errors
    /// When `x` is not that many rows.
    pub(crate) fn product_of(&self, x: &[f32], rows: usize, out: &mut Vec<f32>) -> Result<()> {
        out.resize(rows * self.outputs(), 0.0);
        // SAFETY: values that are there may be written to as if they were not; `multiply` only writes
        // values.
        let places =
            unsafe { &mut *(ptr::from_mut(out.as_mut_slice()) as *mut [MaybeUninit<f32>]) };
        if self.multiply(x, rows, places) {
            Ok(())
        } else {
            Err(ModelError::RowShape {
                rows,
                hidden: self.inputs(),
                found: x.len(),
            })
        }
    }

    /// `x · Wᵀ + b` into `out`, `[rows, outputs]`, for `x`, `[rows, inputs]`. Returns false and
    /// does nothing when the lengths are not those of so many rows.
    #[must_use]
    pub(super) fn multiply(&self, x: &[f32], rows: usize, out: &mut [MaybeUninit<f32>]) -> bool {
        if x.len() != rows * self.inputs() || out.len() != rows * self.outputs() {
            return false;
        }
        if out.is_empty() {
            return true;
        }
        let (x, most) = match self.format() {
            None => (Rows::Floats(x), self.kernel().rows()),
            Some(format) => {
                let simd = self.kernel().simd();
                let rows = IntegerRows::new(simd, format, x, rows, self.inputs());
                (Rows::Integers(rows), code_kernel::most_rows(simd))
            }
        };
        let product = Product {
            panels: self,
            x,
            out: out.as_mut_ptr().cast(),
            rows,
            blocks: rows.div_ceil(most),
        };
        // With few panels and many rows, threads share the rows too.
        let parts = ITEMS.div_ceil(self.count()).min(product.blocks);
        let work = |item: usize| {
            // SAFETY: each item writes to a panel's outputs of its own part of the rows.
            unsafe { product.run(item / parts, item % parts, parts) }
        };
        if rows * self.outputs() * self.inputs() < WORTH_A_THREAD {
            (0..self.count() * parts).for_each(work)
        } else {
            for_each(self.count() * parts, &work)
        }
        true
    }
}

/// What is multiplied with the weights, `[rows, inputs]`.
enum Rows<'a> {
    Floats(&'a [f32]),
    /// With codes.
    Integers(IntegerRows),
}

/// What the threads of one product share.
struct Product<'a> {
    panels: &'a Panels,
    x: Rows<'a>,
    /// `[rows, outputs]`, borrowed for as long as this lives.
    out: *mut f32,
    rows: usize,
    /// Parts of the rows that are as alike as can be, none larger than the kernel takes.
    blocks: usize,
}

// SAFETY: threads write to different places through `out`, see `run`; the rest is only read.
unsafe impl Sync for Product<'_> {}

impl Product<'_> {
    /// Does one of `parts` parts of the rows with one panel.
    ///
    /// # Safety
    /// No one else does the same part with the same panel.
    unsafe fn run(&self, panel: usize, part: usize, parts: usize) {
        let blocks = self.blocks * part / parts..self.blocks * (part + 1) / parts;
        let inputs = self.panels.inputs();
        // There is at least one part, for the bias.
        for from in (0..inputs.max(1)).step_by(DEPTH) {
            let weights = self.panels.part(panel, from, DEPTH.min(inputs - from));
            // SAFETY: the caller's.
            unsafe { self.blocks(panel, blocks.clone(), from, weights) }
        }
    }

    /// Blocks of rows with a part of a panel.
    ///
    /// # Safety
    /// See [`Product::run`].
    unsafe fn blocks(&self, panel: usize, blocks: Range<usize>, from: usize, weights: Part<'_>) {
        let outputs = self.panels.outputs();
        let width = WIDTH.min(outputs - panel * WIDTH);
        for block in blocks {
            // SAFETY: `[rows of the block, width]` lie within `out`, and are this call's.
            unsafe {
                let out = self.out.add(self.row(block) * outputs + panel * WIDTH);
                if width == WIDTH {
                    self.block(panel, block, from, weights, out, outputs)
                } else {
                    // The last panel's outputs are fewer than a block writes.
                    let rows = self.row(block + 1) - self.row(block);
                    let mut buffer = [0.0; MAX_ROWS * WIDTH];
                    let values = buffer.as_mut_ptr();
                    if from > 0 {
                        for row in 0..rows {
                            let row_out = out.add(row * outputs);
                            values
                                .add(row * WIDTH)
                                .copy_from_nonoverlapping(row_out, width);
                        }
                    }
                    self.block(panel, block, from, weights, values, WIDTH);
                    for row in 0..rows {
                        let row_out = out.add(row * outputs);
                        row_out.copy_from_nonoverlapping(values.add(row * WIDTH), width);
                    }
                }
            }
        }
    }

    /// One block of rows with a part of a panel.
    ///
    /// # Safety
    /// See [`Product::run`]; `out` takes the block's rows at this stride.
    unsafe fn block(
        &self,
        panel: usize,
        block: usize,
        from: usize,
        weights: Part<'_>,
        out: *mut f32,
        stride: usize,
    ) {
        let (first, end) = (self.row(block), self.row(block + 1));
        let (seed, seed_stride) = match from {
            0 => (self.panels.bias(panel).as_ptr(), 0),
            _ => (out.cast_const(), stride),
        };
        match (weights, &self.x) {
            (Part::Floats(weights), Rows::Floats(x)) => {
                let inputs = self.panels.inputs();
                let depth = DEPTH.min(inputs - from);
                let x = &x[first * inputs + from..end * inputs - (inputs - from - depth)];
                let block = Block {
                    x: x.as_ptr(),
                    x_stride: inputs,
                    panel: weights.as_ptr(),
                    depth,
                    seed,
                    seed_stride,
                    out,
                    out_stride: stride,
                };
                // SAFETY: the slices begin and end where the first row's first and the last row's last
                // value are; the caller vouches for `out`. The kernels were made for this processor
                // and are asked for at most as many rows as they take.
                unsafe { self.panels.kernel().of_rows(end - first)(&block) }
            }
            (Part::Codes(codes), Rows::Integers(x)) => {
                let block = CodeBlock {
                    x: x.values(first, from).as_ptr(),
                    x_stride: x.depth(),
                    scales: x.scales(first, from).as_ptr(),
                    scales_stride: x.scales_a_row(),
                    seed,
                    seed_stride,
                    out,
                    out_stride: stride,
                };
                let simd = self.panels.kernel().simd();
                // SAFETY: there are as many rows of integers as of the product, each as deep as the
                // codes and with their scales; the caller vouches for `out`.
                unsafe { code_kernel::multiply(simd, &codes, &block, end - first) }
            }
            // `multiply` rounds rows where there are codes, and nowhere else.
            _ => unreachable!("rows of another type than the weights"),
        }
    }

    /// The first row of a block.
    fn row(&self, block: usize) -> usize {
        self.rows * block / self.blocks
    }
}
