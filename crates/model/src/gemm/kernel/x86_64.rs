//! Loops with AVX-512, and with AVX2 and FMA.

mod of_eight {
    pub(super) use std::arch::x86_64::{
        _mm256_fmadd_ps as multiply_add, _mm256_loadu_ps as load, _mm256_set1_ps as splat,
        _mm256_setzero_ps as zero, _mm256_storeu_ps as store,
    };
    pub(super) const LANES: usize = 8;
}

mod of_sixteen {
    pub(super) use std::arch::x86_64::{
        _mm512_fmadd_ps as multiply_add, _mm512_loadu_ps as load, _mm512_set1_ps as splat,
        _mm512_setzero_ps as zero, _mm512_storeu_ps as store,
    };
    pub(super) const LANES: usize = 16;
}

// Three rows of four vectors leave four of 16 registers for what is multiplied.
loops!(avx2, of_eight, [1 2 3], #[target_feature(enable = "avx2,fma")]);

// Twelve rows of two vectors leave eight of 32.
loops!(
    avx512, of_sixteen, [1 2 3 4 5 6 7 8 9 10 11 12], #[target_feature(enable = "avx512f")]
);
