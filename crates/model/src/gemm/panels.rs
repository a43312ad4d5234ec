//! A matrix, packed, and its product with rows.

#![allow(unsafe_code)]

use super::kernel::{Block, DEPTH, Kernel, MAX_ROWS, WIDTH};
use super::workers::for_each;
use crate::error::{ModelError, Result};
use memmap2::MmapMut;
use std::fmt;
use tch::{Device, Kind, Tensor};

/// Multiplications that are done before other threads are awake.
const WORTH_A_THREAD: usize = 1 << 15;
/// Work items that a product with many rows is cut into at least, so that threads end together.
const ITEMS: usize = 64;

/// A matrix `[outputs, inputs]` of f32 in panels of 32 outputs, `[panel][input][output]`: the
/// product of a row with a panel reads it front to back, as memory likes it, and each value of the
/// row meets whole vectors of weights. The last panel is filled up with zeros.
pub(crate) struct Panels {
    /// In huge pages where the kernel has them: a decode step reads all weights, and looks up a
    /// page for every 2 MiB instead of every 4 KiB.
    packed: MmapMut,
    /// What the sums begin with, for all panels.
    bias: Vec<f32>,
    outputs: usize,
    inputs: usize,
    kernel: Kernel,
}

impl fmt::Debug for Panels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Panels({} x {})", self.outputs, self.inputs)
    }
}

impl Panels {
    /// A matrix and a bias of zeros; none where this processor has no vectors that we know.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn zeros(outputs: usize, inputs: usize) -> Result<Option<Self>> {
        match Kernel::detect() {
            Some(kernel) => Self::with_kernel(kernel, outputs, inputs).map(Some),
            None => Ok(None),
        }
    }

    fn with_kernel(kernel: Kernel, outputs: usize, inputs: usize) -> Result<Self> {
        let width = outputs.next_multiple_of(WIDTH);
        let bytes = width * inputs * size_of::<f32>();
        let packed = MmapMut::map_anon(bytes.max(1))
            .map_err(|source| ModelError::Memory { bytes, source })?;
        // Not every kernel has them, and it works without.
        #[cfg(target_os = "linux")]
        let _ = packed.advise(memmap2::Advice::HugePage);
        Ok(Self {
            packed,
            bias: vec![0.0; width],
            outputs,
            inputs,
            kernel,
        })
    }

    /// Sets the matrix' row of one output.
    ///
    /// # Errors
    /// When it is not `inputs` long.
    pub(crate) fn set_output(&mut self, output: usize, weights: &[f32]) -> Result<()> {
        if weights.len() != self.inputs || output >= self.outputs {
            return Err(ModelError::RowShape {
                rows: 1,
                hidden: self.inputs,
                found: weights.len(),
            });
        }
        let packed: &mut [f32] = bytemuck::cast_slice_mut(&mut self.packed);
        let first = output / WIDTH * self.inputs * WIDTH + output % WIDTH;
        let places = packed[first..].iter_mut().step_by(WIDTH);
        places.zip(weights).for_each(|(place, weight)| *place = *weight);
        Ok(())
    }

    /// Sets one output's bias.
    pub(crate) fn set_bias(&mut self, output: usize, bias: f32) {
        self.bias[output] = bias;
    }

    /// `x · Wᵀ + b` for `x`, `[rows, inputs]` in f32 on the CPU: `[rows, outputs]`.
    ///
    /// # Errors
    /// When `x` has another shape, or libtorch has no memory.
    pub(crate) fn product(&self, x: &Tensor) -> Result<Tensor> {
        let x = x
            .f_to_device(Device::Cpu)?
            .f_to_kind(Kind::Float)?
            .f_contiguous()?;
        let shape = x.size();
        let rows = match shape[..] {
            [rows, inputs] if inputs == self.inputs as i64 => rows as usize,
            _ => {
                return Err(ModelError::RowShape {
                    rows: shape.first().copied().unwrap_or(0) as usize,
                    hidden: self.inputs,
                    found: x.numel(),
                });
            }
        };
        let out_shape = [rows as i64, self.outputs as i64];
        let out = Tensor::f_empty(out_shape, (Kind::Float, Device::Cpu))?;
        if rows > 0 {
            // SAFETY: both tensors are f32 on the CPU and contiguous, `[rows, inputs]` and
            // `[rows, outputs]`, and live to the end of this function. No one else knows of `out`,
            // and no one writes to `x` meanwhile: one thread makes all libtorch calls.
            unsafe { self.multiply(x.data_ptr().cast(), rows, out.data_ptr().cast()) }
        }
        Ok(out)
    }

    /// # Safety
    /// `x` points to `[rows, inputs]` values that no one writes to, `out` to room for
    /// `[rows, outputs]` that no one else touches.
    unsafe fn multiply(&self, x: *const f32, rows: usize, out: *mut f32) {
        let product = Product {
            panels: self,
            packed: bytemuck::cast_slice(&self.packed),
            x,
            out,
            rows,
            blocks: rows.div_ceil(self.kernel.rows()),
        };
        let panels = self.bias.len() / WIDTH;
        // With few panels and many rows, threads share the rows too.
        let parts = ITEMS.div_ceil(panels.max(1)).min(product.blocks);
        let work = |item: usize| {
            // SAFETY: the caller vouches for the pointers, and each item writes to a panel's
            // outputs of its own part of the rows.
            unsafe { product.run(item / parts, item % parts, parts) }
        };
        match rows * self.outputs * self.inputs < WORTH_A_THREAD {
            true => (0..panels * parts).for_each(work),
            false => for_each(panels * parts, &work),
        }
    }
}

/// What the threads of one product share.
struct Product<'a> {
    panels: &'a Panels,
    packed: &'a [f32],
    x: *const f32,
    out: *mut f32,
    rows: usize,
    /// Parts of the rows that are as alike as can be, none larger than the kernel takes.
    blocks: usize,
}

// SAFETY: threads read through `x` and write to different places through `out`, see `run`.
unsafe impl Sync for Product<'_> {}

impl Product<'_> {
    /// Does one of `parts` parts of the rows with one panel.
    ///
    /// # Safety
    /// See [`Panels::multiply`]; no one else does the same part with the same panel.
    unsafe fn run(&self, panel: usize, part: usize, parts: usize) {
        let (first, end) = (self.blocks * part / parts, self.blocks * (part + 1) / parts);
        // The last panel's outputs are fewer than a block writes.
        if (panel + 1) * WIDTH > self.panels.outputs {
            for block in first..end {
                // SAFETY: the caller's.
                unsafe { self.narrow(panel, block) }
            }
            return;
        }
        let stride = self.panels.outputs;
        for from in (0..self.panels.inputs.max(1)).step_by(DEPTH) {
            for block in first..end {
                let row = self.row(block);
                // SAFETY: `[rows of the block, WIDTH]` lie within `out`, as the panel is whole.
                unsafe {
                    let out = self.out.add(row * stride + panel * WIDTH);
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
        for from in (0..self.panels.inputs.max(1)).step_by(DEPTH) {
            // SAFETY: the buffer takes the most rows that a kernel does at once.
            unsafe { self.block(panel, block, from, buffer.as_mut_ptr(), WIDTH) }
        }
        let outputs = self.panels.outputs;
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

    /// The inputs `from .. from + DEPTH` of a block of rows and a panel.
    ///
    /// # Safety
    /// See [`Product::run`]; `out` takes the block's rows at this stride.
    unsafe fn block(&self, panel: usize, block: usize, from: usize, out: *mut f32, stride: usize) {
        let (inputs, rows) = (self.panels.inputs, self.row(block + 1) - self.row(block));
        let depth = DEPTH.min(inputs - from);
        let weights = &self.packed[(panel * inputs + from) * WIDTH..][..depth * WIDTH];
        let bias = &self.panels.bias[panel * WIDTH..][..WIDTH];
        let (seed, seed_stride) = match from {
            0 => (bias.as_ptr(), 0),
            _ => (out.cast_const(), stride),
        };
        // SAFETY: `from + depth` is at most the inputs, and the block's rows are rows of x, so all
        // of x that is read is there; the slices above have what is read of weights and bias; the
        // caller vouches for `out`. The kernel was made for this processor and is asked for at
        // most as many rows as it takes.
        unsafe {
            self.panels.kernel.of(rows)(&Block {
                x: self.x.add(self.row(block) * inputs + from),
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
