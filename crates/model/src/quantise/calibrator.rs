//! Runs calibration text through a model layer by layer, and quantises each layer on the way with
//! what its matrices are given: by the layers before it as they have become, so that a layer makes
//! up for them where it can.

use crate::backend::choice::{AnyBackend, Backends};
use crate::backend::{Backend, Heads, Run};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::stored_matrix::StoredMatrix;
use crate::decoder_layer::{DecoderLayer, Observer, Scratch, nobody};
use crate::embedding::Embedding;
use crate::error::{ModelError, Result};
use crate::kv_cache::{AnyLayerKv, KvMemory, PANEL, page_bytes};
use crate::matrices::{Input, Stacked};
use crate::quantise::coded_row::CodedRow;
use crate::quantise::gptq::Moments;
use crate::quantise::input_squares::InputSquares;
use std::collections::HashMap;
use std::ops::ControlFlow;
use tandem_shape::{Group, KvType, ModelConfig, Place, WeightType};

/// The state of all calibration chunks before a layer.
pub(crate) struct Calibrator<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a ModelConfig,
    backends: Backends,
    /// One a chunk, `[tokens, hidden]`.
    residuals: Vec<Vec<f32>>,
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
        let embed = |tokens: &Vec<u32>| embedding.rows(tokens);
        let mut this = Self {
            checkpoint,
            config,
            backends: Backends::open(Place::default(), config.head_dim)?,
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
        match self.backends.of(weights)? {
            AnyBackend::Plain(own) => self.chunks_through(&own, &self.load(&own, number, weights)?),
            AnyBackend::Torch(own) => self.chunks_through(&own, &self.load(&own, number, weights)?),
        }
    }

    fn quantise(&mut self, number: usize, group: Group) -> Result<CodedLayer> {
        match self.backends.of(WeightType::F32)? {
            AnyBackend::Plain(own) => self.quantise_with(&own, number, group),
            AnyBackend::Torch(own) => self.quantise_with(&own, number, group),
        }
    }

    /// Each matrix in turn sees what all chunks give it behind those that are quantised already.
    fn quantise_with<B: Backend>(
        &mut self,
        backend: &B,
        number: usize,
        group: Group,
    ) -> Result<CodedLayer> {
        let mut layer = self.load(backend, number, WeightType::F32)?;
        let mut coded = CodedLayer::new();
        for stacked in [
            Stacked::query_key_value(self.config, number),
            Stacked::attention_output(self.config, number),
            Stacked::gate_up(self.config, number),
            Stacked::down(self.config, number),
        ] {
            let mut moments = Moments::new(stacked.inputs)?;
            let of = stacked.input;
            let mut see = |input: Input, x: &B::Rows| {
                if input != of {
                    return Ok(ControlFlow::Continue(()));
                }
                moments.add(&backend.copied(x)?)?;
                Ok(ControlFlow::Break(()))
            };
            for residual in &self.residuals {
                self.through(backend, &layer, residual.clone(), &mut see)?;
            }
            let matrix = self.coded(backend, stacked, group, moments, &mut coded)?;
            if let Some(place) = layer.matrix_mut(of) {
                *place = matrix;
            }
        }
        self.chunks_through(backend, &layer)?;
        Ok(coded)
    }

    fn chunks_through<B: Backend>(&mut self, backend: &B, layer: &DecoderLayer<B>) -> Result<()> {
        let mut residuals = std::mem::take(&mut self.residuals);
        for residual in &mut residuals {
            let values = std::mem::take(residual);
            *residual = self.through(backend, layer, values, &mut nobody)?;
        }
        self.residuals = residuals;
        Ok(())
    }

    /// A chunk through a layer, from its first position on.
    fn through<B: Backend>(
        &self,
        backend: &B,
        layer: &DecoderLayer<B>,
        values: Vec<f32>,
        observe: &mut Observer<'_, B>,
    ) -> Result<Vec<f32>> {
        const KV: KvType = KvType::F32;
        let heads = Heads::of(self.config);
        let rows = values.len() / self.config.hidden.max(1);
        let run = Run { rows, past: 0 };
        let step = backend.step(heads, &self.inverse_frequencies, KV, &[run])?;
        let memory = KvMemory::new(page_bytes(self.config, KV));
        let mut kv: AnyLayerKv = backend.kv(heads, KV, &memory);
        kv.set_pages(rows.div_ceil(PANEL))?;
        let kv = B::own_kv(&mut kv).ok_or(ModelError::OtherCache)?;
        let mut residual = backend.rows(values, self.config.hidden)?;
        let mut scratch = Scratch::default();
        layer.forward(
            backend,
            &mut residual,
            &step,
            &mut [kv],
            &mut scratch,
            observe,
        )?;
        backend.values(residual)
    }

    /// Quantises a matrix by the moments of its inputs, puts its rows into `coded`, and returns it to go on
    /// with.
    fn coded<B: Backend>(
        &self,
        backend: &B,
        stacked: Stacked,
        group: Group,
        moments: Moments,
        coded: &mut CodedLayer,
    ) -> Result<B::Matrix> {
        let weights = WeightType::Int4(group);
        let inputs = stacked.inputs;
        let (mut values, mut bias) = (Vec::new(), Vec::new());
        for part in &stacked.parts {
            let stored = part.open(self.checkpoint, inputs, weights)?;
            let StoredMatrix::Floats(stored) = stored else {
                return Err(ModelError::StoredInIntegers {
                    tensor: part.weight(),
                    asked: weights,
                });
            };
            let first = values.len();
            for row in 0..part.outputs {
                stored.append_row(row, inputs, &mut values);
            }
            part.check(self.checkpoint, weights, &values[first..])?;
            bias.extend(if part.bias {
                part.bias_values(self.checkpoint)?
            } else {
                vec![0.0; part.outputs]
            });
        }
        let mut rows = moments.factor()?.code_rows(group, &values);
        let matrix = backend.coded_matrix(&rows, inputs, &bias, weights)?;
        for part in stacked.parts {
            let own = rows.drain(..part.outputs).collect();
            coded.insert(part.weight(), own);
        }
        Ok(matrix)
    }

    fn load<B: Backend>(
        &self,
        backend: &B,
        number: usize,
        weights: WeightType,
    ) -> Result<DecoderLayer<B>> {
        let (checkpoint, config) = (self.checkpoint, self.config);
        let squares = InputSquares::default();
        DecoderLayer::load(backend, checkpoint, config, number, &squares, weights)
    }
}
