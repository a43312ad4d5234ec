//! Matrices held as integers: f32 weights that are made where they are used.
//!
//! A product is bound by how many bytes it reads, or by its multiplications; what makes a code a
//! weight takes turns with both. So a few rows are multiplied with weights that never leave the
//! registers they are made in (see [`super::code_kernel`]), and many rows with a part of a panel that
//! is made once for all of them and stays in the cache. Both have the same weights and sums, so a
//! row has the same bits either way.

use super::kernel::WIDTH;
use crate::error::{ModelError, Result};
use crate::precision::{Group, WeightType};
use crate::quantise::{Grid, eight_bits, four_bits};
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

/// How weights are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// See [`eight_bits`].
    Eight,
    /// See [`four_bits`].
    Four(Group),
}

impl Form {
    /// The form of a weight type that has one.
    pub(super) fn of(weights: WeightType) -> Option<Self> {
        match weights {
            WeightType::F32 | WeightType::Bf16 => None,
            WeightType::Int8 => Some(Self::Eight),
            WeightType::Int4(group) => Some(Self::Four(group)),
        }
    }

    /// Bytes of one input of a panel.
    pub(super) fn row_bytes(self) -> usize {
        match self {
            Self::Eight => WIDTH,
            Self::Four(_) => WIDTH / 2,
        }
    }
}

/// A part of a panel: inputs from one that begins a group.
#[derive(Clone, Copy)]
pub(super) struct CodePanel<'a> {
    pub(super) form: Form,
    /// `[depth, Form::row_bytes]`.
    pub(super) codes: &'a [u8],
    /// `[groups, 2, WIDTH]`, as many as the inputs begin; empty for 8 bits.
    pub(super) grids: &'a [f16],
    /// `[WIDTH]`; empty for 4 bits.
    pub(super) scales: &'a [f32],
}

impl Codes {
    /// Weights of zero for `width` outputs, whole panels.
    pub(super) fn zeros(form: Form, width: usize, inputs: usize) -> Result<Self> {
        let bytes = (width / WIDTH * inputs * form.row_bytes()).max(1);
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
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.codes.len() + 2 * self.grids.len() + 4 * self.scales.len()
    }

    /// Quantises one output's weights, `[inputs]`. See [`four_bits`] about importance.
    pub(super) fn set_output(&mut self, output: usize, weights: &[f32], importance: &[f32]) {
        let (panel, column) = (output / WIDTH, output % WIDTH);
        let first = panel * self.inputs * self.form.row_bytes();
        match self.form {
            Form::Eight => {
                let mut codes = vec![0; weights.len()];
                self.scales[output] = eight_bits(weights, &mut codes);
                for (input, code) in codes.into_iter().enumerate() {
                    self.codes[first + input * WIDTH + column] = code.cast_unsigned();
                }
            }
            Form::Four(group) => {
                let groups = self.inputs.div_ceil(group.inputs());
                let (byte, upper) = nibble(column);
                let mut codes = vec![0; group.inputs()];
                for (number, weights) in weights.chunks(group.inputs()).enumerate() {
                    let codes = &mut codes[..weights.len()];
                    let importance = group.of(importance, number);
                    let Grid { scale, offset } = four_bits(weights, importance, codes);
                    let grid = (panel * groups + number) * 2 * WIDTH + column;
                    self.grids[grid] = scale;
                    self.grids[grid + WIDTH] = offset;
                    let begin = first + number * group.inputs() * WIDTH / 2;
                    for (input, &code) in codes.iter().enumerate() {
                        let place = &mut self.codes[begin + input * WIDTH / 2 + byte];
                        *place = match upper {
                            false => (*place & 0xf0) | code,
                            true => (*place & 0x0f) | (code << 4),
                        };
                    }
                }
            }
        }
    }

    /// A panel's inputs from `from` on, which begins a group.
    pub(super) fn panel(&self, panel: usize, from: usize, depth: usize) -> CodePanel<'_> {
        let bytes = self.form.row_bytes();
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
                Grid {
                    scale: self.grids[grid],
                    offset: self.grids[grid + WIDTH],
                }
                .weight(if upper { byte >> 4 } else { byte & 0xf })
            }
        }
    }
}
