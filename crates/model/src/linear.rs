//! A matrix product, in the type its weights are held in.

use crate::checkpoint::Checkpoint;
use crate::error::{ModelError, Result};
#[cfg(target_arch = "x86_64")]
use crate::gemm::Panels;
use crate::precision::WeightType;
use crate::quantise;
use tch::{Device, Tensor};

/// Bytes of f32 that are packed at once, and of a file that stay mapped in behind them.
#[cfg(target_arch = "x86_64")]
const BATCH_BYTES: usize = 1 << 20;

/// `y = x · Wᵀ + b`.
#[derive(Debug)]
pub(crate) enum Linear {
    /// f32 or integers on a processor whose vectors [`crate::gemm`] knows.
    #[cfg(target_arch = "x86_64")]
    Packed(Panels),
    /// Everything else.
    Torch {
        /// `[out, in]`.
        weight: Tensor,
        /// `[out]`.
        bias: Option<Tensor>,
    },
}

/// What a matrix is multiplied with.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) count: usize,
    /// How large the square of each is on the whole, as far as it is known; else nothing.
    pub(crate) importance: &'a [f32],
}

/// A matrix in a checkpoint, and whether it has a bias.
pub(crate) struct Stored<'a> {
    pub(crate) name: &'a str,
    pub(crate) rows: usize,
    pub(crate) bias: bool,
}

impl Linear {
    /// Loads matrices that share their inputs as one, stacked: a product saved is
    /// a call saved, and calls are what small models spend their time on.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        parts: &[Stored<'_>],
        inputs: Inputs<'_>,
        weights: WeightType,
        device: Device,
    ) -> Result<Self> {
        let columns = inputs.count;
        let rows: usize = parts.iter().map(|p| p.rows).sum();
        #[cfg(target_arch = "x86_64")]
        if device == Device::Cpu
            && let Some(panels) = Panels::zeros(rows, columns, weights)?
        {
            return Self::pack(panels, checkpoint, parts, inputs, weights);
        }
        let options = (weights.kind(), device);
        let weight = Tensor::f_empty([rows as i64, columns as i64], options)?;
        let has_bias = parts.iter().any(|p| p.bias);
        let mut bias = None;
        if has_bias {
            bias = Some(Tensor::f_zeros([rows as i64], options)?);
        }
        let mut row = 0;
        for part in parts {
            let (start, count) = (row as i64, part.rows as i64);
            let stored = checkpoint.tensor(&part.weight(), &[part.rows, columns])?;
            let values = match weights {
                WeightType::F32 | WeightType::Bf16 => stored.to_tensor()?,
                // Here codes save no memory: their weights are what libtorch multiplies with.
                WeightType::Int8 | WeightType::Int4(_) => {
                    let mut values = Vec::with_capacity(part.rows * columns);
                    for row in 0..part.rows {
                        stored.append_row(row, columns, &mut values);
                        part.check(checkpoint, weights, &values[row * columns..])?;
                        quantise::round(weights, inputs.importance, &mut values[row * columns..]);
                    }
                    Tensor::f_from_slice(&values)?.f_view([count, columns as i64])?
                }
            };
            weight.f_narrow(0, start, count)?.f_copy_(&values)?;
            if let (true, Some(bias)) = (part.bias, &bias) {
                let stored = checkpoint.tensor(&part.bias(), &[part.rows])?;
                bias.f_narrow(0, start, count)?
                    .f_copy_(&stored.to_tensor()?)?;
            }
            row += part.rows;
        }
        Ok(Self::Torch { weight, bias })
    }

    /// Fills the panels from the mapped file, some rows at a time: there is no copy of a matrix in
    /// between.
    #[cfg(target_arch = "x86_64")]
    fn pack(
        mut panels: Panels,
        checkpoint: &Checkpoint,
        parts: &[Stored<'_>],
        inputs: Inputs<'_>,
        weights: WeightType,
    ) -> Result<Self> {
        let columns = inputs.count;
        let mut first = 0;
        let at_once = (BATCH_BYTES / (columns * 4).max(1)).max(1);
        let mut values = Vec::with_capacity(at_once * columns);
        for part in parts {
            let stored = checkpoint.tensor(&part.weight(), &[part.rows, columns])?;
            for begin in (0..part.rows).step_by(at_once) {
                values.clear();
                let rows = begin..part.rows.min(begin + at_once);
                rows.for_each(|row| stored.append_row(row, columns, &mut values));
                part.check(checkpoint, weights, &values)?;
                panels.set_outputs(first + begin, &values, inputs.importance);
                stored.release();
            }
            if part.bias {
                let stored = checkpoint.tensor(&part.bias(), &[part.rows])?;
                values.clear();
                stored.append_row(0, part.rows, &mut values);
                panels.set_bias(first, &values);
            }
            first += part.rows;
        }
        Ok(Self::Packed(panels))
    }

    /// `x`: `[rows, in]` in the weights' type.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Packed(panels) => panels.product(x),
            Self::Torch { weight, bias } => Ok(x.f_linear(weight, bias.as_ref())?),
        }
    }
}

impl Stored<'_> {
    fn weight(&self) -> String {
        format!("{}.weight", self.name)
    }

    fn bias(&self) -> String {
        format!("{}.bias", self.name)
    }

    /// Refuses to make integers of what is no number: where floats are kept it shows in the logits.
    fn check(&self, checkpoint: &Checkpoint, weights: WeightType, values: &[f32]) -> Result<()> {
        let bad = match weights {
            WeightType::F32 | WeightType::Bf16 => None,
            WeightType::Int8 | WeightType::Int4(_) => values.iter().find(|w| !w.is_finite()),
        };
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
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod tests {
    use super::*;

    fn peak() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().unwrap() * 1024
    }

    /// 64 MiB that are neither copied nor kept mapped in while they are packed.
    #[test]
    fn packing_takes_little_more_memory_than_what_is_packed() {
        if Panels::zeros(1, 1, WeightType::F32).unwrap().is_none() {
            return;
        }
        let (rows, columns) = (1 << 14, 1 << 10);
        let size = rows * columns * 4;
        let header = format!(
            r#"{{"m.weight":{{"dtype":"F32","shape":[{rows},{columns}],"data_offsets":[0,{size}]}}}}"#
        );
        let directory = tempfile::tempdir().unwrap();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.resize(file.len() + size, 0);
        std::fs::write(directory.path().join("model.safetensors"), file).unwrap();
        let checkpoint = Checkpoint::open(directory.path()).unwrap();
        let part = Stored {
            name: "m",
            rows,
            bias: false,
        };
        let inputs = Inputs {
            count: columns,
            importance: &[],
        };
        // Forgets the peak so far.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = peak();
        let linear =
            Linear::load(&checkpoint, &[part], inputs, WeightType::F32, Device::Cpu).unwrap();
        let grown = peak() - before;
        assert!(matches!(linear, Linear::Packed(_)));
        assert!(grown >= size as u64, "{grown} bytes for {size} of weights");
        assert!(
            grown < size as u64 + (16 << 20),
            "{grown} bytes for {size} of weights"
        );
    }
}
