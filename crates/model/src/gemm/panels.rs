//! A matrix, packed the way a product reads it.

use super::kernel::{Kernel, WIDTH};
use crate::error::{ModelError, Result};
use memmap2::MmapMut;
use std::fmt;

/// A matrix `[outputs, inputs]` of f32 in panels of 32 outputs, `[panel][input][output]`: the
/// product of a row with a panel reads it front to back, as memory likes it, and each value of the
/// row meets whole vectors of weights. The last panel is filled up with zeros.
pub(crate) struct Panels {
    /// In huge pages where the system has them: a decode step reads all weights, and looks up a
    /// page for every 2 MiB instead of every 4 KiB. What is not written to, page by page or huge
    /// page by huge page, takes no memory.
    packed: MmapMut,
    /// What the sums begin with, for all panels.
    bias: Vec<f32>,
    outputs: usize,
    inputs: usize,
    kernel: Kernel,
}

impl fmt::Debug for Panels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Panels({} x {})", self.outputs, self.inputs)
    }
}

impl Panels {
    /// A matrix and a bias of zeros; none where this processor has no vectors that we know.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn zeros(outputs: usize, inputs: usize) -> Result<Option<Self>> {
        let kernel = Kernel::available().next();
        kernel
            .map(|k| Self::with_kernel(k, outputs, inputs))
            .transpose()
    }

    pub(super) fn with_kernel(kernel: Kernel, outputs: usize, inputs: usize) -> Result<Self> {
        let width = outputs.next_multiple_of(WIDTH);
        let bytes = (width * inputs).max(WIDTH) * size_of::<f32>();
        let packed =
            MmapMut::map_anon(bytes).map_err(|source| ModelError::Memory { bytes, source })?;
        // Not every system has them, and it works without.
        #[cfg(target_os = "linux")]
        let _ = packed.advise(memmap2::Advice::HugePage);
        Ok(Self {
            packed,
            bias: vec![0.0; width],
            outputs,
            inputs,
            kernel,
        })
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Sets the matrix' row of one output, `[inputs]`.
    pub(crate) fn set_output(&mut self, output: usize, weights: &[f32]) {
        let packed: &mut [f32] = bytemuck::cast_slice_mut(&mut self.packed);
        let first = output / WIDTH * self.inputs * WIDTH + output % WIDTH;
        let places = packed[first..].iter_mut().step_by(WIDTH);
        let pairs = places.take(self.inputs).zip(weights);
        pairs.for_each(|(place, weight)| *place = *weight);
    }

    /// Sets the bias of the outputs from `first` on.
    pub(crate) fn set_bias(&mut self, first: usize, bias: &[f32]) {
        self.bias[first..][..bias.len()].copy_from_slice(bias);
    }

    /// One panel's weights from one input on, `[inputs - from, WIDTH]`.
    pub(super) fn weights(&self, panel: usize, from: usize) -> &[f32] {
        let packed: &[f32] = bytemuck::cast_slice(&self.packed);
        let start = (panel * self.inputs + from) * WIDTH;
        &packed[start..(panel + 1) * self.inputs * WIDTH]
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
