//! With AVX2, FMA and F16C: an instruction multiplies 16 integers and adds up pairs. Five rows of two
//! vectors leave six of 16 registers for what is multiplied.

use super::{CodeBlock, prefetch};
use crate::gemm::codes::{CodePanel, HALF, QUAD, inputs_of_a_scale};
use crate::gemm::kernel::WIDTH;
use std::arch::x86_64::{
    __m256, __m256i, _mm_loadu_si128, _mm256_add_epi32, _mm256_and_si256, _mm256_cvtepi8_epi16,
    _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_mul_ps, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_srli_epi16, _mm256_storeu_ps,
};

/// Outputs of a vector of sums.
const LANES: usize = 8;
/// Vectors of a half of a panel.
const VECTORS: usize = HALF / LANES;

/// # Safety
/// See [`super::multiply`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn four<const ROWS: usize>(panel: &CodePanel<'_>, block: &CodeBlock) {
    let b = *block;
    let group = inputs_of_a_scale(panel.format);
    let low = _mm256_set1_epi16(0xf);
    let grids = panel.grids.as_chunks::<{ 2 * WIDTH }>().0;
    for (half, codes) in panel.halves().into_iter().enumerate() {
        // A quad is 32 bytes: see `CodePanel`.
        let quads = codes.as_chunks::<{ QUAD * HALF / 2 }>().0;
        let groups = quads.chunks(group / QUAD).zip(grids);
        // SAFETY: the caller vouches for `[ROWS, WIDTH]` values of seed and out, `[ROWS, depth]`
        // of x and a scale for each group of a row, at their strides.
        unsafe {
            let mut sums = seeds::<ROWS>(&b, half);
            for (number, (quads, grid)) in groups.enumerate() {
                let mut integers = [[_mm256_setzero_si256(); VECTORS]; ROWS];
                let mut x = b.x.add(number * group);
                for quad in quads {
                    prefetch(quad.as_ptr());
                    let codes = _mm256_loadu_si256(quad.as_ptr().cast());
                    let first = [
                        _mm256_and_si256(codes, low),
                        _mm256_and_si256(_mm256_srli_epi16::<4>(codes), low),
                    ];
                    accumulate(&mut integers, x, b.x_stride, first);
                    let second = [
                        _mm256_and_si256(_mm256_srli_epi16::<8>(codes), low),
                        _mm256_srli_epi16::<12>(codes),
                    ];
                    accumulate(&mut integers, x.add(2), b.x_stride, second);
                    x = x.add(QUAD);
                }
                let (scales, offsets) = grid.split_at(WIDTH);
                let scales = halves(&scales[half * HALF..]);
                let offsets = halves(&offsets[half * HALF..]);
                for (i, (sums, integers)) in sums.iter_mut().zip(integers).enumerate() {
                    let row = *b.scales.add(i * b.scales_stride + number);
                    let (scale, sum) = (_mm256_set1_ps(row.scale), _mm256_set1_ps(row.sum));
                    for v in 0..VECTORS {
                        let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(integers[v]), scales[v]);
                        sums[v] = _mm256_fmadd_ps(scaled, scale, sums[v]);
                        sums[v] = _mm256_fmadd_ps(offsets[v], sum, sums[v]);
                    }
                }
            }
            store(&b, half, &sums);
        }
    }
}

/// # Safety
/// See [`super::multiply`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn eight<const ROWS: usize>(panel: &CodePanel<'_>, block: &CodeBlock) {
    let b = *block;
    let group = inputs_of_a_scale(panel.format);
    for (half, codes) in panel.halves().into_iter().enumerate() {
        // A pair of inputs is 32 bytes.
        let pairs = codes.as_chunks::<{ 2 * HALF }>().0;
        // SAFETY: as in `four`; there is a scale for each of the panel's outputs, and 16 bytes
        // are read of each half of a pair's.
        unsafe {
            let mut sums = [[_mm256_setzero_ps(); VECTORS]; ROWS];
            for (number, pairs) in pairs.chunks(group / 2).enumerate() {
                let mut integers = [[_mm256_setzero_si256(); VECTORS]; ROWS];
                let mut x = b.x.add(number * group);
                for pair in pairs {
                    prefetch(pair.as_ptr());
                    let part = |v: usize| _mm_loadu_si128(pair.as_ptr().add(v * 2 * LANES).cast());
                    let weights = [_mm256_cvtepi8_epi16(part(0)), _mm256_cvtepi8_epi16(part(1))];
                    accumulate(&mut integers, x, b.x_stride, weights);
                    x = x.add(2);
                }
                for (i, (sums, integers)) in sums.iter_mut().zip(integers).enumerate() {
                    let row = *b.scales.add(i * b.scales_stride + number);
                    let scale = _mm256_set1_ps(row.scale);
                    for v in 0..VECTORS {
                        sums[v] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(integers[v]), scale, sums[v]);
                    }
                }
            }
            let scales = panel.scales.as_ptr().add(half * HALF);
            let mut out = seeds::<ROWS>(&b, half);
            for (out, sums) in out.iter_mut().zip(sums) {
                for v in 0..VECTORS {
                    let scales = _mm256_loadu_ps(scales.add(v * LANES));
                    out[v] = _mm256_fmadd_ps(sums[v], scales, out[v]);
                }
            }
            store(&b, half, &out);
        }
    }
}

/// Adds the products of two inputs: `weights` has both of an output's side by side.
///
/// # Safety
/// There are two values of each row at `x`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn accumulate<const ROWS: usize>(
    integers: &mut [[__m256i; VECTORS]; ROWS],
    x: *const i16,
    x_stride: usize,
    weights: [__m256i; VECTORS],
) {
    for (i, row) in integers.iter_mut().enumerate() {
        // SAFETY: the caller's.
        let pair = unsafe { x.add(i * x_stride).cast::<i32>().read_unaligned() };
        let pair = _mm256_set1_epi32(pair);
        for (sum, weights) in row.iter_mut().zip(weights) {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pair, weights));
        }
    }
}

/// What the sums of a half begin with.
///
/// # Safety
/// See [`super::multiply`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn seeds<const ROWS: usize>(b: &CodeBlock, half: usize) -> [[__m256; VECTORS]; ROWS] {
    let mut sums = [[_mm256_setzero_ps(); VECTORS]; ROWS];
    for (i, row) in sums.iter_mut().enumerate() {
        for (v, sum) in row.iter_mut().enumerate() {
            let at = i * b.seed_stride + half * HALF + v * LANES;
            // SAFETY: the caller's.
            *sum = unsafe { _mm256_loadu_ps(b.seed.add(at)) };
        }
    }
    sums
}

/// # Safety
/// See [`super::multiply`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn store<const ROWS: usize>(b: &CodeBlock, half: usize, sums: &[[__m256; VECTORS]; ROWS]) {
    for (i, row) in sums.iter().enumerate() {
        for (v, sum) in row.iter().enumerate() {
            let at = i * b.out_stride + half * HALF + v * LANES;
            // SAFETY: the caller's.
            unsafe { _mm256_storeu_ps(b.out.add(at), *sum) }
        }
    }
}

/// [`HALF`] binary16 as floats.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn halves(values: &[half::f16]) -> [__m256; VECTORS] {
    let mut all = [_mm256_setzero_ps(); VECTORS];
    for (vector, values) in all.iter_mut().zip(values.as_chunks::<LANES>().0) {
        // SAFETY: 16 bytes are read of 16.
        *vector = _mm256_cvtph_ps(unsafe { _mm_loadu_si128(values.as_ptr().cast()) });
    }
    all
}
