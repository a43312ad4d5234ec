//! The vector instructions that loops are compiled for.
//!
//! Every loop is the same text for each of them, or one that adds up in the same order without rounding in
//! between: which of them a processor has changes how long a row takes, and no bit of it.

#[cfg(target_arch = "aarch64")]
use std::arch::is_aarch64_feature_detected;

/// Instructions that this processor has. Made only where it has them, which is what the loops that are
/// compiled for them rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Simd(Level);

/// Which they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// AVX-512F with BW and VNNI, and what AVX2 has here.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// AVX-512F, and what AVX2 has here.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// NEON with its dot product of bytes.
    #[cfg(target_arch = "aarch64")]
    NeonDot,
    /// NEON.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// None that the compiler does not use by itself.
    Portable,
}

impl Simd {
    /// Those of this processor, the best first, and last those of any.
    pub(crate) fn available() -> Vec<Self> {
        let mut levels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
        {
            if is_x86_feature_detected!("avx512f") {
                if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni") {
                    levels.push(Level::Avx512Vnni);
                }
                levels.push(Level::Avx512);
            }
            levels.push(Level::Avx2);
        }
        #[cfg(target_arch = "aarch64")]
        {
            if is_aarch64_feature_detected!("dotprod") {
                levels.push(Level::NeonDot);
            }
            levels.push(Level::Neon);
        }
        levels.push(Level::Portable);
        levels.into_iter().map(Self).collect()
    }

    /// The best of them.
    pub(crate) fn best() -> Self {
        Self::available()
            .first()
            .copied()
            .unwrap_or(Self(Level::Portable))
    }

    pub(crate) fn level(self) -> Level {
        self.0
    }
}
