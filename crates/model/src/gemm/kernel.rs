//! The inner loop: a few rows times one panel.

/// Outputs of a panel.
pub(super) const WIDTH: usize = 32;
/// The most rows that any kernel takes at once.
pub(super) const MAX_ROWS: usize = 12;
/// Inputs after which a sum is put down and the next rows' turn comes, so that this part of a
/// panel (64 KiB) stays in the cache nearest to memory that a core has of its own.
pub(super) const DEPTH: usize = 512;

/// One call of the inner loop: `out[i][j] = seed[i][j] + Σ_p x[i][p] · panel[p][j]`, for all rows
/// `i` and the [`WIDTH`] outputs `j` of a panel, each sum from left to right.
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

/// The loops for one kind of vectors.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    /// The loops for 1, 2, 3, … rows.
    loops: &'static [Loop],
}

impl Kernel {
    /// The best that this processor has, if it has one.
    pub(super) fn detect() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Some(Self::AVX512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Some(Self::AVX2);
            }
        }
        None
    }

    #[cfg(target_arch = "x86_64")]
    const AVX512: Self = Self {
        loops: &super::avx512::LOOPS,
    };
    #[cfg(target_arch = "x86_64")]
    const AVX2: Self = Self {
        loops: &super::avx2::LOOPS,
    };

    /// The most rows of a block, at most [`MAX_ROWS`].
    pub(super) fn rows(self) -> usize {
        self.loops.len()
    }

    /// The loop for `rows` rows, from 1 to [`Kernel::rows`].
    pub(super) fn of(self, rows: usize) -> Loop {
        self.loops[rows - 1]
    }
}
