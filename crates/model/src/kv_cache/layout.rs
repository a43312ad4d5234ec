//! What a position takes.

use crate::precision::KvType;

/// Positions that room is made for at a time, and whose keys lie side by side in plain memory.
pub(crate) const PANEL: usize = 32;
/// Dimensions that share a scale and an offset in 4 bits; the last group may have fewer.
pub(crate) const GROUP: usize = 32;

impl KvType {
    /// Bytes of one head's key or value at one position.
    pub(crate) fn row_bytes(self, head_dim: usize) -> usize {
        self.code_bytes(head_dim) + self.scale_bytes(head_dim)
    }

    /// Those of its numbers.
    pub(super) fn code_bytes(self, head_dim: usize) -> usize {
        match self {
            Self::F32 => 4 * head_dim,
            Self::Bf16 => 2 * head_dim,
            Self::Int8 => head_dim,
            Self::Int4 => head_dim / 2,
        }
    }

    /// Those of what makes numbers of codes.
    pub(super) fn scale_bytes(self, head_dim: usize) -> usize {
        match self {
            Self::F32 | Self::Bf16 => 0,
            Self::Int8 => size_of::<f32>(),
            Self::Int4 => 2 * size_of::<half::bf16>() * head_dim.div_ceil(GROUP),
        }
    }
}
