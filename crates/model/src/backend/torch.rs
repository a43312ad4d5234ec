//! libtorch: for CUDA devices, for products in bf16, and to hold [`super::plain`] against.
//!
//! What it makes of a row may depend on the rows that run with it: its products choose their loops by
//! their shapes.

mod attention;
mod kinds;
mod kv;
mod rotation;

use super::{Backend, Heads, Run};
use crate::attention::{Attending, attend};
use crate::checkpoint::stored_matrix::StoredMatrix;
use crate::checkpoint::{Checkpoint, FloatType, StoredTensor};
use crate::error::{ModelError, Result};
use crate::kv_cache::{AnyLayerKv, KvMemory, PackedKv};
use crate::matrices::{Stacked, Stored};
use crate::quantise::coded_row::{CodeFormat, CodedRow};
use crate::rope::Angles;
use crate::simd::Simd;
use attention::TorchRun;
use kinds::ComputeKind;
pub(crate) use kv::{TensorKv, TensorPage};
use tandem_shape::{DeviceName, KvType, WeightType};
use tch::{Device, Kind, Tensor};

/// libtorch on one device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Torch {
    device: Device,
    /// Our loops, where these attend.
    loops: Option<Simd>,
}

/// See [`Backend::Rows`].
#[derive(Debug)]
pub(crate) struct TorchRows(Tensor);

/// See [`Backend::Matrix`].
#[derive(Debug)]
pub(crate) struct TorchMatrix {
    /// `[outputs, inputs]`.
    weight: Tensor,
    /// `[outputs]`.
    bias: Option<Tensor>,
}

/// See [`Backend::Norm`].
#[derive(Debug)]
pub(crate) struct TorchNorm {
    /// `[size]` in f32.
    gains: Tensor,
    size: i64,
    eps: f64,
}

/// What all layers of a step share of one run.
#[derive(Debug)]
pub(crate) enum TorchStep {
    Loops(Run, Angles, Simd),
    Torch(Run, TorchRun),
}

impl Torch {
    /// libtorch on a device, with attention by our loops over plain memory where `loops` are given: they
    /// are faster than libtorch's on a processor.
    ///
    /// # Errors
    /// When libtorch was built without CUDA or sees no such device.
    pub(crate) fn open(device: DeviceName, loops: Option<Simd>) -> Result<Self> {
        let device = match device {
            DeviceName::Cpu => Device::Cpu,
            DeviceName::Cuda(number) => {
                let devices = tch::Cuda::device_count().max(0) as usize;
                if number >= devices {
                    return Err(ModelError::Device {
                        device: device.to_string(),
                        why: format!(
                            "libtorch sees {devices} CUDA devices; set LIBTORCH to a CUDA build"
                        ),
                    });
                }
                Device::Cuda(number)
            }
        };
        Ok(Self {
            device,
            loops: loops.filter(|_| device == Device::Cpu),
        })
    }

    fn on_device(&self, values: &[f32]) -> Result<Tensor> {
        Ok(Tensor::f_from_slice(values)?.f_to_device(self.device)?)
    }
}

impl Default for TorchRows {
    fn default() -> Self {
        Self(Tensor::new())
    }
}

impl Backend for Torch {
    type Rows = TorchRows;
    type Matrix = TorchMatrix;
    type Norm = TorchNorm;
    type Kv = AnyLayerKv;
    type Step = Vec<TorchStep>;

    fn matrix(
        &self,
        checkpoint: &Checkpoint,
        stacked: &Stacked,
        importance: &[f32],
        weights: WeightType,
    ) -> Result<TorchMatrix> {
        let (rows, columns) = (stacked.outputs(), stacked.inputs);
        let options = (weights.kind(), self.device);
        let weight = Tensor::f_empty([rows as i64, columns as i64], options)?;
        let mut bias = None;
        if stacked.parts.iter().any(|part| part.bias) {
            bias = Some(Tensor::f_zeros([rows as i64], options)?);
        }
        let mut row = 0;
        for part in &stacked.parts {
            let (start, count) = (row as i64, part.outputs as i64);
            let values = floats(part, checkpoint, columns, importance, weights)?;
            weight.f_narrow(0, start, count)?.f_copy_(&values)?;
            if let (true, Some(bias)) = (part.bias, &bias) {
                let values = Tensor::f_from_slice(&part.bias_values(checkpoint)?)?;
                bias.f_narrow(0, start, count)?.f_copy_(&values)?;
            }
            row += part.outputs;
        }
        Ok(TorchMatrix { weight, bias })
    }

    fn coded_matrix(
        &self,
        rows: &[CodedRow],
        inputs: usize,
        bias: &[f32],
        weights: WeightType,
    ) -> Result<TorchMatrix> {
        let mut values = Vec::with_capacity(rows.len() * inputs);
        if let Some(format) = CodeFormat::of(weights) {
            for row in rows {
                row.append_weights(format, &mut values);
            }
        }
        let kind = weights.kind();
        let shape = [rows.len() as i64, inputs as i64];
        let weight = self.on_device(&values)?.f_view(shape)?.f_to_kind(kind)?;
        let bias = self.on_device(bias)?.f_to_kind(kind)?;
        Ok(TorchMatrix {
            weight,
            bias: Some(bias),
        })
    }

    fn matrix_bytes(matrix: &TorchMatrix) -> u64 {
        let bytes = |t: &Tensor| t.numel() * t.kind().elt_size_in_bytes();
        (bytes(&matrix.weight) + matrix.bias.as_ref().map_or(0, bytes)) as u64
    }

    fn norm(&self, gains: Vec<f32>, eps: f64) -> Result<TorchNorm> {
        Ok(TorchNorm {
            gains: self.on_device(&gains)?,
            size: gains.len() as i64,
            eps,
        })
    }

    fn kv(&self, heads: Heads, kv: KvType, memory: &KvMemory) -> AnyLayerKv {
        match self.loops {
            Some(_) => AnyLayerKv::Packed(PackedKv::new(kv, heads, memory)),
            None => AnyLayerKv::Tensors(TensorKv::new(kv, heads, self.device, memory)),
        }
    }

    fn own_kv(kv: &mut AnyLayerKv) -> Option<&mut AnyLayerKv> {
        Some(kv)
    }

    fn step(
        &self,
        heads: Heads,
        inverse_frequencies: &[f32],
        kv: KvType,
        runs: &[Run],
    ) -> Result<Vec<TorchStep>> {
        let of_run = |&run: &Run| match self.loops {
            Some(loops) => {
                let angles = Angles::new(inverse_frequencies, [(run.past, run.rows)]);
                Ok(TorchStep::Loops(run, angles, loops))
            }
            None => {
                let (kind, device) = (kv.kind(), self.device);
                let own = TorchRun::new(heads, inverse_frequencies, run, kind, device)?;
                Ok(TorchStep::Torch(run, own))
            }
        };
        runs.iter().map(of_run).collect()
    }

    fn rows(&self, values: Vec<f32>, width: usize) -> Result<TorchRows> {
        let shape = [(values.len() / width.max(1)) as i64, width as i64];
        Ok(TorchRows(self.on_device(&values)?.f_view(shape)?))
    }

    fn values(&self, rows: TorchRows) -> Result<Vec<f32>> {
        copied(&rows.0)
    }

    fn copied(&self, rows: &TorchRows) -> Result<Vec<f32>> {
        copied(&rows.0)
    }

    fn normalise(&self, norm: &TorchNorm, rows: &TorchRows, out: &mut TorchRows) -> Result<()> {
        out.0 = norm.of(&rows.0)?;
        Ok(())
    }

    fn normalise_heads(
        &self,
        [query, key]: &[TorchNorm; 2],
        heads: Heads,
        query_key_value: &mut TorchRows,
    ) -> Result<()> {
        let all = heads.split(&query_key_value.0)?;
        let [queries, keys] = [heads.heads, heads.kv_heads].map(|n| n as i64);
        let query = query.of(&all.f_narrow(1, 0, queries)?)?;
        let key = key.of(&all.f_narrow(1, queries, keys)?)?;
        let value = all.f_narrow(1, queries + keys, keys)?;
        let value = value.f_to_kind(Kind::Float)?;
        query_key_value.0 = Tensor::f_cat(&[query, key, value], 1)?;
        Ok(())
    }

    fn multiply(&self, matrix: &TorchMatrix, x: &TorchRows, out: &mut TorchRows) -> Result<()> {
        let x = in_kind(&x.0, matrix.weight.f_kind()?)?;
        out.0 = x.f_linear(&matrix.weight, matrix.bias.as_ref())?;
        Ok(())
    }

    fn attend(
        &self,
        heads: Heads,
        query_key_value: &TorchRows,
        step: &Vec<TorchStep>,
        kv: &mut [&mut AnyLayerKv],
        out: &mut TorchRows,
    ) -> Result<()> {
        let all = heads.split(&query_key_value.0)?;
        let mut attended = Vec::with_capacity(step.len());
        let mut first = 0;
        for (step, kv) in step.iter().zip(kv) {
            let (TorchStep::Loops(run, ..) | TorchStep::Torch(run, _)) = step;
            let rows = all.f_narrow(0, first, run.rows as i64)?;
            first += run.rows as i64;
            attended.push(match (step, &mut **kv) {
                (TorchStep::Loops(run, angles, loops), AnyLayerKv::Packed(kv)) => {
                    let of_run = Attending {
                        query_key_value: &copied(&rows)?,
                        heads: heads.heads,
                        angles,
                        first_angles: 0,
                        past: run.past,
                    };
                    let mut out = vec![0.0; run.rows * heads.attended_width()];
                    attend(&[of_run], &mut [kv], *loops, &mut out);
                    let shape = [run.rows as i64, heads.attended_width() as i64];
                    Tensor::f_from_slice(&out)?.f_view(shape)?
                }
                (TorchStep::Torch(_, run), AnyLayerKv::Tensors(kv)) => {
                    run.attend(&rows, heads, kv)?
                }
                _ => return Err(ModelError::OtherCache),
            });
        }
        out.0 = match attended.len() {
            1 => attended.swap_remove(0),
            _ => Tensor::f_cat(&attended, 0)?,
        };
        Ok(())
    }

    fn gate(&self, gate_up: &TorchRows, out: &mut TorchRows) -> Result<()> {
        let half = gate_up.0.size().last().copied().unwrap_or(0) / 2;
        let gate = gate_up.0.f_narrow(1, 0, half)?;
        let up = gate_up.0.f_narrow(1, half, half)?;
        out.0 = gate.f_silu()?.f_mul_(&up)?;
        Ok(())
    }

    fn add(&self, term: &TorchRows, residual: &mut TorchRows) -> Result<()> {
        let _ = residual.0.f_add_(&term.0)?;
        Ok(())
    }
}

impl TorchNorm {
    /// Normalises the last dimension. Returns f32.
    fn of(&self, x: &Tensor) -> Result<Tensor> {
        let x = in_kind(x, Kind::Float)?;
        let (normalised, _) =
            x.f_internal_fused_rms_norm([self.size], Some(&self.gains), self.eps)?;
        Ok(normalised)
    }
}

impl Heads {
    /// `[rows, heads + 2 · kv_heads, dim]` of rows.
    fn split(self, rows: &Tensor) -> Result<Tensor> {
        let heads = (self.heads + 2 * self.kv_heads) as i64;
        Ok(rows.f_view([-1, heads, self.dim as i64])?)
    }
}

/// A tensor in a type. A call of libtorch's that changes nothing still takes its microseconds.
fn in_kind(x: &Tensor, kind: Kind) -> Result<Tensor> {
    if x.f_kind()? == kind {
        Ok(x.shallow_clone())
    } else {
        Ok(x.f_to_kind(kind)?)
    }
}

/// A tensor's values, in f32.
pub(crate) fn copied(tensor: &Tensor) -> Result<Vec<f32>> {
    let mut values = vec![0.0; tensor.numel()];
    tensor
        .f_to_device(Device::Cpu)?
        .f_to_kind(Kind::Float)?
        .f_contiguous()?
        .f_copy_data(&mut values, tensor.numel())?;
    Ok(values)
}

/// A matrix in floats, as exact as `weights` would have it: here codes save no memory, their
/// weights are what libtorch multiplies with.
fn floats(
    part: &Stored,
    checkpoint: &Checkpoint,
    columns: usize,
    importance: &[f32],
    weights: WeightType,
) -> Result<Tensor> {
    let mut values = Vec::new();
    match (
        part.open(checkpoint, columns, weights)?,
        CodeFormat::of(weights),
    ) {
        (StoredMatrix::Floats(stored), None) => return as_stored(&stored),
        (StoredMatrix::Floats(stored), Some(format)) => {
            let mut row_values = Vec::with_capacity(columns);
            for row in 0..part.outputs {
                row_values.clear();
                stored.append_row(row, columns, &mut row_values);
                part.check(checkpoint, weights, &row_values)?;
                let row = CodedRow::new(format, &row_values, importance);
                row.append_weights(format, &mut values);
            }
        }
        (StoredMatrix::Codes(stored), _) => {
            for row in 0..part.outputs {
                let coded = stored.row(row);
                coded.append_weights(stored.format(), &mut values);
            }
        }
    }
    Ok(Tensor::f_from_slice(&values)?.f_view([part.outputs as i64, columns as i64])?)
}

/// A tensor of the values and the type of a stored one.
fn as_stored(stored: &StoredTensor) -> Result<Tensor> {
    let shape: Vec<i64> = stored.shape.iter().map(|&d| d as i64).collect();
    let kind = match stored.float_type {
        FloatType::F32 => Kind::Float,
        FloatType::F16 => Kind::Half,
        FloatType::Bf16 => Kind::BFloat16,
    };
    Ok(Tensor::f_from_data_size(stored.bytes(), &shape, kind)?)
}
