//! A matrix as a checkpoint has it: floats, or a package's integers.

use crate::checkpoint::mapped::MappedBytes;
use crate::checkpoint::{Checkpoint, StoredTensor};
use crate::error::{ModelError, Result};
use crate::quantise::coded_row::{CodeFormat, CodedRow};
use safetensors::Dtype;
use tandem_shape::WeightType;

/// A matrix `[outputs, inputs]`, mapped while this lives.
#[derive(Debug)]
pub(crate) enum StoredMatrix {
    Floats(StoredTensor),
    Codes(StoredCodes),
}

/// A matrix in integers: `NAME.codes` and `NAME.scales`, see `docs/package.md`.
#[derive(Debug)]
pub(crate) struct StoredCodes {
    format: CodeFormat,
    inputs: usize,
    codes: MappedBytes,
    scales: MappedBytes,
}

/// The name of a matrix' codes.
pub(crate) fn codes_name(name: &str) -> String {
    format!("{name}.codes")
}

/// The name of a matrix' scales.
pub(crate) fn scales_name(name: &str) -> String {
    format!("{name}.scales")
}

/// Type and shape of a matrix' codes on disk.
pub(crate) fn codes_layout(
    format: CodeFormat,
    outputs: usize,
    inputs: usize,
) -> (Dtype, Vec<usize>) {
    let dtype = match format {
        CodeFormat::Eight => Dtype::I8,
        CodeFormat::Four(_) => Dtype::U8,
    };
    (dtype, vec![outputs, format.code_bytes(inputs)])
}

/// Type and shape of a matrix' scales on disk.
pub(crate) fn scales_layout(
    format: CodeFormat,
    outputs: usize,
    inputs: usize,
) -> (Dtype, Vec<usize>) {
    match format {
        CodeFormat::Eight => (Dtype::F32, vec![outputs]),
        CodeFormat::Four(_) => (Dtype::F16, vec![outputs, format.groups(inputs), 2]),
    }
}

impl StoredMatrix {
    /// Maps a matrix that is to be held as `weights`.
    ///
    /// # Errors
    /// When it is missing or misshapen, or stored in integers of another kind.
    pub(crate) fn open(
        checkpoint: &Checkpoint,
        name: &str,
        [outputs, inputs]: [usize; 2],
        weights: WeightType,
    ) -> Result<Self> {
        let codes = codes_name(name);
        if !checkpoint.contains(&codes) {
            let stored = checkpoint.tensor(name, &[outputs, inputs])?;
            return Ok(Self::Floats(stored));
        }
        let format = CodeFormat::of(weights).ok_or_else(|| ModelError::StoredInIntegers {
            tensor: name.to_owned(),
            asked: weights,
        })?;
        let (codes_type, codes_shape) = codes_layout(format, outputs, inputs);
        let (scales_type, scales_shape) = scales_layout(format, outputs, inputs);
        Ok(Self::Codes(StoredCodes {
            format,
            inputs,
            codes: checkpoint.bytes(&codes, codes_type, &codes_shape)?,
            scales: checkpoint.bytes(&scales_name(name), scales_type, &scales_shape)?,
        }))
    }
}

impl StoredCodes {
    pub(crate) fn format(&self) -> CodeFormat {
        self.format
    }

    /// One output's weights.
    ///
    /// # Panics
    /// When there are not so many outputs.
    pub(crate) fn row(&self, output: usize) -> CodedRow {
        let scales = match self.format {
            CodeFormat::Eight => size_of::<f32>(),
            CodeFormat::Four(_) => 2 * size_of::<half::f16>() * self.format.groups(self.inputs),
        };
        let codes = self.format.code_bytes(self.inputs);
        CodedRow::read(
            self.format,
            self.inputs,
            &self.codes[output * codes..][..codes],
            &self.scales[output * scales..][..scales],
        )
    }

    /// Takes what was read so far out of this process's memory.
    pub(crate) fn release(&self) {
        self.codes.release();
        self.scales.release();
    }
}
