//! The product of rows with a packed matrix.

#![allow(unsafe_code)]

use super::kernel::{Block, MAX_ROWS, WIDTH};
use super::panels::Panels;
use super::workers::for_each;
use std::mem::MaybeUninit;

/// Inputs after which a sum is put down and the next rows' turn comes, so that this part of a
/// panel (32 KiB) is still in a cache that a core has of its own when they need it.
pub(super) const DEPTH: usize = 512;
/// Multiplications that are done before other threads are awake.
const WORTH_A_THREAD: usize = 1 << 15;
/// Work items that a product with many rows is cut into at least, so that threads end together.
const ITEMS: usize = 64;

impl Panels {
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
        let product = Product {
            panels: self,
            x,
            out: out.as_mut_ptr().cast(),
            rows,
            blocks: rows.div_ceil(self.kernel().rows()),
        };
        // With few panels and many rows, threads share the rows too.
        let parts = ITEMS.div_ceil(self.count()).min(product.blocks);
        let work = |item: usize| {
            // SAFETY: each item writes to a panel's outputs of its own part of the rows.
            unsafe { product.run(item / parts, item % parts, parts) }
        };
        match rows * self.outputs() * self.inputs() < WORTH_A_THREAD {
            true => (0..self.count() * parts).for_each(work),
            false => for_each(self.count() * parts, &work),
        }
        true
    }
}

/// What the threads of one product share.
struct Product<'a> {
    panels: &'a Panels,
    /// `[rows, inputs]`.
    x: &'a [f32],
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
        let (first, end) = (self.blocks * part / parts, self.blocks * (part + 1) / parts);
        let stride = self.panels.outputs();
        // The last panel's outputs may be fewer than a block writes.
        if (panel + 1) * WIDTH > stride {
            for block in first..end {
                // SAFETY: the caller's.
                unsafe { self.narrow(panel, block) }
            }
            return;
        }
        for from in self.depths() {
            for block in first..end {
                // SAFETY: `[rows of the block, WIDTH]` lie within `out`, as the panel is whole.
                unsafe {
                    let out = self.out.add(self.row(block) * stride + panel * WIDTH);
                    self.block(panel, block, from, out, stride);
                }
            }
        }
    }

    /// One block of rows with a panel of fewer outputs than [`WIDTH`], by way of a buffer.
    ///
    /// # Safety
    /// See [`Product::run`].
    unsafe fn narrow(&self, panel: usize, block: usize) {
        let mut buffer = [0.0; MAX_ROWS * WIDTH];
        for from in self.depths() {
            // SAFETY: the buffer takes the most rows that a kernel does at once.
            unsafe { self.block(panel, block, from, buffer.as_mut_ptr(), WIDTH) }
        }
        let outputs = self.panels.outputs();
        let width = outputs - panel * WIDTH;
        let rows = self.row(block)..self.row(block + 1);
        for (row, values) in rows.zip(buffer.chunks_exact(WIDTH)) {
            // SAFETY: `row` is below the rows and `panel * WIDTH + width` is the outputs.
            unsafe {
                let out = self.out.add(row * outputs + panel * WIDTH);
                out.copy_from_nonoverlapping(values.as_ptr(), width);
            }
        }
    }

    /// Where the parts of the inputs begin. There is at least one, for the bias.
    fn depths(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.panels.inputs().max(1)).step_by(DEPTH)
    }

    /// The inputs `from .. from + DEPTH` of a block of rows and a panel.
    ///
    /// # Safety
    /// See [`Product::run`]; `out` takes the block's rows at this stride.
    unsafe fn block(&self, panel: usize, block: usize, from: usize, out: *mut f32, stride: usize) {
        let inputs = self.panels.inputs();
        let (first, end) = (self.row(block), self.row(block + 1));
        let depth = DEPTH.min(inputs - from);
        let weights = &self.panels.weights(panel, from)[..depth * WIDTH];
        let x = &self.x[first * inputs + from..end * inputs - (inputs - from - depth)];
        let (seed, seed_stride) = match from {
            0 => (self.panels.bias(panel).as_ptr(), 0),
            _ => (out.cast_const(), stride),
        };
        // SAFETY: the slices begin and end where the first row's first and the last row's last
        // value are; the caller vouches for `out`. The kernel was made for this processor and is
        // asked for at most as many rows as it takes.
        unsafe {
            self.panels.kernel().of(end - first)(&Block {
                x: x.as_ptr(),
                x_stride: inputs,
                panel: weights.as_ptr(),
                depth,
                seed,
                seed_stride,
                out,
                out_stride: stride,
            });
        }
    }

    /// The first row of a block.
    fn row(&self, block: usize) -> usize {
        self.rows * block / self.blocks
    }
}
