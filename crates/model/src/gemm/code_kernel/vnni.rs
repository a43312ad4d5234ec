//! With AVX-512 and its instruction for sums of products of 16-bit integers (VNNI): a vector has all outputs of
//! a half of a panel, and each row takes one instruction for two inputs. The integers are the same as
//! everywhere, and floats are multiplied and added in the same order.

use super::{CodeBlock, prefetch};
use crate::gemm::codes::{CodePanel, HALF, QUAD, inputs_of_a_scale};
use crate::gemm::kernel::WIDTH;
use std::arch::asm;
use std::arch::x86_64::{
    __m512, __m512i, _mm256_loadu_si256, _mm256_set1_epi16, _mm512_and_si512,
    _mm512_broadcast_i64x4, _mm512_cvtepi8_epi16, _mm512_cvtepi32_ps, _mm512_cvtph_ps,
    _mm512_fmadd_ps, _mm512_inserti64x4, _mm512_loadu_ps, _mm512_mul_ps, _mm512_set1_epi16,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_srlv_epi16,
    _mm512_storeu_ps,
};

/// Both halves of a panel, so that a pair of a row's values that is read serves two instructions.
const HALVES: usize = 2;

/// # Safety
/// See [`super::multiply`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn four<const ROWS: usize>(panel: &CodePanel<'_>, block: &CodeBlock) {
    let b = *block;
    let group = inputs_of_a_scale(panel.format);
    let low = _mm512_set1_epi16(0xf);
    // Outputs 0 to 7 in the lower half of a vector, 8 to 15 in the upper.
    let first_inputs = shifts(0, 4);
    let second_inputs = shifts(8, 12);
    let grids = panel.grids.as_chunks::<{ 2 * WIDTH }>().0;
    // A quad is 32 bytes: see `CodePanel`.
    let quads = panel
        .halves()
        .map(|codes| codes.as_chunks::<{ QUAD * HALF / 2 }>().0);
    let groups = quads[0]
        .chunks(group / QUAD)
        .zip(quads[1].chunks(group / QUAD));
    // SAFETY: the caller vouches for `[ROWS, WIDTH]` values of seed and out, `[ROWS, depth]`
    // of x and a scale for each group of a row, at their strides.
    unsafe {
        let mut sums = seeds::<ROWS>(&b);
        for (number, (quads, grid)) in groups.zip(grids).enumerate() {
            let mut integers = [[_mm512_setzero_si512(); HALVES]; ROWS];
            let mut x = b.x.add(number * group);
            for quads in quads.0.iter().zip(quads.1) {
                let (first, second) = (quads.0.as_ptr(), quads.1.as_ptr());
                prefetch(first);
                prefetch(second);
                // No closures: they would not be compiled for these instructions.
                let first = _mm512_broadcast_i64x4(_mm256_loadu_si256(first.cast()));
                let second = _mm512_broadcast_i64x4(_mm256_loadu_si256(second.cast()));
                let weights = [
                    _mm512_and_si512(_mm512_srlv_epi16(first, first_inputs), low),
                    _mm512_and_si512(_mm512_srlv_epi16(second, first_inputs), low),
                ];
                accumulate(&mut integers, x, b.x_stride, weights);
                let weights = [
                    _mm512_and_si512(_mm512_srlv_epi16(first, second_inputs), low),
                    _mm512_and_si512(_mm512_srlv_epi16(second, second_inputs), low),
                ];
                accumulate(&mut integers, x.add(2), b.x_stride, weights);
                x = x.add(QUAD);
            }
            let (scales, offsets) = grid.split_at(WIDTH);
            let scales = [floats(&scales[..HALF]), floats(&scales[HALF..])];
            let offsets = [floats(&offsets[..HALF]), floats(&offsets[HALF..])];
            for (i, (sums, integers)) in sums.iter_mut().zip(integers).enumerate() {
                let row = *b.scales.add(i * b.scales_stride + number);
                let (row_scale, row_sum) = (_mm512_set1_ps(row.scale), _mm512_set1_ps(row.sum));
                for half in 0..HALVES {
                    let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(integers[half]), scales[half]);
                    sums[half] = _mm512_fmadd_ps(scaled, row_scale, sums[half]);
                    sums[half] = _mm512_fmadd_ps(offsets[half], row_sum, sums[half]);
                }
            }
        }
        store(&b, &sums);
    }
}

/// # Safety
/// See [`super::multiply`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn eight<const ROWS: usize>(panel: &CodePanel<'_>, block: &CodeBlock) {
    let b = *block;
    let group = inputs_of_a_scale(panel.format);
    // A pair of inputs is 32 bytes.
    let pairs = panel
        .halves()
        .map(|codes| codes.as_chunks::<{ 2 * HALF }>().0);
    let groups = pairs[0].chunks(group / 2).zip(pairs[1].chunks(group / 2));
    // SAFETY: as in `four`; there is a scale for each of the panel's outputs.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); HALVES]; ROWS];
        for (number, pairs) in groups.enumerate() {
            let mut integers = [[_mm512_setzero_si512(); HALVES]; ROWS];
            let mut x = b.x.add(number * group);
            for pairs in pairs.0.iter().zip(pairs.1) {
                let (first, second) = (pairs.0.as_ptr(), pairs.1.as_ptr());
                prefetch(first);
                prefetch(second);
                let weights = [
                    _mm512_cvtepi8_epi16(_mm256_loadu_si256(first.cast())),
                    _mm512_cvtepi8_epi16(_mm256_loadu_si256(second.cast())),
                ];
                accumulate(&mut integers, x, b.x_stride, weights);
                x = x.add(2);
            }
            for (i, (sums, integers)) in sums.iter_mut().zip(integers).enumerate() {
                let row = *b.scales.add(i * b.scales_stride + number);
                let scale = _mm512_set1_ps(row.scale);
                for half in 0..HALVES {
                    let integers = _mm512_cvtepi32_ps(integers[half]);
                    sums[half] = _mm512_fmadd_ps(integers, scale, sums[half]);
                }
            }
        }
        let scales = panel.scales.as_ptr();
        let scales = [_mm512_loadu_ps(scales), _mm512_loadu_ps(scales.add(HALF))];
        let mut out = seeds::<ROWS>(&b);
        for (out, sums) in out.iter_mut().zip(sums) {
            for half in 0..HALVES {
                out[half] = _mm512_fmadd_ps(sums[half], scales[half], out[half]);
            }
        }
        store(&b, &out);
    }
}

/// By how much the lower and the upper half of a vector are shifted.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn shifts(lower: i16, upper: i16) -> __m512i {
    _mm512_inserti64x4::<1>(_mm512_set1_epi16(lower), _mm256_set1_epi16(upper))
}

/// Adds the products of two inputs: `weights` has both of an output's side by side.
///
/// # Safety
/// There are two values of each row at `x`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn accumulate<const ROWS: usize>(
    integers: &mut [[__m512i; HALVES]; ROWS],
    x: *const i16,
    x_stride: usize,
    weights: [__m512i; HALVES],
) {
    for (i, sums) in integers.iter_mut().enumerate() {
        // SAFETY: the caller's.
        let pair = unsafe { x.add(i * x_stride).cast::<i32>().read_unaligned() };
        let pair = _mm512_set1_epi32(pair);
        for (sum, weights) in sums.iter_mut().zip(weights) {
            *sum = dot(*sum, pair, weights);
        }
    }
}

/// `sum` and the products of two inputs. Not by the compiler's function: for the shorter way through one sum it makes
/// two instructions of it, and there are sums enough.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot(sum: __m512i, pair: __m512i, weights: __m512i) -> __m512i {
    let mut sum = sum;
    // SAFETY: the processor has the instruction, which reads and writes these registers.
    unsafe {
        asm!(
            "vpdpwssd {sum}, {pair}, {weights}",
            sum = inout(zmm_reg) sum,
            pair = in(zmm_reg) pair,
            weights = in(zmm_reg) weights,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// What the sums begin with.
///
/// # Safety
/// See [`super::multiply`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn seeds<const ROWS: usize>(b: &CodeBlock) -> [[__m512; HALVES]; ROWS] {
    let mut sums = [[_mm512_setzero_ps(); HALVES]; ROWS];
    for (i, sums) in sums.iter_mut().enumerate() {
        for (half, sum) in sums.iter_mut().enumerate() {
            let at = i * b.seed_stride + half * HALF;
            // SAFETY: the caller's.
            *sum = unsafe { _mm512_loadu_ps(b.seed.add(at)) };
        }
    }
    sums
}

/// # Safety
/// See [`super::multiply`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn store<const ROWS: usize>(b: &CodeBlock, sums: &[[__m512; HALVES]; ROWS]) {
    for (i, sums) in sums.iter().enumerate() {
        for (half, sum) in sums.iter().enumerate() {
            // SAFETY: the caller's.
            unsafe { _mm512_storeu_ps(b.out.add(i * b.out_stride + half * HALF), *sum) }
        }
    }
}

/// [`HALF`] binary16 as floats.
///
/// # Safety
/// There are as many.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn floats(values: &[half::f16]) -> __m512 {
    // SAFETY: 32 bytes are read of 16 values.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(values.as_ptr().cast()) })
}
