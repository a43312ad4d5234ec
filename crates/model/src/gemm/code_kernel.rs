//! The inner loops over [`CodePanel`]s.
//!
//! Codes and rows are both integers: their products are added up without rounding, and no weight is
//! ever made. Widening codes to 16 bits takes one or two instructions a vector, which serve all rows of
//! the block; where bytes are multiplied, the rows are taken apart instead. What integers stand for is
//! applied to the sum over the inputs that share a scale.

#![allow(unsafe_code)]

use super::codes::CodePanel;
use super::integer_rows::Scale;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::prefetch::prefetch_line;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::quantise::coded_row::CodeFormat;
use crate::simd::{Level, Simd};

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "aarch64")]
mod dot;
mod portable;
#[cfg(target_arch = "x86_64")]
mod vnni;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64 as processor;
#[cfg(target_arch = "x86_64")]
use x86_64 as processor;

/// Bytes between the codes that are read and those that memory is asked for: a processor that looks
/// for streams itself begins anew with each page.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const AHEAD: usize = 4096;
/// The most rows that are multiplied at once: where vectors are of 512 bits, where bytes are multiplied,
/// and elsewhere.
const ROWS: [usize; 3] = [8, 6, 5];

/// One call: `out[i][j] = seed[i][j] + Σ x[i][p] · weight[p][j]`, for all rows `i`, the [`super::kernel::WIDTH`]
/// outputs `j` of a panel and the inputs `p` of a part of it.
#[derive(Clone, Copy)]
pub(super) struct CodeBlock {
    /// `[rows, depth of the part]`, filled up with zeros to a multiple of [`super::codes::QUAD`].
    pub(super) x: *const i16,
    /// Values from one row of `x` to the next.
    pub(super) x_stride: usize,
    /// `[rows, scales]`.
    pub(super) scales: *const Scale,
    /// From one row of `scales` to the next.
    pub(super) scales_stride: usize,
    /// What the sums begin with, `[rows, WIDTH]`. May be `out`.
    pub(super) seed: *const f32,
    /// Values from one row of `seed` to the next; 0 for a bias.
    pub(super) seed_stride: usize,
    /// `[rows, WIDTH]`.
    pub(super) out: *mut f32,
    /// Values from one row of `out` to the next.
    pub(super) out_stride: usize,
}

/// Has memory fetch what comes [`AHEAD`] of these codes.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
fn prefetch(codes: *const u8) {
    prefetch_line(codes.wrapping_add(AHEAD));
}

/// The most rows that are multiplied at once with these instructions.
pub(super) fn most_rows(simd: Simd) -> usize {
    match simd.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vnni => ROWS[0],
        #[cfg(target_arch = "aarch64")]
        Level::NeonDot => ROWS[1],
        _ => ROWS[2],
    }
}

/// What [`CodeBlock`] describes, with these instructions.
///
/// # Safety
/// From 1 to [`most_rows`] rows, and what the block points to is there.
pub(super) unsafe fn multiply(simd: Simd, panel: &CodePanel<'_>, block: &CodeBlock, rows: usize) {
    // SAFETY: the caller's.
    unsafe {
        match simd.level() {
            Level::Portable => portable::multiply(panel, block, rows),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Vnni => with_vnni(panel, block, rows),
            #[cfg(target_arch = "aarch64")]
            Level::NeonDot => with_dot(panel, block, rows),
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            _ => vectorised(panel, block, rows),
        }
    }
}

/// # Safety
/// See [`multiply`]; the processor has what the loops are compiled for.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
unsafe fn vectorised(panel: &CodePanel<'_>, block: &CodeBlock, rows: usize) {
    use processor::{eight, four};
    // SAFETY: the caller's.
    unsafe {
        match (panel.format, rows) {
            (CodeFormat::Eight, 1) => eight::<1>(panel, block),
            (CodeFormat::Eight, 2) => eight::<2>(panel, block),
            (CodeFormat::Eight, 3) => eight::<3>(panel, block),
            (CodeFormat::Eight, 4) => eight::<4>(panel, block),
            (CodeFormat::Eight, _) => eight::<5>(panel, block),
            (CodeFormat::Four(_), 1) => four::<1>(panel, block),
            (CodeFormat::Four(_), 2) => four::<2>(panel, block),
            (CodeFormat::Four(_), 3) => four::<3>(panel, block),
            (CodeFormat::Four(_), 4) => four::<4>(panel, block),
            (CodeFormat::Four(_), _) => four::<5>(panel, block),
        }
    }
}

/// # Safety
/// See [`multiply`]; the processor has AVX-512 with BW and VNNI.
#[cfg(target_arch = "x86_64")]
unsafe fn with_vnni(panel: &CodePanel<'_>, block: &CodeBlock, rows: usize) {
    use vnni::{eight, four};
    // SAFETY: the caller's.
    unsafe {
        match (panel.format, rows) {
            (CodeFormat::Eight, 1) => eight::<1>(panel, block),
            (CodeFormat::Eight, 2) => eight::<2>(panel, block),
            (CodeFormat::Eight, 3) => eight::<3>(panel, block),
            (CodeFormat::Eight, 4) => eight::<4>(panel, block),
            (CodeFormat::Eight, 5) => eight::<5>(panel, block),
            (CodeFormat::Eight, 6) => eight::<6>(panel, block),
            (CodeFormat::Eight, 7) => eight::<7>(panel, block),
            (CodeFormat::Eight, _) => eight::<8>(panel, block),
            (CodeFormat::Four(_), 1) => four::<1>(panel, block),
            (CodeFormat::Four(_), 2) => four::<2>(panel, block),
            (CodeFormat::Four(_), 3) => four::<3>(panel, block),
            (CodeFormat::Four(_), 4) => four::<4>(panel, block),
            (CodeFormat::Four(_), 5) => four::<5>(panel, block),
            (CodeFormat::Four(_), 6) => four::<6>(panel, block),
            (CodeFormat::Four(_), 7) => four::<7>(panel, block),
            (CodeFormat::Four(_), _) => four::<8>(panel, block),
        }
    }
}

/// # Safety
/// See [`multiply`]; the processor has the dot product of bytes.
#[cfg(target_arch = "aarch64")]
unsafe fn with_dot(panel: &CodePanel<'_>, block: &CodeBlock, rows: usize) {
    use dot::{eight, four};
    // SAFETY: the caller's.
    unsafe {
        match (panel.format, rows) {
            (CodeFormat::Eight, 1) => eight::<1, 4>(panel, block),
            (CodeFormat::Eight, 2) => eight::<2, 4>(panel, block),
            (CodeFormat::Eight, 3) => eight::<3, 2>(panel, block),
            (CodeFormat::Eight, 4) => eight::<4, 2>(panel, block),
            (CodeFormat::Eight, 5) => eight::<5, 2>(panel, block),
            (CodeFormat::Eight, _) => eight::<6, 2>(panel, block),
            (CodeFormat::Four(_), 1) => four::<1, 4>(panel, block),
            (CodeFormat::Four(_), 2) => four::<2, 4>(panel, block),
            (CodeFormat::Four(_), 3) => four::<3, 2>(panel, block),
            (CodeFormat::Four(_), 4) => four::<4, 2>(panel, block),
            (CodeFormat::Four(_), 5) => four::<5, 2>(panel, block),
            (CodeFormat::Four(_), _) => four::<6, 2>(panel, block),
        }
    }
}
