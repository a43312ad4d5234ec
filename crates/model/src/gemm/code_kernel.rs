//! The inner loops over [`CodePanel`]s, with AVX2, FMA and F16C.
//!
//! A weight is made in two or three instructions of eight: the code as an integer, as a float, and
//! for 4 bits `scale · code + offset`, not rounded in between.

#![allow(unsafe_code)]

use super::codes::CodePanel;
use super::kernel::{Block, WIDTH};
use crate::coded_row::Form;
use std::arch::x86_64::{
    __m256, __m256i, _mm_loadl_epi64, _mm_loadu_si128, _mm256_and_si256, _mm256_cvtepi8_epi32,
    _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_mul_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_srli_epi32,
    _mm256_storeu_ps,
};

/// Values of a vector.
const LANES: usize = 8;
const VECTORS: usize = WIDTH / LANES;
/// The most rows that are multiplied with codes; more of them pay for a part of a panel in f32.
pub(super) const MAX_CODE_ROWS: usize = 3;

/// Whether this processor has what the loops need.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

/// Makes the weights of a panel: `[depth, WIDTH]`.
///
/// # Safety
/// [`is_available`], and `out` holds as many.
pub(super) unsafe fn expand(panel: &CodePanel<'_>, out: *mut f32) {
    // SAFETY: the caller's.
    unsafe { expand_avx2(panel, out) }
}

/// What [`Block`] describes, with a panel of codes in place of its own.
///
/// # Safety
/// [`is_available`], from 1 to [`MAX_CODE_ROWS`] rows, and what the block points to is there; its
/// `panel` is not looked at, and its depth is the panel's.
pub(super) unsafe fn multiply(panel: &CodePanel<'_>, block: &Block, rows: usize) {
    // SAFETY: the caller's.
    unsafe {
        match rows {
            1 => multiply_avx2::<1>(panel, block),
            2 => multiply_avx2::<2>(panel, block),
            _ => multiply_avx2::<3>(panel, block),
        }
    }
}

/// # Safety
/// See [`expand`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn expand_avx2(panel: &CodePanel<'_>, out: *mut f32) {
    let store = |input: usize, weights: [__m256; VECTORS]| {
        for (v, weights) in weights.into_iter().enumerate() {
            // SAFETY: input is below the depth.
            unsafe { _mm256_storeu_ps(out.add(input * WIDTH + v * LANES), weights) }
        }
    };
    for_each_input(panel, store);
}

/// # Safety
/// See [`multiply`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn multiply_avx2<const ROWS: usize>(panel: &CodePanel<'_>, block: &Block) {
    let b = *block;
    let mut sums = [[_mm256_setzero_ps(); VECTORS]; ROWS];
    // SAFETY: the caller vouches for `[ROWS, WIDTH]` values of seed and out and `[ROWS, depth]` of x,
    // at their strides.
    unsafe {
        for (i, row) in sums.iter_mut().enumerate() {
            for (v, sum) in row.iter_mut().enumerate() {
                *sum = _mm256_loadu_ps(b.seed.add(i * b.seed_stride + v * LANES));
            }
        }
        for_each_input(panel, |input, weights| {
            for (i, row) in sums.iter_mut().enumerate() {
                let value = _mm256_set1_ps(*b.x.add(i * b.x_stride + input));
                for (sum, weights) in row.iter_mut().zip(weights) {
                    *sum = _mm256_fmadd_ps(value, weights, *sum);
                }
            }
        });
        for (i, row) in sums.iter().enumerate() {
            for (v, sum) in row.iter().enumerate() {
                _mm256_storeu_ps(b.out.add(i * b.out_stride + v * LANES), *sum);
            }
        }
    }
}

/// Calls `work` with each input and its weights.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn for_each_input(panel: &CodePanel<'_>, mut work: impl FnMut(usize, [__m256; VECTORS])) {
    match panel.form {
        Form::Eight => {
            let scales = floats(panel.scales);
            let rows = panel.codes.as_chunks::<WIDTH>().0;
            for (input, codes) in rows.iter().enumerate() {
                let parts = codes.as_chunks::<LANES>().0;
                let mut weights = scales;
                for (weights, codes) in weights.iter_mut().zip(parts) {
                    *weights = _mm256_mul_ps(*weights, float(signed(codes)));
                }
                work(input, weights);
            }
        }
        Form::Four(group) => {
            let rows = panel.codes.as_chunks::<{ WIDTH / 2 }>().0;
            let groups = rows.chunks(group.inputs());
            let grids = panel.grids.as_chunks::<{ 2 * WIDTH }>().0;
            let low = _mm256_set1_epi32(0xf);
            for (number, (rows, grid)) in groups.zip(grids).enumerate() {
                let (scales, offsets) = grid.split_at(WIDTH);
                let (scales, offsets) = (halves(scales), halves(offsets));
                for (at, codes) in rows.iter().enumerate() {
                    let parts = codes.as_chunks::<LANES>().0;
                    let [a, b] = [unsigned(&parts[0]), unsigned(&parts[1])];
                    let codes = [
                        _mm256_and_si256(a, low),
                        _mm256_srli_epi32::<4>(a),
                        _mm256_and_si256(b, low),
                        _mm256_srli_epi32::<4>(b),
                    ];
                    let mut weights = offsets;
                    for v in 0..VECTORS {
                        weights[v] = _mm256_fmadd_ps(float(codes[v]), scales[v], offsets[v]);
                    }
                    work(number * group.inputs() + at, weights);
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn float(codes: __m256i) -> __m256 {
    _mm256_cvtepi32_ps(codes)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn unsigned(codes: &[u8; LANES]) -> __m256i {
    // SAFETY: eight bytes are read of eight.
    _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(codes.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn signed(codes: &[u8; LANES]) -> __m256i {
    // SAFETY: eight bytes are read of eight.
    _mm256_cvtepi8_epi32(unsafe { _mm_loadl_epi64(codes.as_ptr().cast()) })
}

/// [`WIDTH`] floats.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn floats(values: &[f32]) -> [__m256; VECTORS] {
    let mut all = [_mm256_setzero_ps(); VECTORS];
    for (vector, values) in all.iter_mut().zip(values.as_chunks::<LANES>().0) {
        // SAFETY: eight values are read of eight.
        *vector = unsafe { _mm256_loadu_ps(values.as_ptr()) };
    }
    all
}

/// [`WIDTH`] binary16 as floats.
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
