//! Matrices held as integers: f32 weights that are made where they are used.
//!
//! A product is bound by how many bytes it reads, or by its multiplications; what makes a code a
//! weight takes turns with both. So a few rows are multiplied with weights that never leave the
//! registers they are made in (see [`super::code_kernel`]), and many rows with a part of a panel that
//! is made once for all of them and stays in the cache. Both have the same weights and sums, so a
//! row has the same bits either way.

use super::kernel::WIDTH;
use crate::coded_row::{CodedRow, Form, code_rows};
use crate::error::{ModelError, Result};
use half::f16;
use memmap2::MmapMut;

/// The codes of a matrix in panels, `[panel][input][output]`.
pub(super) struct Codes {
    form: Form,
    /// 8 bits: a byte a weight. 4 bits: a byte holds output i in its lower half and output i + 8 in
    /// its upper one, for i from 0 to 7 and from 16 to 23.
    codes: MmapMut,
    /// `[panel][group][scale, offset][output]` in binary16, 4 bits only.
    grids: Vec<f16>,
    /// `[panel][output]`, 8 bits only.
    scales: Vec<f32>,
    inputs: usize,
}

/// A part of a panel: inputs from one that begins a group.
#[derive(Clone, Copy)]
pub(super) struct CodePanel<'a> {
    pub(super) form: Form,
    /// `[depth, row_bytes]`.
    pub(super) codes: &'a [u8],
    /// `[groups, 2, WIDTH]`, as many as the inputs begin; empty for 8 bits.
    pub(super) grids: &'a [f16],
    /// `[WIDTH]`; empty for 4 bits.
    pub(super) scales: &'a [f32],
}

impl Codes {
    /// Weights of zero for `width` outputs, whole panels.
    pub(super) fn zeros(form: Form, width: usize, inputs: usize) -> Result<Self> {
        let bytes = (width / WIDTH * inputs * row_bytes(form)).max(1);
        let codes =
            MmapMut::map_anon(bytes).map_err(|source| ModelError::Memory { bytes, source })?;
        #[cfg(target_os = "linux")]
        let _ = codes.advise(memmap2::Advice::HugePage);
        let (mut grids, mut scales) = (Vec::new(), Vec::new());
        match form {
            Form::Eight => scales = vec![0.0; width],
            Form::Four(group) => {
                let groups = inputs.div_ceil(group.inputs());
                grids = vec![f16::ZERO; width * groups * 2];
            }
        }
        Ok(Self {
            form,
            codes,
            grids,
            scales,
            inputs,
        })
    }

    /// Bytes that the weights take.
    pub(super) fn bytes(&self) -> usize {
        self.codes.len() + 2 * self.grids.len() + 4 * self.scales.len()
    }

    /// Quantises the weights of the outputs from `first` on, `[outputs, inputs]`. See
    /// [`crate::quantise`] about importance.
    pub(super) fn set_outputs(&mut self, first: usize, weights: &[f32], importance: &[f32]) {
        let rows = code_rows(self.form, weights, self.inputs, importance);
        for (output, row) in (first..).zip(&rows) {
            self.put(output, row);
        }
    }

    /// Sets one output's weights.
    pub(super) fn put(&mut self, output: usize, coded: &CodedRow) {
        let (panel, column) = (output / WIDTH, output % WIDTH);
        let bytes = row_bytes(self.form);
        let first = panel * self.inputs * bytes;
        let rows = self.codes[first..].chunks_exact_mut(bytes);
        match self.form {
            Form::Eight => {
                self.scales[output] = coded.scale;
                rows.zip(&coded.codes).for_each(|(row, &c)| row[column] = c);
            }
            Form::Four(group) => {
                let (byte, upper) = nibble(column);
                for (row, &code) in rows.zip(&coded.codes) {
                    row[byte] = match upper {
                        false => (row[byte] & 0xf0) | code,
                        true => (row[byte] & 0x0f) | (code << 4),
                    };
                }
                let groups = self.inputs.div_ceil(group.inputs());
                let grids = self.grids[panel * groups * 2 * WIDTH..].chunks_exact_mut(2 * WIDTH);
                for (place, grid) in grids.zip(&coded.grids) {
                    place[column] = grid.scale;
                    place[WIDTH + column] = grid.offset;
                }
            }
        }
    }

    /// A panel's inputs from `from` on, which begins a group.
    pub(super) fn panel(&self, panel: usize, from: usize, depth: usize) -> CodePanel<'_> {
        let bytes = row_bytes(self.form);
        let first = (panel * self.inputs + from) * bytes;
        let (mut grids, mut scales) = (&self.grids[..0], &self.scales[..0]);
        match self.form {
            Form::Eight => scales = &self.scales[panel * WIDTH..][..WIDTH],
            Form::Four(group) => {
                let groups = self.inputs.div_ceil(group.inputs());
                let begin = panel * groups + from / group.inputs();
                let count = depth.div_ceil(group.inputs());
                grids = &self.grids[begin * 2 * WIDTH..][..count * 2 * WIDTH];
            }
        }
        CodePanel {
            form: self.form,
            codes: &self.codes[first..][..depth * bytes],
            grids,
            scales,
        }
    }
}

/// Bytes of one input of a panel.
pub(super) fn row_bytes(form: Form) -> usize {
    match form {
        Form::Eight => WIDTH,
        Form::Four(_) => WIDTH / 2,
    }
}

/// Where an output's 4-bit code is: its byte, and whether in the upper half.
pub(super) fn nibble(output: usize) -> (usize, bool) {
    (output / 16 * 8 + output % 8, output % 16 >= 8)
}

#[cfg(test)]
impl CodePanel<'_> {
    /// The weight of one input and output: the safe twin of all kernels.
    pub(super) fn weight(&self, input: usize, output: usize) -> f32 {
        match self.form {
            Form::Eight => {
                let code = self.codes[input * WIDTH + output].cast_signed();
                f32::from(code) * self.scales[output]
            }
            Form::Four(group) => {
                let (byte, upper) = nibble(output);
                let byte = self.codes[input * WIDTH / 2 + byte];
                let grid = input / group.inputs() * 2 * WIDTH + output;
                crate::quantise::Grid {
                    scale: self.grids[grid],
                    offset: self.grids[grid + WIDTH],
                }
                .weight(if upper { byte >> 4 } else { byte & 0xf })
            }
        }
    }
}
