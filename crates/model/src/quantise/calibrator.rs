//! Runs calibration text through a model layer by layer, and quantises each layer on the way with
//! what its matrices are given: by the layers before it as they have become, so that a layer makes
//! up for them where it can.

use crate::attention::StepGeometry;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::stored_matrix::StoredMatrix;
use crate::embedding::Embedding;
use crate::error::Result;
use crate::kv_cache::KvCache;
use crate::layer::Layer;
use crate::linear::Linear;
use crate::matrices::Stacked;
use crate::quantise::coded_row::{CodedRow, Form};
use crate::quantise::gptq::Moments;
use crate::quantise::input_squares::InputSquares;
use std::collections::HashMap;
use tandem_shape::{Group, KvType, LayerRange, ModelConfig, WeightType};
use tch::{Device, Tensor};

/// The state of all calibration chunks before a layer.
pub(crate) struct Calibrator<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a ModelConfig,
    /// One a chunk, `[tokens, hidden]` in f32.
    residuals: Vec<Tensor>,
    inverse_frequencies: Vec<f32>,
}

/// A quantised layer's rows by the name of their matrix.
pub(crate) type CodedLayer = HashMap<String, Vec<CodedRow>>;

impl<'a> Calibrator<'a> {
    /// The chunks, embedded and run through the layers before `start` as they are.
    ///
    /// # Errors
    /// When a layer cannot be loaded, or a token is outside the vocabulary.
    pub(crate) fn new(
        checkpoint: &'a Checkpoint,
        config: &'a ModelConfig,
        chunks: &[Vec<u32>],
        start: usize,
    ) -> Result<Self> {
        let embedding = Embedding::open(checkpoint, config.vocabulary, config.hidden)?;
        let embed = |tokens: &Vec<u32>| embedding.rows(tokens, Device::Cpu);
        let mut this = Self {
            checkpoint,
            config,
            residuals: chunks.iter().map(embed).collect::<Result<_>>()?,
            inverse_frequencies: config.rope.inverse_frequencies(config.head_dim),
        };
        for number in 0..start {
            this.pass(number, WeightType::F32)?;
        }
        Ok(this)
    }

    /// Goes on behind a layer that is held as `weights`: quantised with calibration where that is
    /// 4 bits, which is returned.
    pub(crate) fn advance(
        &mut self,
        number: usize,
        weights: WeightType,
    ) -> Result<Option<CodedLayer>> {
        match weights {
            WeightType::Int4(group) => Ok(Some(self.quantise(number, group)?)),
            WeightType::F32 | WeightType::Bf16 | WeightType::Int8 => {
                self.pass(number, weights)?;
                Ok(None)
            }
        }
    }

    fn pass(&mut self, number: usize, weights: WeightType) -> Result<()> {
        let layer = self.load(number, weights)?;
        let mut attend = Attending::new(self, number)?;
        for residual in &mut self.residuals {
            let (geometry, cache) = attend.of(residual)?;
            layer.forward(residual, geometry, cache)?;
        }
        Ok(())
    }

    fn quantise(&mut self, number: usize, group: Group) -> Result<CodedLayer> {
        let mut layer = self.load(number, WeightType::F32)?;
        let mut attend = Attending::new(self, number)?;
        let (checkpoint, config) = (self.checkpoint, self.config);
        let matrix = Stacked::query_key_value(config, number);
        let mut station = Station::new(checkpoint, matrix, group)?;
        for residual in &self.residuals {
            station.see(&layer.before_attention(residual)?)?;
        }
        let mut coded = CodedLayer::new();
        layer.attention.query_key_value = station.quantise(&mut coded)?;

        let matrix = Stacked::attention_output(config, number);
        let mut station = Station::new(checkpoint, matrix, group)?;
        let mut attended = Vec::with_capacity(self.residuals.len());
        for residual in &self.residuals {
            let (geometry, cache) = attend.of(residual)?;
            let projected = layer
                .attention
                .project(&layer.before_attention(residual)?)?;
            let values = layer
                .attention
                .attend(&projected, number, geometry, cache)?;
            station.see(&values)?;
            attended.push(values);
        }
        let linear = station.quantise(&mut coded)?;
        for (residual, attended) in self.residuals.iter_mut().zip(attended) {
            let _ = residual.f_add_(&linear.forward(&attended)?)?;
        }

        let mut station = Station::new(checkpoint, Stacked::gate_up(config, number), group)?;
        for residual in &self.residuals {
            station.see(&layer.before_mlp(residual)?)?;
        }
        layer.mlp.gate_up = station.quantise(&mut coded)?;

        let mut station = Station::new(checkpoint, Stacked::down(config, number), group)?;
        for residual in &self.residuals {
            station.see(&layer.mlp.gated(&layer.before_mlp(residual)?)?)?;
        }
        let linear = station.quantise(&mut coded)?;
        for residual in &mut self.residuals {
            let gated = layer.mlp.gated(&layer.before_mlp(residual)?)?;
            let _ = residual.f_add_(&linear.forward(&gated)?)?;
        }
        Ok(coded)
    }

    fn load(&self, number: usize, weights: WeightType) -> Result<Layer> {
        let (checkpoint, config) = (self.checkpoint, self.config);
        let squares = InputSquares::default();
        Layer::load(checkpoint, config, number, &squares, weights, Device::Cpu)
    }
}

/// What attention over a chunk from its first position on needs.
struct Attending {
    config: ModelConfig,
    inverse_frequencies: Vec<f32>,
    cache: KvCache,
    geometry: Option<(usize, StepGeometry)>,
}

impl Attending {
    fn new(calibrator: &Calibrator<'_>, layer: usize) -> Result<Self> {
        let config = calibrator.config;
        let longest = calibrator.residuals.iter().map(rows).max().unwrap_or(0);
        let range = LayerRange::new(layer, layer + 1, config.layers)?;
        Ok(Self {
            config: config.clone(),
            inverse_frequencies: calibrator.inverse_frequencies.clone(),
            cache: KvCache::new(config, range, longest, KvType::F32, Device::Cpu)?,
            geometry: None,
        })
    }

    /// The cache is never advanced: each chunk is written over the one before.
    fn of(&mut self, residual: &Tensor) -> Result<(&StepGeometry, &mut KvCache)> {
        let rows = rows(residual);
        let geometry = match self.geometry.take() {
            Some((of, geometry)) if of == rows => geometry,
            _ => StepGeometry::new(
                &self.config,
                &self.inverse_frequencies,
                &self.cache,
                rows,
                Device::Cpu,
            )?,
        };
        let (_, geometry) = self.geometry.insert((rows, geometry));
        Ok((geometry, &mut self.cache))
    }
}

fn rows(residual: &Tensor) -> usize {
    residual.size().first().map_or(0, |&rows| rows as usize)
}

/// A matrix that watches its inputs.
struct Station<'a> {
    checkpoint: &'a Checkpoint,
    matrix: Stacked,
    group: Group,
    moments: Moments,
}

impl<'a> Station<'a> {
    fn new(checkpoint: &'a Checkpoint, matrix: Stacked, group: Group) -> Result<Self> {
        Ok(Self {
            checkpoint,
            moments: Moments::new(matrix.inputs)?,
            matrix,
            group,
        })
    }

    fn see(&mut self, x: &Tensor) -> Result<()> {
        self.moments.add(x)
    }

    /// Quantises the matrix, puts its rows into `coded`, and returns it to go on with.
    fn quantise(self, coded: &mut CodedLayer) -> Result<Linear> {
        let weights = WeightType::Int4(self.group);
        let inputs = self.matrix.inputs;
        let (mut values, mut bias) = (Vec::new(), Vec::new());
        for part in &self.matrix.parts {
            let stored = part.open(self.checkpoint, inputs, weights)?;
            let StoredMatrix::Floats(stored) = stored else {
                return Err(crate::ModelError::StoredInIntegers {
                    tensor: part.weight(),
                    asked: weights,
                });
            };
            let first = values.len();
            for row in 0..part.outputs {
                stored.append_row(row, inputs, &mut values);
            }
            part.check(self.checkpoint, weights, &values[first..])?;
            bias.extend(match part.bias {
                true => part.bias_values(self.checkpoint)?,
                false => vec![0.0; part.outputs],
            });
        }
        let mut rows = self.moments.factor()?.code_rows(self.group, &values);
        let form = Form::Four(self.group);
        let linear = Linear::of_rows(form, weights, &rows, inputs, &bias, Device::Cpu)?;
        for part in self.matrix.parts {
            let own = rows.drain(..part.outputs).collect();
            coded.insert(part.weight(), own);
        }
        Ok(linear)
    }
}
