//! A matrix product, in the type its weights are held in.

use crate::checkpoint::Checkpoint;
use crate::checkpoint::stored_matrix::StoredMatrix;
use crate::error::{ModelError, Result};
use crate::gemm::Panels;
use crate::kinds::ComputeKind;
use crate::matrices::{Stacked, Stored};
use crate::quantise::coded_row::{CodedRow, Form};
use crate::quantise::input_squares::InputSquares;
use tandem_shape::WeightType;
use tch::{Device, Tensor};

/// Bytes of f32 that are packed at once, and of a file that stay mapped in behind them.
const BATCH_BYTES: usize = 1 << 20;

/// `y = x · Wᵀ + b`.
#[derive(Debug)]
pub(crate) enum Linear {
    /// f32 or integers on a processor whose vectors [`crate::gemm`] knows.
    Packed(Panels),
    /// Everything else.
    Torch {
        /// `[out, in]`.
        weight: Tensor,
        /// `[out]`.
        bias: Option<Tensor>,
    },
}

impl Linear {
    /// Loads matrices that share their inputs as one, stacked: a product saved is
    /// a call saved, and calls are what small models spend their time on. 4-bit integers are made by how
    /// large the inputs are.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        matrix: &Stacked,
        squares: &InputSquares,
        weights: WeightType,
        device: Device,
    ) -> Result<Self> {
        let (rows, columns) = (matrix.outputs(), matrix.inputs);
        let importance = squares.of(matrix.input);
        if device == Device::Cpu
            && let Some(panels) = Panels::zeros(rows, columns, weights)?
        {
            return Self::pack(panels, checkpoint, matrix, importance, weights);
        }
        let options = (weights.kind(), device);
        let weight = Tensor::f_empty([rows as i64, columns as i64], options)?;
        let mut bias = None;
        if matrix.has_bias() {
            bias = Some(Tensor::f_zeros([rows as i64], options)?);
        }
        let mut row = 0;
        for part in &matrix.parts {
            let (start, count) = (row as i64, part.outputs as i64);
            let values = part.floats(checkpoint, columns, importance, weights)?;
            weight.f_narrow(0, start, count)?.f_copy_(&values)?;
            if let (true, Some(bias)) = (part.bias, &bias) {
                let stored = checkpoint.tensor(&part.bias(), &[part.outputs])?;
                bias.f_narrow(0, start, count)?
                    .f_copy_(&stored.to_tensor()?)?;
            }
            row += part.outputs;
        }
        Ok(Self::Torch { weight, bias })
    }

    /// Fills the panels from the mapped file, some rows at a time: there is no copy of a matrix in
    /// between.
    fn pack(
        mut panels: Panels,
        checkpoint: &Checkpoint,
        matrix: &Stacked,
        importance: &[f32],
        weights: WeightType,
    ) -> Result<Self> {
        let columns = matrix.inputs;
        let mut first = 0;
        let at_once = (BATCH_BYTES / (columns * 4).max(1)).max(1);
        let mut values = Vec::with_capacity(at_once * columns);
        for part in &matrix.parts {
            let stored = part.open(checkpoint, columns, weights)?;
            for begin in (0..part.outputs).step_by(at_once) {
                let rows = begin..part.outputs.min(begin + at_once);
                match &stored {
                    StoredMatrix::Floats(stored) => {
                        values.clear();
                        rows.for_each(|row| stored.append_row(row, columns, &mut values));
                        part.check(checkpoint, weights, &values)?;
                        panels.set_outputs(first + begin, &values, importance);
                        stored.release();
                    }
                    StoredMatrix::Codes(stored) => {
                        rows.for_each(|row| panels.set_coded(first + row, &stored.row(row)));
                        stored.release();
                    }
                }
            }
            if part.bias {
                panels.set_bias(first, &part.bias_values(checkpoint)?);
            }
            first += part.outputs;
        }
        Ok(Self::Packed(panels))
    }

    /// A matrix of rows that are integers already, and its bias if it has one.
    pub(crate) fn of_rows(
        form: Form,
        weights: WeightType,
        rows: &[CodedRow],
        inputs: usize,
        bias: &[f32],
        device: Device,
    ) -> Result<Self> {
        if device == Device::Cpu
            && let Some(mut panels) = Panels::zeros(rows.len(), inputs, weights)?
        {
            for (output, row) in rows.iter().enumerate() {
                panels.set_coded(output, row);
            }
            panels.set_bias(0, bias);
            return Ok(Self::Packed(panels));
        }
        let mut values = Vec::with_capacity(rows.len() * inputs);
        for row in rows {
            row.append_weights(form, &mut values);
        }
        let on_device = |values: &[f32]| Tensor::f_from_slice(values)?.f_to_device(device);
        Ok(Self::Torch {
            weight: on_device(&values)?
                .f_view([rows.len() as i64, inputs as i64])?
                .f_to_kind(weights.kind())?,
            bias: match bias {
                [] => None,
                bias => Some(on_device(bias)?.f_to_kind(weights.kind())?),
            },
        })
    }

    /// The matrix in plain memory, if it is there.
    pub(crate) fn panels(&self) -> Option<&Panels> {
        match self {
            Self::Packed(panels) => Some(panels),
            Self::Torch { .. } => None,
        }
    }

    /// Bytes it takes in memory.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Packed(panels) => panels.bytes() as u64,
            Self::Torch { weight, bias } => {
                let bytes = |t: &Tensor| t.numel() * t.kind().elt_size_in_bytes();
                (bytes(weight) + bias.as_ref().map_or(0, bytes)) as u64
            }
        }
    }

    /// `x`: `[rows, in]` in the weights' type.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Packed(panels) => panels.product(x),
            Self::Torch { weight, bias } => Ok(x.f_linear(weight, bias.as_ref())?),
        }
    }
}

impl Stored {
    /// Maps the matrix, `[outputs, columns]`.
    pub(crate) fn open(
        &self,
        checkpoint: &Checkpoint,
        columns: usize,
        weights: WeightType,
    ) -> Result<StoredMatrix> {
        StoredMatrix::open(checkpoint, &self.weight(), [self.outputs, columns], weights)
    }

    /// The bias, in f32.
    pub(crate) fn bias_values(&self, checkpoint: &Checkpoint) -> Result<Vec<f32>> {
        let stored = checkpoint.tensor(&self.bias(), &[self.outputs])?;
        let mut values = Vec::with_capacity(self.outputs);
        stored.append_row(0, self.outputs, &mut values);
        Ok(values)
    }

    /// The matrix in floats, as exact as `weights` would have it: here codes save no memory, their
    /// weights are what libtorch multiplies with.
    fn floats(
        &self,
        checkpoint: &Checkpoint,
        columns: usize,
        importance: &[f32],
        weights: WeightType,
    ) -> Result<Tensor> {
        let mut values = Vec::new();
        match (self.open(checkpoint, columns, weights)?, Form::of(weights)) {
            (StoredMatrix::Floats(stored), None) => return stored.to_tensor(),
            (StoredMatrix::Floats(stored), Some(form)) => {
                let mut row_values = Vec::with_capacity(columns);
                for row in 0..self.outputs {
                    row_values.clear();
                    stored.append_row(row, columns, &mut row_values);
                    self.check(checkpoint, weights, &row_values)?;
                    let row = CodedRow::new(form, &row_values, importance);
                    row.append_weights(form, &mut values);
                }
            }
            (StoredMatrix::Codes(stored), _) => {
                for row in 0..self.outputs {
                    let coded = stored.row(row);
                    coded.append_weights(stored.form(), &mut values);
                }
            }
        }
        Ok(Tensor::f_from_slice(&values)?.f_view([self.outputs as i64, columns as i64])?)
    }

    /// Refuses to make integers of what is no number: where floats are kept it shows in the logits.
    pub(crate) fn check(
        &self,
        checkpoint: &Checkpoint,
        weights: WeightType,
        values: &[f32],
    ) -> Result<()> {
        let most = match weights {
            WeightType::F32 | WeightType::Bf16 => return Ok(()),
            WeightType::Int8 => f32::MAX,
            // Scale and offset are binary16.
            WeightType::Int4(_) => half::f16::MAX.to_f32(),
        };
        let bad = values.iter().find(|w| w.is_nan() || w.abs() > most);
        match bad {
            None => Ok(()),
            Some(&value) => {
                let tensor = self.weight();
                Err(ModelError::NotFinite {
                    path: checkpoint.file_of(&tensor)?.to_owned(),
                    tensor,
                    value,
                })
            }
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::matrices::Input;
    use tandem_shape::Group;

    fn peak() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().unwrap() * 1024
    }

    /// By how much the peak of this process's memory grows when a matrix of zeros is loaded, stored as
    /// these tensors: name, type, shape and bytes of each.
    fn growth(
        tensors: &[(&str, &str, &str, usize)],
        shape: [usize; 2],
        weights: WeightType,
    ) -> u64 {
        let mut begin = 0;
        let entry = |&(name, dtype, shape, bytes): &(&str, &str, &str, usize)| {
            let end = begin + bytes;
            let offsets = format!("[{begin},{end}]");
            begin = end;
            format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
        };
        let entries: Vec<String> = tensors.iter().map(entry).collect();
        let header = format!("{{{}}}", entries.join(","));
        let directory = tempfile::tempdir().unwrap();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.resize(file.len() + begin, 0);
        std::fs::write(directory.path().join("model.safetensors"), file).unwrap();
        let checkpoint = Checkpoint::open(directory.path()).unwrap();
        let matrix = Stacked {
            parts: vec![Stored {
                name: "m".to_owned(),
                outputs: shape[0],
                bias: false,
            }],
            inputs: shape[1],
            input: Input::Head,
        };
        // Forgets the peak so far.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = peak();
        let linear = Linear::load(
            &checkpoint,
            &matrix,
            &InputSquares::default(),
            weights,
            Device::Cpu,
        )
        .unwrap();
        let grown = peak() - before;
        assert!(matches!(linear, Linear::Packed(_)));
        grown
    }

    /// From a package too: its integers never are floats.
    #[test]
    fn packing_takes_little_more_memory_than_what_is_packed() {
        let int4 = WeightType::Int4(Group::G64);
        let known = |weights| Panels::zeros(1, 1, weights).unwrap().is_some();
        if !(known(WeightType::F32) && known(int4)) {
            return;
        }
        let (floats, codes, scales) = (1 << 26, 1 << 25, 1 << 22);
        let stored = [("m.weight", "F32", "[16384,1024]", floats)];
        let grown = growth(&stored, [1 << 14, 1 << 10], WeightType::F32);
        let within = |grown: u64, size: usize| {
            let size = size as u64;
            assert!(
                (size..size + (16 << 20)).contains(&grown),
                "{grown} bytes for {size} of weights"
            );
        };
        within(grown, floats);
        let stored = [
            ("m.weight.codes", "U8", "[65536,512]", codes),
            ("m.weight.scales", "F16", "[65536,16,2]", scales),
        ];
        let grown = growth(&stored, [1 << 16, 1 << 10], int4);
        within(grown, codes);
    }
}
