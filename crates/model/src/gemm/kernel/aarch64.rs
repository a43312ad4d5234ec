//! Loops with NEON, which every processor of this kind has.

mod of_four {
    use std::arch::aarch64::{float32x4_t, vfmaq_f32};
    pub(super) use std::arch::aarch64::{
        vdupq_n_f32 as splat, vld1q_f32 as load, vst1q_f32 as store,
    };

    pub(super) const LANES: usize = 4;

    #[inline(always)]
    pub(super) fn zero() -> float32x4_t {
        // SAFETY: every processor of this kind has it.
        unsafe { splat(0.0) }
    }

    #[inline(always)]
    pub(super) fn multiply_add(x: float32x4_t, y: float32x4_t, sum: float32x4_t) -> float32x4_t {
        // SAFETY: every processor of this kind has it.
        unsafe { vfmaq_f32(sum, x, y) }
    }
}

// Three rows of eight vectors leave eight of 32 registers for what is multiplied.
loops!(neon, of_four, [1 2 3],);
