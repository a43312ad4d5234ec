//! Loops of ours over values in plain memory.
//!
//! A decode step of a small model has some dozen small operations between the products of a layer. Each is
//! done in less than a microsecond, and takes libtorch several; meanwhile workers wait, or fall asleep and
//! have to wake up for the next product. So here nothing lies between the products but loops.
//! Each row is worked on by itself: it has the same bits whichever rows run with it.

use super::{Backend, Heads, Run};
use crate::attention::{Attending, attend};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::stored_matrix::StoredMatrix;
use crate::elementwise::for_each_row;
use crate::error::{ModelError, Result};
use crate::gemm::{Kernel, Panels};
use crate::kv_cache::{AnyLayerKv, KvMemory, PackedKv};
use crate::matrices::Stacked;
use crate::quantise::coded_row::{CodeFormat, CodedRow};
use crate::rope::Angles;
use crate::simd::Simd;
use tandem_shape::{KvType, WeightType};

/// Bytes of f32 that are packed at once, and of a file that stay mapped in behind them.
const BATCH_BYTES: usize = 1 << 20;

/// Our loops on this processor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plain {
    simd: Simd,
}

/// See [`Backend::Rows`].
#[derive(Debug, Default)]
pub(crate) struct PlainRows {
    values: Vec<f32>,
    width: usize,
}

/// See [`Backend::Norm`].
#[derive(Debug)]
pub(crate) struct PlainNorm {
    gains: Vec<f32>,
    eps: f32,
}

/// See [`Backend::Step`].
#[derive(Debug)]
pub(crate) struct PlainStep {
    runs: Vec<Run>,
    /// Of all rows.
    angles: Angles,
}

impl Plain {
    /// With the best instructions that the processor has.
    pub(crate) fn new() -> Self {
        Self::with(Simd::best())
    }

    /// With these.
    pub(crate) fn with(simd: Simd) -> Self {
        Self { simd }
    }

    /// Whether matrices may be held in this type.
    pub(crate) fn holds(weights: WeightType) -> bool {
        weights != WeightType::Bf16
    }

    /// Whether heads of this size are attended to.
    pub(crate) fn attends(head_dim: usize) -> bool {
        head_dim.is_multiple_of(crate::attention::LANES)
    }

    fn panels(self, outputs: usize, inputs: usize, weights: WeightType) -> Result<Panels> {
        if !Self::holds(weights) {
            return Err(ModelError::NotPlain { weights });
        }
        Panels::zeros(
            Kernel::of(self.simd),
            outputs,
            inputs,
            CodeFormat::of(weights),
        )
    }
}

impl Backend for Plain {
    type Rows = PlainRows;
    type Matrix = Panels;
    type Norm = PlainNorm;
    type Kv = PackedKv;
    type Step = PlainStep;

    /// Fills the panels from the mapped file, some rows at a time: there is no copy of a matrix in
    /// between.
    fn matrix(
        &self,
        checkpoint: &Checkpoint,
        stacked: &Stacked,
        importance: &[f32],
        weights: WeightType,
    ) -> Result<Panels> {
        let columns = stacked.inputs;
        let mut panels = self.panels(stacked.outputs(), columns, weights)?;
        let mut first = 0;
        let at_once = (BATCH_BYTES / (columns * 4).max(1)).max(1);
        let mut values = Vec::with_capacity(at_once * columns);
        for part in &stacked.parts {
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
        Ok(panels)
    }

    fn coded_matrix(
        &self,
        rows: &[CodedRow],
        inputs: usize,
        bias: &[f32],
        weights: WeightType,
    ) -> Result<Panels> {
        let mut panels = self.panels(rows.len(), inputs, weights)?;
        for (output, row) in rows.iter().enumerate() {
            panels.set_coded(output, row);
        }
        panels.set_bias(0, bias);
        Ok(panels)
    }

    fn matrix_bytes(matrix: &Panels) -> u64 {
        matrix.bytes() as u64
    }

    fn norm(&self, gains: Vec<f32>, eps: f64) -> Result<PlainNorm> {
        Ok(PlainNorm {
            gains,
            eps: eps as f32,
        })
    }

    fn kv(&self, heads: Heads, kv: KvType, memory: &KvMemory) -> AnyLayerKv {
        AnyLayerKv::Packed(PackedKv::new(kv, heads, memory))
    }

    fn own_kv(kv: &mut AnyLayerKv) -> Option<&mut PackedKv> {
        match kv {
            AnyLayerKv::Packed(kv) => Some(kv),
            AnyLayerKv::Tensors(_) => None,
        }
    }

    fn step(
        &self,
        _: Heads,
        inverse_frequencies: &[f32],
        _: KvType,
        runs: &[Run],
    ) -> Result<PlainStep> {
        let positions = runs.iter().map(|run| (run.past, run.rows));
        Ok(PlainStep {
            runs: runs.to_vec(),
            angles: Angles::new(inverse_frequencies, positions),
        })
    }

    fn rows(&self, values: Vec<f32>, width: usize) -> Result<PlainRows> {
        Ok(PlainRows { values, width })
    }

    fn values(&self, rows: PlainRows) -> Result<Vec<f32>> {
        Ok(rows.values)
    }

    fn copied(&self, rows: &PlainRows) -> Result<Vec<f32>> {
        Ok(rows.values.clone())
    }

    fn normalise(&self, norm: &PlainNorm, rows: &PlainRows, out: &mut PlainRows) -> Result<()> {
        let width = rows.width;
        let places = out.sized(rows.count(), width);
        for_each_row(places, width, &|row, x| {
            x.copy_from_slice(&rows.values[row * width..][..width]);
            self.simd.normalise(x, &norm.gains, norm.eps);
        });
        Ok(())
    }

    fn normalise_heads(
        &self,
        [query, key]: &[PlainNorm; 2],
        heads: Heads,
        query_key_value: &mut PlainRows,
    ) -> Result<()> {
        let queries = heads.attended_width();
        let keys = heads.kv_heads * heads.dim;
        let each = |norm: &PlainNorm, of: &mut [f32]| {
            for head in of.chunks_exact_mut(norm.gains.len().max(1)) {
                self.simd.normalise(head, &norm.gains, norm.eps);
            }
        };
        for_each_row(&mut query_key_value.values, heads.width(), &|_, row| {
            each(query, &mut row[..queries]);
            each(key, &mut row[queries..][..keys]);
        });
        Ok(())
    }

    fn multiply(&self, matrix: &Panels, x: &PlainRows, out: &mut PlainRows) -> Result<()> {
        out.width = matrix.outputs();
        matrix.product_of(&x.values, x.count(), &mut out.values)
    }

    fn attend(
        &self,
        heads: Heads,
        query_key_value: &PlainRows,
        step: &PlainStep,
        kv: &mut [&mut PackedKv],
        out: &mut PlainRows,
    ) -> Result<()> {
        let (width, attended) = (heads.width(), heads.attended_width());
        let out = out.sized(query_key_value.count(), attended);
        let mut sessions = Vec::with_capacity(step.runs.len());
        let mut rest = &query_key_value.values[..];
        let mut first_angles = 0;
        for run in &step.runs {
            let (own, behind) = rest.split_at(run.rows * width);
            rest = behind;
            sessions.push(Attending {
                query_key_value: own,
                heads: heads.heads,
                angles: &step.angles,
                first_angles,
                past: run.past,
            });
            first_angles += run.rows;
        }
        attend(&sessions, kv, self.simd, out);
        Ok(())
    }

    fn gate(&self, gate_up: &PlainRows, out: &mut PlainRows) -> Result<()> {
        let width = gate_up.width;
        let places = out.sized(gate_up.count(), width / 2);
        for_each_row(places, width / 2, &|row, out| {
            self.simd.gate(&gate_up.values[row * width..][..width], out);
        });
        Ok(())
    }

    fn add(&self, term: &PlainRows, residual: &mut PlainRows) -> Result<()> {
        let width = residual.width;
        for_each_row(&mut residual.values, width, &|row, residual| {
            let term = &term.values[row * width..][..width];
            residual.iter_mut().zip(term).for_each(|(r, t)| *r += t);
        });
        Ok(())
    }
}

impl PlainRows {
    /// Room for so many rows.
    fn sized(&mut self, rows: usize, width: usize) -> &mut [f32] {
        self.width = width;
        self.values.resize(rows * width, 0.0);
        &mut self.values
    }

    fn count(&self) -> usize {
        self.values.len() / self.width.max(1)
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::matrices::{Input, Stored};
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
        let plain = Plain::new();
        let _matrix = plain.matrix(&checkpoint, &matrix, &[], weights).unwrap();
        peak() - before
    }

    /// From a package too: its integers never are floats.
    #[test]
    fn packing_takes_little_more_memory_than_what_is_packed() {
        let int4 = WeightType::Int4(Group::G64);
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
