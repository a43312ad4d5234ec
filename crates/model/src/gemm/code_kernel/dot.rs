//! With NEON and its dot product of bytes (`sdot`, FEAT_DotProd): an instruction multiplies four inputs of each
//! of four outputs with four bytes of a row, and adds to sums of 32 bits.
//!
//! A row's integer of 16 bits is `256 · upper + lower`, two bytes that are multiplied and summed apart.
//! Codes of 4 bits have no sign, and neither has `lower` there. Codes of 8 bits have one, and so must `lower`:
//! it is stored less 128, and 128 times the sum of the codes, which all rows share, makes up for that. No sum of
//! the bytes' products reaches 2²¹, so 256 times one fits 32 bits. The integers are the same as everywhere, and
//! floats are multiplied and added in the same order.
//!
//! The two sums of six rows with two vectors leave eight of 32 registers for what is multiplied. One or two
//! rows are multiplied with four vectors, so that what is read of a row serves more instructions.

use super::aarch64::{LANES, floats};
use super::{CodeBlock, prefetch};
use crate::gemm::codes::{CodePanel, HALF, QUAD, inputs_of_a_scale};
use crate::gemm::kernel::WIDTH;
use crate::gemm::product::DEPTH;
use std::arch::aarch64::{
    float32x4_t, int8x16_t, int32x4_t, vaddq_s32, vandq_u8, vcombine_u8, vcvtq_f32_s32, vdup_n_u8,
    vdupq_n_f32, vdupq_n_s8, vdupq_n_s32, vdupq_n_u8, vdupq_n_u64, veorq_u8, vfmaq_f32,
    vget_high_u8, vget_low_u8, vld1_u8, vld1q_f32, vld1q_s8, vld1q_s16, vld1q_u8, vmulq_f32,
    vqtbl1q_u8, vreinterpretq_s8_s16, vreinterpretq_s8_u8, vreinterpretq_u8_u64, vshlq_n_s32,
    vshrq_n_u8, vst1_u8, vst1q_f32, vzip1q_s16, vzip2q_s16,
};
use std::arch::asm;
use std::mem::MaybeUninit;

/// Bytes of a vector.
const BYTES: usize = 16;
/// Bytes of the codes of one pair of inputs, for a half of a panel.
const PAIR: usize = 2 * HALF;

/// A quad of inputs of some rows, `[row][upper, lower][QUAD]`.
type RowQuad<const ROWS: usize> = [[u8; 2 * QUAD]; ROWS];
/// A part of some rows, and a quad behind it: eight bytes of it are read where the number of rows is odd.
type RowBytes<const ROWS: usize> = MaybeUninit<[RowQuad<ROWS>; DEPTH / QUAD + 1]>;
/// A row's sums with vectors of outputs, `[vector][upper, lower]`.
type Integers<const VECTORS: usize> = [[int32x4_t; 2]; VECTORS];

/// How a row's integers of two quads become the bytes of a [`RowQuad`] each.
struct Split {
    /// Which byte of two quads each one is.
    order: [u8; BYTES],
    /// The bits that are changed in each quad's bytes.
    flip: u64,
}

/// In the order of the inputs, and lower bytes less by 128.
const EIGHT: Split = Split {
    order: [1, 3, 5, 7, 0, 2, 4, 6, 9, 11, 13, 15, 8, 10, 12, 14],
    flip: 0x8080_8080_0000_0000,
};
/// In the order of the codes: inputs 0, 2, 1 and 3.
const FOUR: Split = Split {
    order: [1, 5, 3, 7, 0, 4, 2, 6, 9, 13, 11, 15, 8, 12, 10, 14],
    flip: 0,
};

/// # Safety
/// See [`super::multiply`]; the processor has the instructions.
#[target_feature(enable = "dotprod")]
pub(super) unsafe fn four<const ROWS: usize, const VECTORS: usize>(
    panel: &CodePanel<'_>,
    block: &CodeBlock,
) {
    let b = *block;
    let group = inputs_of_a_scale(panel.format);
    let grids = panel.grids.as_chunks::<{ 2 * WIDTH }>().0;
    let mut bytes = RowBytes::<ROWS>::uninit();
    // SAFETY: the caller vouches for `[ROWS, depth]` of x, at its stride.
    let bytes = unsafe { split(&b, panel.inputs(), &FOUR, &mut bytes) };
    let low = vdupq_n_u8(0xf);
    for (half, codes) in panel.halves().into_iter().enumerate() {
        // A quad is 32 bytes, those of 16 the codes of outputs i to i + 3 and i + 8 to i + 11 in their lower
        // and upper bits: see `CodePanel`.
        let quads = codes.as_chunks::<{ 2 * BYTES }>().0;
        for part in 0..HALF / LANES / VECTORS {
            let first = part * VECTORS / 2;
            let mut outputs = [0; VECTORS];
            for (v, output) in outputs.iter_mut().enumerate() {
                *output = half * HALF + (first + v / 2) * LANES + v % 2 * HALF / 2;
            }
            let groups = quads.chunks(group / QUAD).zip(grids);
            // SAFETY: the caller vouches for `[ROWS, WIDTH]` values of seed and out and a scale for each
            // group of a row, at their strides. There are bytes of each quad.
            unsafe {
                let mut sums = seeds::<ROWS, VECTORS>(&b, outputs);
                for (number, (quads, grid)) in groups.enumerate() {
                    let mut integers = [[[vdupq_n_s32(0); 2]; VECTORS]; ROWS];
                    let mut x = bytes.add(number * group / QUAD);
                    for quad in quads {
                        if part == 0 {
                            prefetch(quad.as_ptr());
                        }
                        let mut weights = [vdupq_n_s8(0); VECTORS];
                        let words = quad.as_ptr().add(first * BYTES);
                        let pairs = weights.as_chunks_mut::<2>().0.iter_mut();
                        for (i, weights) in pairs.enumerate() {
                            let codes = vld1q_u8(words.add(i * BYTES));
                            weights[0] = vreinterpretq_s8_u8(vandq_u8(codes, low));
                            weights[1] = vreinterpretq_s8_u8(vshrq_n_u8::<4>(codes));
                        }
                        accumulate::<ROWS, VECTORS, false>(&mut integers, x, weights);
                        x = x.add(1);
                    }
                    let (scales, offsets) = grid.split_at(WIDTH);
                    let scales = floats_of(scales, outputs);
                    let offsets = floats_of(offsets, outputs);
                    for (i, (sums, integers)) in sums.iter_mut().zip(integers).enumerate() {
                        let row = *b.scales.add(i * b.scales_stride + number);
                        let (scale, sum) = (vdupq_n_f32(row.scale), vdupq_n_f32(row.sum));
                        for (v, [upper, lower]) in integers.into_iter().enumerate() {
                            let integers = vaddq_s32(vshlq_n_s32::<8>(upper), lower);
                            let scaled = vmulq_f32(vcvtq_f32_s32(integers), scales[v]);
                            sums[v] = vfmaq_f32(sums[v], scaled, scale);
                            sums[v] = vfmaq_f32(sums[v], offsets[v], sum);
                        }
                    }
                }
                store(&b, outputs, &sums);
            }
        }
    }
}

/// # Safety
/// See [`super::multiply`]; the processor has the instructions.
#[target_feature(enable = "dotprod")]
pub(super) unsafe fn eight<const ROWS: usize, const VECTORS: usize>(
    panel: &CodePanel<'_>,
    block: &CodeBlock,
) {
    let b = *block;
    let group = inputs_of_a_scale(panel.format);
    let mut bytes = RowBytes::<ROWS>::uninit();
    // SAFETY: the caller vouches for `[ROWS, depth]` of x, at its stride.
    let bytes = unsafe { split(&b, panel.inputs(), &EIGHT, &mut bytes) };
    let ones = vdupq_n_s8(1);
    for (half, codes) in panel.halves().into_iter().enumerate() {
        // A quad is two pairs of inputs.
        let quads = codes.as_chunks::<{ 2 * PAIR }>().0;
        for part in 0..HALF / LANES / VECTORS {
            let first = part * VECTORS;
            let mut outputs = [0; VECTORS];
            for (v, output) in outputs.iter_mut().enumerate() {
                *output = half * HALF + (first + v) * LANES;
            }
            // SAFETY: as in `four`; there is a scale for each of the panel's outputs.
            unsafe {
                let mut sums = [[vdupq_n_f32(0.0); VECTORS]; ROWS];
                for (number, quads) in quads.chunks(group / QUAD).enumerate() {
                    let mut integers = [[[vdupq_n_s32(0); 2]; VECTORS]; ROWS];
                    let mut codes = [vdupq_n_s32(0); VECTORS];
                    let mut x = bytes.add(number * group / QUAD);
                    for quad in quads {
                        if part == 0 {
                            prefetch(quad.as_ptr());
                        }
                        let mut weights = [vdupq_n_s8(0); VECTORS];
                        let pairs = quad.as_ptr().add(first * LANES * 2);
                        let vectors = weights.as_chunks_mut::<2>().0.iter_mut();
                        for (i, weights) in vectors.enumerate() {
                            let pair = vld1q_s16(pairs.add(i * BYTES).cast());
                            let next = vld1q_s16(pairs.add(i * BYTES + PAIR).cast());
                            weights[0] = vreinterpretq_s8_s16(vzip1q_s16(pair, next));
                            weights[1] = vreinterpretq_s8_s16(vzip2q_s16(pair, next));
                        }
                        for (codes, weights) in codes.iter_mut().zip(weights) {
                            *codes = dot::<0>(*codes, weights, ones);
                        }
                        accumulate::<ROWS, VECTORS, true>(&mut integers, x, weights);
                        x = x.add(1);
                    }
                    for (i, (sums, integers)) in sums.iter_mut().zip(integers).enumerate() {
                        let row = *b.scales.add(i * b.scales_stride + number);
                        let scale = vdupq_n_f32(row.scale);
                        for (v, [upper, lower]) in integers.into_iter().enumerate() {
                            let lower = vaddq_s32(lower, vshlq_n_s32::<7>(codes[v]));
                            let integers = vaddq_s32(vshlq_n_s32::<8>(upper), lower);
                            sums[v] = vfmaq_f32(sums[v], vcvtq_f32_s32(integers), scale);
                        }
                    }
                }
                let mut out = seeds::<ROWS, VECTORS>(&b, outputs);
                for (out, sums) in out.iter_mut().zip(sums) {
                    for v in 0..VECTORS {
                        let scales = vld1q_f32(panel.scales.as_ptr().add(outputs[v]));
                        out[v] = vfmaq_f32(out[v], sums[v], scales);
                    }
                }
                store(&b, outputs, &out);
            }
        }
    }
}

/// The block's rows as bytes, of `depth` inputs.
///
/// # Safety
/// There are as many of each row, a multiple of [`QUAD`] and at most [`DEPTH`].
#[inline]
#[target_feature(enable = "dotprod")]
unsafe fn split<const ROWS: usize>(
    b: &CodeBlock,
    depth: usize,
    split: &Split,
    bytes: &mut RowBytes<ROWS>,
) -> *const RowQuad<ROWS> {
    let bytes: *mut RowQuad<ROWS> = bytes.as_mut_ptr().cast();
    let quads = depth / QUAD;
    // SAFETY: the caller's. A vector is two quads, or the last one.
    unsafe {
        let order = vld1q_u8(split.order.as_ptr());
        let flip = vreinterpretq_u8_u64(vdupq_n_u64(split.flip));
        let x: *const u8 = b.x.cast();
        for quad in (0..quads / 2).map(|pair| 2 * pair) {
            let (first, second) = (bytes.add(quad), bytes.add(quad + 1));
            for row in 0..ROWS {
                let integers = x.add(2 * (row * b.x_stride + quad * QUAD));
                let two = veorq_u8(vqtbl1q_u8(vld1q_u8(integers), order), flip);
                vst1_u8(first.cast::<u8>().add(row * 2 * QUAD), vget_low_u8(two));
                vst1_u8(second.cast::<u8>().add(row * 2 * QUAD), vget_high_u8(two));
            }
        }
        if quads % 2 == 1 {
            let last = bytes.add(quads - 1);
            for row in 0..ROWS {
                let integers = x.add(2 * (row * b.x_stride + (quads - 1) * QUAD));
                let one = vcombine_u8(vld1_u8(integers), vdup_n_u8(0));
                let one = veorq_u8(vqtbl1q_u8(one, order), flip);
                vst1_u8(last.cast::<u8>().add(row * 2 * QUAD), vget_low_u8(one));
            }
        }
        bytes.add(quads).write([[0; 2 * QUAD]; ROWS]);
    }
    bytes
}

/// Adds the products of a quad of inputs. `SIGNED` says whether lower bytes have a sign.
///
/// # Safety
/// There are the bytes of each row at `x`, and eight more.
#[inline]
#[target_feature(enable = "dotprod")]
unsafe fn accumulate<const ROWS: usize, const VECTORS: usize, const SIGNED: bool>(
    integers: &mut [Integers<VECTORS>; ROWS],
    x: *const RowQuad<ROWS>,
    weights: [int8x16_t; VECTORS],
) {
    for (i, rows) in integers.chunks_mut(2).enumerate() {
        // SAFETY: the caller's: two rows' bytes, or the last one's and what follows.
        let x = unsafe { vld1q_s8(x.cast::<i8>().add(i * BYTES)) };
        for (v, &weights) in weights.iter().enumerate() {
            if let Some(row) = rows.get_mut(0) {
                row[v] = both::<SIGNED, 0, 1>(row[v], weights, x);
            }
            if let Some(row) = rows.get_mut(1) {
                row[v] = both::<SIGNED, 2, 3>(row[v], weights, x);
            }
        }
    }
}

/// A row's sums with a vector and a further quad, whose upper and lower bytes are in these lanes of x.
#[inline]
#[target_feature(enable = "dotprod")]
fn both<const SIGNED: bool, const UPPER: u32, const LOWER: u32>(
    sums: [int32x4_t; 2],
    weights: int8x16_t,
    x: int8x16_t,
) -> [int32x4_t; 2] {
    let upper = dot::<UPPER>(sums[0], weights, x);
    let lower = if SIGNED {
        dot::<LOWER>(sums[1], weights, x)
    } else {
        unsigned_dot::<LOWER>(sums[1], weights, x)
    };
    [upper, lower]
}

/// Adds to each sum the products of four bytes with those in a lane of x. There is no stable intrinsic for it.
#[inline]
#[target_feature(enable = "dotprod")]
fn dot<const LANE: u32>(sum: int32x4_t, weights: int8x16_t, x: int8x16_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: the processor has the instruction, which reads and writes these registers.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {weights:v}.16b, {x:v}.4b[{lane}]",
            sum = inout(vreg) sum,
            weights = in(vreg) weights,
            x = in(vreg) x,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// [`dot`] of bytes without a sign.
#[inline]
#[target_feature(enable = "dotprod")]
fn unsigned_dot<const LANE: u32>(sum: int32x4_t, weights: int8x16_t, x: int8x16_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: the processor has the instruction, which reads and writes these registers.
    unsafe {
        asm!(
            "udot {sum:v}.4s, {weights:v}.16b, {x:v}.4b[{lane}]",
            sum = inout(vreg) sum,
            weights = in(vreg) weights,
            x = in(vreg) x,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// What the sums of vectors of outputs begin with, of which these are the first.
///
/// # Safety
/// See [`super::multiply`].
#[inline]
#[target_feature(enable = "dotprod")]
unsafe fn seeds<const ROWS: usize, const VECTORS: usize>(
    b: &CodeBlock,
    outputs: [usize; VECTORS],
) -> [[float32x4_t; VECTORS]; ROWS] {
    let mut sums = [[vdupq_n_f32(0.0); VECTORS]; ROWS];
    for (i, sums) in sums.iter_mut().enumerate() {
        for (sum, output) in sums.iter_mut().zip(outputs) {
            // SAFETY: the caller's.
            *sum = unsafe { vld1q_f32(b.seed.add(i * b.seed_stride + output)) };
        }
    }
    sums
}

/// # Safety
/// See [`super::multiply`].
#[inline]
#[target_feature(enable = "dotprod")]
unsafe fn store<const ROWS: usize, const VECTORS: usize>(
    b: &CodeBlock,
    outputs: [usize; VECTORS],
    sums: &[[float32x4_t; VECTORS]; ROWS],
) {
    for (i, sums) in sums.iter().enumerate() {
        for (sum, output) in sums.iter().zip(outputs) {
            // SAFETY: the caller's.
            unsafe { vst1q_f32(b.out.add(i * b.out_stride + output), *sum) }
        }
    }
}

/// The floats of vectors of outputs, of which these are the first.
#[inline]
#[target_feature(enable = "dotprod")]
fn floats_of<const VECTORS: usize>(
    values: &[half::f16],
    outputs: [usize; VECTORS],
) -> [float32x4_t; VECTORS] {
    let mut all = [vdupq_n_f32(0.0); VECTORS];
    let values = values.as_chunks::<LANES>().0;
    for (vector, output) in all.iter_mut().zip(outputs) {
        *vector = floats(&values[output / LANES]);
    }
    all
}
