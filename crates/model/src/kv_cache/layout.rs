//! What a position takes.

use tandem_shape::KvType;

/// Positions that room is made for at a time, and whose keys lie side by side in plain memory.
pub(crate) const PANEL: usize = 32;
/// Dimensions that share a scale and an offset in 4 bits; the last group may have fewer.
pub(crate) const GROUP: usize = KvType::GROUP;
