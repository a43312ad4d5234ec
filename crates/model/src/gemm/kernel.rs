//! The inner loop: a few rows times one panel.

#![allow(unsafe_code)]

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[macro_use]
mod loops;
#[cfg(target_arch = "aarch64")]
mod aarch64;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use crate::simd::{Level, Simd};

/// Outputs of a panel.
pub(super) const WIDTH: usize = 32;
/// The most rows that any kernel takes at once.
pub(super) const MAX_ROWS: usize = 12;

/// One call of the inner loop: `out[i][j] = seed[i][j] + Σ_p x[i][p] · panel[p][j]`, for all rows
/// `i` and the [`WIDTH`] outputs `j` of a panel, each sum in the order of `p` and each product
/// added without rounding it first.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// `[rows, depth]`.
    pub(super) x: *const f32,
    /// Values from one row of `x` to the next.
    pub(super) x_stride: usize,
    /// `[depth, WIDTH]`.
    pub(super) panel: *const f32,
    /// Inputs.
    pub(super) depth: usize,
    /// What the sums begin with, `[rows, WIDTH]`. May be `out`.
    pub(super) seed: *const f32,
    /// Values from one row of `seed` to the next; 0 for a bias.
    pub(super) seed_stride: usize,
    /// `[rows, WIDTH]`.
    pub(super) out: *mut f32,
    /// Values from one row of `out` to the next.
    pub(super) out_stride: usize,
}

/// Runs a [`Block`] of a number of rows that is known when it is compiled.
///
/// # Safety
/// The processor has the instructions, and what the block points to is there.
pub(super) type Loop = unsafe fn(&Block);

/// The loops for some instructions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernel {
    /// The loops for 1, 2, 3, … rows.
    loops: &'static [Loop],
    simd: Simd,
}

impl Kernel {
    /// The loops for these instructions.
    pub(crate) fn of(simd: Simd) -> Self {
        let loops: &'static [Loop] = match simd.level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Vnni | Level::Avx512 => &x86_64::avx512::LOOPS,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => &x86_64::avx2::LOOPS,
            #[cfg(target_arch = "aarch64")]
            Level::NeonDot | Level::Neon => &aarch64::neon::LOOPS,
            Level::Portable => &portable::LOOPS,
        };
        Self { loops, simd }
    }

    /// The instructions.
    pub(super) fn simd(self) -> Simd {
        self.simd
    }

    /// The most rows of a block, at most [`MAX_ROWS`].
    pub(super) fn rows(self) -> usize {
        self.loops.len()
    }

    /// `out[i][j] = Σ_p x[i][p] · panel[p][j]` for `rows` rows of x and out, these many values apart,
    /// with a panel `[depth, WIDTH]`. Each sum is in the order of `p`, not rounded in between.
    pub(crate) fn multiply(
        self,
        x: &[f32],
        x_stride: usize,
        panel: &[f32],
        out: &mut [f32],
        out_stride: usize,
        rows: usize,
    ) {
        static ZEROS: [f32; WIDTH] = [0.0; WIDTH];
        let depth = panel.len() / WIDTH;
        let blocks = rows.div_ceil(self.rows());
        let row = |block: usize| rows * block / blocks;
        for block in 0..blocks {
            let (first, count) = (row(block), row(block + 1) - row(block));
            let x = &x[first * x_stride..][..(count - 1) * x_stride + depth];
            let out = &mut out[first * out_stride..][..(count - 1) * out_stride + WIDTH];
            let block = Block {
                x: x.as_ptr(),
                x_stride,
                panel: panel.as_ptr(),
                depth,
                seed: ZEROS.as_ptr(),
                seed_stride: 0,
                out: out.as_mut_ptr(),
                out_stride,
            };
            // SAFETY: the loops are for this processor. The slices begin with the first row's first
            // value and end with the last row's last one.
            unsafe { self.of_rows(count)(&block) }
        }
    }

    /// The loop for `rows` rows, from 1 to [`Kernel::rows`].
    pub(super) fn of_rows(self, rows: usize) -> Loop {
        self.loops[rows - 1]
    }
}
