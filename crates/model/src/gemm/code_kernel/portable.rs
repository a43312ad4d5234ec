//! Loops for any processor.

use super::CodeBlock;
use crate::gemm::codes::{CodePanel, inputs_of_a_scale};
use crate::gemm::kernel::WIDTH;
use crate::quantise::coded_row::CodeFormat;

/// # Safety
/// See [`super::multiply`].
pub(super) unsafe fn multiply(panel: &CodePanel<'_>, block: &CodeBlock, rows: usize) {
    for row in 0..rows {
        for output in 0..WIDTH {
            // SAFETY: the caller's.
            unsafe { product(panel, block, row, output) }
        }
    }
}

/// One row with one output.
///
/// # Safety
/// See [`super::multiply`]: there is such a row.
unsafe fn product(panel: &CodePanel<'_>, block: &CodeBlock, row: usize, output: usize) {
    let b = *block;
    let group = inputs_of_a_scale(panel.format);
    let depth = panel.inputs();
    // SAFETY: the caller vouches for `[rows, WIDTH]` values of seed and out, `[rows, depth]` of x and a
    // scale for each group of a row, at their strides.
    unsafe {
        let mut sum = *b.seed.add(row * b.seed_stride + output);
        let mut part = 0f32;
        for (number, first) in (0..depth).step_by(group).enumerate() {
            let scale = *b.scales.add(row * b.scales_stride + number);
            let mut integer = 0i32;
            for input in first..depth.min(first + group) {
                let code = panel.code(input, output);
                let code = match panel.format {
                    CodeFormat::Eight => i32::from(code.cast_signed()),
                    CodeFormat::Four(_) => i32::from(code),
                };
                integer += code * i32::from(*b.x.add(row * b.x_stride + input));
            }
            match panel.format {
                CodeFormat::Eight => part = (integer as f32).mul_add(scale.scale, part),
                CodeFormat::Four(_) => {
                    let grid = panel.grid(first, output);
                    sum = (integer as f32 * grid.scale.to_f32()).mul_add(scale.scale, sum);
                    sum = grid.offset.to_f32().mul_add(scale.sum, sum);
                }
            }
        }
        if panel.format == CodeFormat::Eight {
            sum = part.mul_add(panel.scales[output], sum);
        }
        *b.out.add(row * b.out_stride + output) = sum;
    }
}
