//! Matrices held as integers.
//!
//! A product with one row is bound by how many bytes it reads, if it does not spend its time on making
//! weights of codes. So none are made: the rows are rounded to 16-bit integers (see
//! [`super::integer_rows`]), and integers are multiplied with integers (see [`super::code_kernel`]).
//! Rounding the rows so is far below what rounding the weights costs. Sums of integers are exact, and
//! those of what they stand for are in the order of their inputs, whatever the number of rows: a row
//! has the same bits whichever rows run with it.

use super::kernel::WIDTH;
use super::product::DEPTH;
use crate::error::{ModelError, Result};
use crate::quantise::coded_row::{CodeFormat, CodedRow, code_rows};
use half::f16;
use memmap2::MmapMut;

/// Inputs that lie together.
pub(super) const QUAD: usize = 4;
/// Outputs of a panel that are multiplied together.
pub(super) const HALF: usize = WIDTH / 2;

/// The codes of a matrix: `[panel][part]` of [`CodePanel`]s, each part [`DEPTH`] inputs and the last
/// one what is left, filled up with zeros to a multiple of [`QUAD`].
pub(super) struct Codes {
    format: CodeFormat,
    codes: MmapMut,
    /// `[panel][group][scale, offset][output]` in binary16, 4 bits only.
    grids: Vec<f16>,
    /// `[panel][output]`, 8 bits only.
    scales: Vec<f32>,
    inputs: usize,
}

/// A part of a panel, at most [`DEPTH`] inputs.
#[derive(Clone, Copy)]
pub(super) struct CodePanel<'a> {
    pub(super) format: CodeFormat,
    /// `[half]`, each a half's outputs of all inputs of the part.
    ///
    /// 8 bits: `[pair of inputs][output][2]`, a byte a weight.
    ///
    /// 4 bits: `[quad of inputs][8][2]` of 16 bits, little endian. That at `[i][j]` has four codes from
    /// the lowest bits up: outputs i and i + 8 of input j, and the same of input j + 2.
    pub(super) codes: &'a [u8],
    /// `[groups, 2, WIDTH]`, as many as the inputs begin; empty for 8 bits.
    pub(super) grids: &'a [f16],
    /// `[WIDTH]`; empty for 4 bits.
    pub(super) scales: &'a [f32],
}

impl Codes {
    /// Weights of zero for `width` outputs, whole panels.
    pub(super) fn zeros(format: CodeFormat, width: usize, inputs: usize) -> Result<Self> {
        let bytes = (width / WIDTH * panel_bytes(format, inputs)).max(1);
        let codes =
            MmapMut::map_anon(bytes).map_err(|source| ModelError::Memory { bytes, source })?;
        #[cfg(target_os = "linux")]
        let _ = codes.advise(memmap2::Advice::HugePage);
        let (mut grids, mut scales) = (Vec::new(), Vec::new());
        match format {
            CodeFormat::Eight => scales = vec![0.0; width],
            CodeFormat::Four(group) => {
                let groups = inputs.div_ceil(group.inputs());
                grids = vec![f16::ZERO; width * groups * 2];
            }
        }
        Ok(Self {
            format,
            codes,
            grids,
            scales,
            inputs,
        })
    }

    pub(super) fn format(&self) -> CodeFormat {
        self.format
    }

    /// Bytes that the weights take.
    pub(super) fn bytes(&self) -> usize {
        self.codes.len() + 2 * self.grids.len() + 4 * self.scales.len()
    }

    /// Quantises the weights of the outputs from `first` on, `[outputs, inputs]`. See
    /// [`crate::quantise`] about importance.
    pub(super) fn set_outputs(&mut self, first: usize, weights: &[f32], importance: &[f32]) {
        let rows = code_rows(self.format, weights, self.inputs, importance);
        for (output, row) in (first..).zip(&rows) {
            self.put(output, row);
        }
    }

    /// Sets one output's weights.
    pub(super) fn put(&mut self, output: usize, coded: &CodedRow) {
        let (panel, column) = (output / WIDTH, output % WIDTH);
        let bytes = panel_bytes(self.format, self.inputs);
        let panel_codes = &mut self.codes[panel * bytes..][..bytes];
        for (input, &code) in coded.codes.iter().enumerate() {
            let part = input / DEPTH * DEPTH;
            let depth = DEPTH.min(self.inputs - part);
            let (byte, upper) = place(self.format, depth, input - part, column);
            let byte = &mut panel_codes[panel_bytes(self.format, part) + byte];
            match (self.format, upper) {
                (CodeFormat::Eight, _) => *byte = code,
                (CodeFormat::Four(_), false) => *byte = (*byte & 0xf0) | code,
                (CodeFormat::Four(_), true) => *byte = (*byte & 0x0f) | (code << 4),
            }
        }
        match self.format {
            CodeFormat::Eight => self.scales[output] = coded.scale,
            CodeFormat::Four(group) => {
                let groups = self.inputs.div_ceil(group.inputs());
                let grids = self.grids[panel * groups * 2 * WIDTH..].chunks_exact_mut(2 * WIDTH);
                for (place, grid) in grids.zip(&coded.grids) {
                    place[column] = grid.scale;
                    place[WIDTH + column] = grid.offset;
                }
            }
        }
    }

    /// A panel's inputs from `from` on, a multiple of [`DEPTH`].
    pub(super) fn panel(&self, panel: usize, from: usize, depth: usize) -> CodePanel<'_> {
        let first = panel * panel_bytes(self.format, self.inputs) + panel_bytes(self.format, from);
        let (mut grids, mut scales) = (&self.grids[..0], &self.scales[..0]);
        match self.format {
            CodeFormat::Eight => scales = &self.scales[panel * WIDTH..][..WIDTH],
            CodeFormat::Four(group) => {
                let groups = self.inputs.div_ceil(group.inputs());
                let begin = panel * groups + from / group.inputs();
                let count = depth.div_ceil(group.inputs());
                grids = &self.grids[begin * 2 * WIDTH..][..count * 2 * WIDTH];
            }
        }
        CodePanel {
            format: self.format,
            codes: &self.codes[first..][..panel_bytes(self.format, depth)],
            grids,
            scales,
        }
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl<'a> CodePanel<'a> {
    /// The codes of each half of the outputs.
    pub(super) fn halves(&self) -> [&'a [u8]; 2] {
        let (first, second) = self.codes.split_at(self.codes.len() / 2);
        [first, second]
    }
}

/// Inputs whose products are added up as integers.
pub(super) fn inputs_of_a_scale(format: CodeFormat) -> usize {
    match format {
        CodeFormat::Eight => 64,
        CodeFormat::Four(group) => group.inputs(),
    }
}

/// Bytes of a panel's codes, or of a part's.
fn panel_bytes(format: CodeFormat, inputs: usize) -> usize {
    let codes = inputs.next_multiple_of(QUAD) * WIDTH;
    match format {
        CodeFormat::Eight => codes,
        CodeFormat::Four(_) => codes / 2,
    }
}

/// Where a code is in a part of a panel: its byte, and with 4 bits whether in the upper half.
fn place(format: CodeFormat, depth: usize, input: usize, output: usize) -> (usize, bool) {
    let (half, output) = (output / HALF, output % HALF);
    let begin = half * panel_bytes(format, depth) / 2;
    match format {
        CodeFormat::Eight => {
            let pair = (input / 2 * HALF + output) * 2 + input % 2;
            (begin + pair, false)
        }
        CodeFormat::Four(_) => {
            let word = input / QUAD * HALF + output % 8 * 2 + input % 2;
            let second_pair = input % QUAD / 2;
            (begin + word * 2 + second_pair, output >= 8)
        }
    }
}

impl CodePanel<'_> {
    /// Inputs of the part, filled up to a multiple of [`QUAD`].
    pub(super) fn inputs(&self) -> usize {
        let bits = match self.format {
            CodeFormat::Eight => 8,
            CodeFormat::Four(_) => 4,
        };
        self.codes.len() * 8 / bits / WIDTH
    }

    /// The code of one input and output.
    pub(super) fn code(&self, input: usize, output: usize) -> u8 {
        let (byte, upper) = place(self.format, self.inputs(), input, output);
        match self.format {
            CodeFormat::Eight => self.codes[byte],
            CodeFormat::Four(_) if upper => self.codes[byte] >> 4,
            CodeFormat::Four(_) => self.codes[byte] & 0xf,
        }
    }

    /// What the codes of an input and output stand for.
    pub(super) fn grid(&self, input: usize, output: usize) -> crate::quantise::Grid {
        let at = input / inputs_of_a_scale(self.format) * 2 * WIDTH + output;
        crate::quantise::Grid {
            scale: self.grids[at],
            offset: self.grids[at + WIDTH],
        }
    }
}

#[cfg(test)]
impl CodePanel<'_> {
    /// The weight of one input and output.
    pub(super) fn weight(&self, input: usize, output: usize) -> f32 {
        let code = self.code(input, output);
        match self.format {
            CodeFormat::Eight => f32::from(code.cast_signed()) * self.scales[output],
            CodeFormat::Four(_) => self.grid(input, output).weight(code),
        }
    }
}
