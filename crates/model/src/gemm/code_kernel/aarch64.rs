//! With NEON, which every processor of this kind has: an instruction multiplies four 16-bit integers
//! with one of a row and adds to sums of 32 bits. Five rows of four vectors leave twelve of 32 registers
//! for what is multiplied.

use super::{CodeBlock, prefetch};
use crate::gemm::codes::{CodePanel, HALF, QUAD, inputs_of_a_scale};
use crate::gemm::kernel::WIDTH;
use half::f16;
use std::arch::aarch64::{
    float32x4_t, int16x4_t, int16x8_t, int32x4_t, uint16x8_t, vandq_u16, vcvtq_f32_s32, vdup_n_s32,
    vdupq_n_f32, vdupq_n_s32, vdupq_n_u16, vfmaq_f32, vget_low_s8, vget_low_s16, vld1_s16,
    vld1_u16, vld1q_f32, vld1q_u16, vld2q_s8, vmlal_high_lane_s16, vmlal_lane_s16, vmovl_high_s8,
    vmovl_s8, vmulq_f32, vreinterpret_s16_s32, vreinterpretq_s16_u16, vshrq_n_u16, vst1q_f32,
    vuzp1q_u16, vuzp2q_u16,
};
use std::arch::asm;

/// Outputs of a vector of sums.
pub(super) const LANES: usize = 4;
/// Vectors of a half of a panel.
const VECTORS: usize = HALF / LANES;

/// # Safety
/// See [`super::multiply`].
pub(super) unsafe fn four<const ROWS: usize>(panel: &CodePanel<'_>, block: &CodeBlock) {
    let b = *block;
    let group = inputs_of_a_scale(panel.format);
    let grids = panel.grids.as_chunks::<{ 2 * WIDTH }>().0;
    for (half, codes) in panel.halves().into_iter().enumerate() {
        // A quad is 32 bytes: see `CodePanel`.
        let quads = codes.as_chunks::<{ QUAD * HALF / 2 }>().0;
        let groups = quads.chunks(group / QUAD).zip(grids);
        // SAFETY: the caller vouches for `[ROWS, WIDTH]` values of seed and out, `[ROWS, depth]`
        // of x and a scale for each group of a row, at their strides.
        unsafe {
            let low = vdupq_n_u16(0xf);
            let mut sums = seeds::<ROWS>(&b, half);
            for (number, (quads, grid)) in groups.enumerate() {
                let mut integers = [[vdupq_n_s32(0); VECTORS]; ROWS];
                let mut x = b.x.add(number * group);
                for quad in quads {
                    prefetch(quad.as_ptr());
                    let words: *const u16 = quad.as_ptr().cast();
                    let (first, second) = (vld1q_u16(words), vld1q_u16(words.add(8)));
                    // Of each output the word of inputs 0 and 2, and that of inputs 1 and 3.
                    let even = vuzp1q_u16(first, second);
                    let odd = vuzp2q_u16(first, second);
                    let code = |word: uint16x8_t| vreinterpretq_s16_u16(vandq_u16(word, low));
                    let weights = [
                        [code(even), code(vshrq_n_u16::<4>(even))],
                        [code(odd), code(vshrq_n_u16::<4>(odd))],
                        [
                            code(vshrq_n_u16::<8>(even)),
                            vreinterpretq_s16_u16(vshrq_n_u16::<12>(even)),
                        ],
                        [
                            code(vshrq_n_u16::<8>(odd)),
                            vreinterpretq_s16_u16(vshrq_n_u16::<12>(odd)),
                        ],
                    ];
                    for (i, integers) in integers.iter_mut().enumerate() {
                        let x = vld1_s16(x.add(i * b.x_stride));
                        accumulate::<0>(integers, x, weights[0]);
                        accumulate::<1>(integers, x, weights[1]);
                        accumulate::<2>(integers, x, weights[2]);
                        accumulate::<3>(integers, x, weights[3]);
                    }
                    x = x.add(QUAD);
                }
                let (scales, offsets) = grid.split_at(WIDTH);
                let scales = halves(&scales[half * HALF..]);
                let offsets = halves(&offsets[half * HALF..]);
                for (i, (sums, integers)) in sums.iter_mut().zip(integers).enumerate() {
                    let row = *b.scales.add(i * b.scales_stride + number);
                    let (scale, sum) = (vdupq_n_f32(row.scale), vdupq_n_f32(row.sum));
                    for v in 0..VECTORS {
                        let scaled = vmulq_f32(vcvtq_f32_s32(integers[v]), scales[v]);
                        sums[v] = vfmaq_f32(sums[v], scaled, scale);
                        sums[v] = vfmaq_f32(sums[v], offsets[v], sum);
                    }
                }
            }
            store(&b, half, &sums);
        }
    }
}

/// # Safety
/// See [`super::multiply`].
pub(super) unsafe fn eight<const ROWS: usize>(panel: &CodePanel<'_>, block: &CodeBlock) {
    let b = *block;
    let group = inputs_of_a_scale(panel.format);
    for (half, codes) in panel.halves().into_iter().enumerate() {
        // A pair of inputs is 32 bytes.
        let pairs = codes.as_chunks::<{ 2 * HALF }>().0;
        // SAFETY: as in `four`; there is a scale for each of the panel's outputs.
        unsafe {
            let mut sums = [[vdupq_n_f32(0.0); VECTORS]; ROWS];
            for (number, pairs) in pairs.chunks(group / 2).enumerate() {
                let mut integers = [[vdupq_n_s32(0); VECTORS]; ROWS];
                let mut x = b.x.add(number * group);
                for pair in pairs {
                    prefetch(pair.as_ptr());
                    // Of each output the first input, and the second.
                    let codes = vld2q_s8(pair.as_ptr().cast());
                    let widen = |codes| [vmovl_s8(vget_low_s8(codes)), vmovl_high_s8(codes)];
                    let weights = [widen(codes.0), widen(codes.1)];
                    for (i, integers) in integers.iter_mut().enumerate() {
                        let pair = x.add(i * b.x_stride).cast::<i32>().read_unaligned();
                        let x = vreinterpret_s16_s32(vdup_n_s32(pair));
                        accumulate::<0>(integers, x, weights[0]);
                        accumulate::<1>(integers, x, weights[1]);
                    }
                    x = x.add(2);
                }
                for (i, (sums, integers)) in sums.iter_mut().zip(integers).enumerate() {
                    let scale = vdupq_n_f32((*b.scales.add(i * b.scales_stride + number)).scale);
                    for v in 0..VECTORS {
                        sums[v] = vfmaq_f32(sums[v], vcvtq_f32_s32(integers[v]), scale);
                    }
                }
            }
            let scales = panel.scales.as_ptr().add(half * HALF);
            let mut out = seeds::<ROWS>(&b, half);
            for (out, sums) in out.iter_mut().zip(sums) {
                for v in 0..VECTORS {
                    let scales = vld1q_f32(scales.add(v * LANES));
                    out[v] = vfmaq_f32(out[v], sums[v], scales);
                }
            }
            store(&b, half, &out);
        }
    }
}

/// Adds the products of a row's value in `LANE` with the weights of its input.
#[inline(always)]
fn accumulate<const LANE: i32>(
    integers: &mut [int32x4_t; VECTORS],
    x: int16x4_t,
    weights: [int16x8_t; 2],
) {
    for (sums, weights) in integers.as_chunks_mut::<2>().0.iter_mut().zip(weights) {
        // SAFETY: every processor of this kind has it.
        unsafe {
            sums[0] = vmlal_lane_s16::<LANE>(sums[0], vget_low_s16(weights), x);
            sums[1] = vmlal_high_lane_s16::<LANE>(sums[1], weights, x);
        }
    }
}

/// What the sums of a half begin with.
///
/// # Safety
/// See [`super::multiply`].
#[inline(always)]
unsafe fn seeds<const ROWS: usize>(b: &CodeBlock, half: usize) -> [[float32x4_t; VECTORS]; ROWS] {
    std::array::from_fn(|i| {
        std::array::from_fn(|v| {
            let at = i * b.seed_stride + half * HALF + v * LANES;
            // SAFETY: the caller's.
            unsafe { vld1q_f32(b.seed.add(at)) }
        })
    })
}

/// # Safety
/// See [`super::multiply`].
#[inline(always)]
unsafe fn store<const ROWS: usize>(
    b: &CodeBlock,
    half: usize,
    sums: &[[float32x4_t; VECTORS]; ROWS],
) {
    for (i, row) in sums.iter().enumerate() {
        for (v, sum) in row.iter().enumerate() {
            let at = i * b.out_stride + half * HALF + v * LANES;
            // SAFETY: the caller's.
            unsafe { vst1q_f32(b.out.add(at), *sum) }
        }
    }
}

/// [`HALF`] binary16 as floats.
#[inline(always)]
fn halves(values: &[f16]) -> [float32x4_t; VECTORS] {
    let values = values.as_chunks::<LANES>().0;
    std::array::from_fn(|v| floats(&values[v]))
}

/// Those of a vector.
#[inline(always)]
pub(super) fn floats(values: &[f16; LANES]) -> float32x4_t {
    let floats;
    // SAFETY: 8 bytes are read of 8. Every processor of this kind has the instruction, for which
    // there is no stable intrinsic.
    unsafe {
        let halves = vld1_u16(values.as_ptr().cast());
        asm!(
            "fcvtl {floats:v}.4s, {halves:v}.4h",
            floats = out(vreg) floats,
            halves = in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    floats
}
