//! A matrix, packed the way a product reads it.

use super::codes::{CodePanel, Codes};
use super::kernel::{Kernel, WIDTH};
use crate::error::{ModelError, Result};
use crate::quantise::coded_row::{CodeFormat, CodedRow};
use memmap2::MmapMut;
use std::fmt;

/// A matrix `[outputs, inputs]` in panels of 32 outputs, `[panel][input][output]`: the product of a
/// row with a panel reads it front to back, as memory likes it, and each value of the row meets
/// whole vectors of weights. The last panel is filled up with zeros.
pub(crate) struct Panels {
    packed: Packed,
    /// What the sums begin with, for all panels.
    bias: Vec<f32>,
    outputs: usize,
    inputs: usize,
    kernel: Kernel,
}

/// The weights, in huge pages where the system has them: a decode step reads all of them, and looks
/// up a page for every 2 MiB instead of every 4 KiB. What is not written to, page by page or huge
/// page by huge page, takes no memory.
enum Packed {
    Floats(MmapMut),
    Codes(Codes),
}

/// A part of a panel.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    /// `[depth, WIDTH]`.
    Floats(&'a [f32]),
    /// The same in codes.
    Codes(CodePanel<'a>),
}

impl fmt::Debug for Panels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Panels({} x {})", self.outputs, self.inputs)
    }
}

impl Panels {
    /// A matrix of zeros in floats or codes, and a bias of zeros.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn zeros(
        kernel: Kernel,
        outputs: usize,
        inputs: usize,
        format: Option<CodeFormat>,
    ) -> Result<Self> {
        let width = outputs.next_multiple_of(WIDTH);
        let packed = match format {
            Some(format) => Packed::Codes(Codes::zeros(format, width, inputs)?),
            None => {
                let bytes = (width * inputs).max(WIDTH) * size_of::<f32>();
                let packed = MmapMut::map_anon(bytes)
                    .map_err(|source| ModelError::Memory { bytes, source })?;
                // Not every system has them, and it works without.
                #[cfg(target_os = "linux")]
                let _ = packed.advise(memmap2::Advice::HugePage);
                Packed::Floats(packed)
            }
        };
        Ok(Self {
            packed,
            bias: vec![0.0; width],
            outputs,
            inputs,
            kernel,
        })
    }

    /// Bytes that weights and bias take.
    pub(crate) fn bytes(&self) -> usize {
        let weights = match &self.packed {
            Packed::Floats(floats) => floats.len(),
            Packed::Codes(codes) => codes.bytes(),
        };
        weights + 4 * self.bias.len()
    }

    /// Rows of the matrix.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// How the weights are coded, if they are.
    pub(super) fn format(&self) -> Option<CodeFormat> {
        match &self.packed {
            Packed::Floats(_) => None,
            Packed::Codes(codes) => Some(codes.format()),
        }
    }

    /// Sets the matrix' rows of the outputs from `first` on, `[outputs, inputs]`. `importance` says
    /// how much an error of each input's weight counts, or nothing: see [`crate::quantise`].
    pub(crate) fn set_outputs(&mut self, first: usize, weights: &[f32], importance: &[f32]) {
        match &mut self.packed {
            Packed::Floats(floats) => {
                let packed: &mut [f32] = bytemuck::cast_slice_mut(floats);
                let rows = weights.chunks_exact(self.inputs.max(1));
                for (output, weights) in (first..).zip(rows) {
                    let begin = output / WIDTH * self.inputs * WIDTH + output % WIDTH;
                    let places = packed[begin..].iter_mut().step_by(WIDTH);
                    places.zip(weights).for_each(|(place, w)| *place = *w);
                }
            }
            Packed::Codes(codes) => codes.set_outputs(first, weights, importance),
        }
    }

    /// Sets the matrix' row of one output. Nothing happens to a matrix of floats.
    pub(crate) fn set_coded(&mut self, output: usize, row: &CodedRow) {
        if let Packed::Codes(codes) = &mut self.packed {
            codes.put(output, row);
        }
    }

    /// Sets the bias of the outputs from `first` on.
    pub(crate) fn set_bias(&mut self, first: usize, bias: &[f32]) {
        self.bias[first..][..bias.len()].copy_from_slice(bias);
    }

    /// One panel's weights of `depth` inputs from one on; codes from a multiple of
    /// [`super::product::DEPTH`].
    pub(super) fn part(&self, panel: usize, from: usize, depth: usize) -> Part<'_> {
        match &self.packed {
            Packed::Floats(floats) => {
                let packed: &[f32] = bytemuck::cast_slice(floats);
                let start = (panel * self.inputs + from) * WIDTH;
                Part::Floats(&packed[start..][..depth * WIDTH])
            }
            Packed::Codes(codes) => Part::Codes(codes.panel(panel, from, depth)),
        }
    }

    /// One panel's bias, `[WIDTH]`.
    pub(super) fn bias(&self, panel: usize) -> &[f32] {
        &self.bias[panel * WIDTH..][..WIDTH]
    }

    /// Panels there are.
    pub(super) fn count(&self) -> usize {
        self.bias.len() / WIDTH
    }
}
