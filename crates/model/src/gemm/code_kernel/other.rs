//! No loops: products are left to libtorch.

use super::CodeBlock;
use crate::gemm::codes::CodePanel;

/// Whether this processor has what the loops need.
pub(in crate::gemm) fn is_available() -> bool {
    false
}

/// # Safety
/// None: it is not available.
pub(super) unsafe fn four<const ROWS: usize>(_panel: &CodePanel<'_>, _block: &CodeBlock) {
    unreachable!("not available")
}

/// # Safety
/// None: it is not available.
pub(super) unsafe fn eight<const ROWS: usize>(_panel: &CodePanel<'_>, _block: &CodeBlock) {
    unreachable!("not available")
}
