//! Consecutive layers that one backend runs, and the head behind the last.

use crate::backend::{Backend, Heads, Run};
use crate::checkpoint::Checkpoint;
use crate::decoder_layer::{DecoderLayer, Scratch, nobody};
use crate::error::{ModelError, Result};
use crate::kv_cache::{AnyLayerKv, KvCache, KvMemory};
use crate::matrices::Stacked;
use std::sync::{Mutex, PoisonError};
use tandem_shape::{KvType, LayerRange, ModelConfig, WeightType};

/// Rows of one session in a step.
#[derive(Debug)]
pub struct SessionRows<'a> {
    /// Its keys and values. The rows stand at the positions behind the cache's.
    pub cache: &'a mut KvCache,
    /// How many rows.
    pub rows: usize,
}

/// Consecutive layers of a model.
#[derive(Debug)]
pub(crate) struct Stretch<B: Backend> {
    backend: B,
    layers: Vec<DecoderLayer<B>>,
    /// What the last step's rows lay in.
    scratch: Mutex<Scratch<B>>,
}

/// The last norm, and the matrix that makes logits.
#[derive(Debug)]
pub(crate) struct Head<B: Backend> {
    backend: B,
    norm: B::Norm,
    matrix: B::Matrix,
}

impl<B: Backend> Stretch<B> {
    pub(crate) fn new(backend: B, first: DecoderLayer<B>) -> Self {
        Self {
            backend,
            layers: vec![first],
            scratch: Mutex::default(),
        }
    }

    pub(crate) fn push(&mut self, layer: DecoderLayer<B>) {
        self.layers.push(layer);
    }

    pub(crate) fn has(&self, layer: usize) -> bool {
        self.layers.iter().any(|own| own.number() == layer)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.layers.iter().map(DecoderLayer::bytes).sum()
    }

    pub(crate) fn kv(&self, heads: Heads, kv: KvType, memory: &KvMemory) -> AnyLayerKv {
        self.backend.kv(heads, kv, memory)
    }

    /// Runs those of its layers that are in `range` over `values`, `[rows, hidden]`.
    pub(crate) fn forward(
        &self,
        config: &ModelConfig,
        inverse_frequencies: &[f32],
        range: LayerRange,
        values: Vec<f32>,
        sessions: &mut [SessionRows<'_>],
    ) -> Result<Vec<f32>> {
        let layers = || {
            let all = self.layers.iter();
            all.filter(|layer| (range.start()..range.end()).contains(&layer.number()))
        };
        let (Some(first), true) = (sessions.first(), layers().next().is_some()) else {
            return Ok(values);
        };
        let kv_type = first.cache.kv_type();
        let runs: Vec<Run> = sessions
            .iter()
            .map(|session| Run {
                rows: session.rows,
                past: session.cache.len(),
            })
            .collect();
        let backend = &self.backend;
        let step = backend.step(Heads::of(config), inverse_frequencies, kv_type, &runs)?;
        let mut residual = backend.rows(values, config.hidden)?;
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        for layer in layers() {
            let mut kv = Vec::with_capacity(sessions.len());
            for session in sessions.iter_mut() {
                let own = B::own_kv(session.cache.layer(layer.number()));
                kv.push(own.ok_or(ModelError::OtherCache)?);
            }
            layer.forward(
                backend,
                &mut residual,
                &step,
                &mut kv,
                &mut scratch,
                &mut nobody,
            )?;
        }
        backend.values(residual)
    }
}

impl<B: Backend> Head<B> {
    pub(crate) fn load(
        backend: B,
        checkpoint: &Checkpoint,
        config: &ModelConfig,
        weights: WeightType,
    ) -> Result<Self> {
        let gains = checkpoint.vector("model.norm.weight", config.hidden)?;
        let matrix = Stacked::head(config, checkpoint);
        Ok(Self {
            norm: backend.norm(gains, config.rms_norm_eps)?,
            matrix: backend.matrix(checkpoint, &matrix, &[], weights)?,
            backend,
        })
    }

    pub(crate) fn bytes(&self) -> u64 {
        B::matrix_bytes(&self.matrix)
    }

    /// `[rows, vocabulary]` of `[rows, hidden]`.
    pub(crate) fn logits(&self, values: Vec<f32>, hidden: usize) -> Result<Vec<f32>> {
        let rows = self.backend.rows(values, hidden)?;
        let (mut normalised, mut logits) = (B::Rows::default(), B::Rows::default());
        self.backend.normalise(&self.norm, &rows, &mut normalised)?;
        self.backend
            .multiply(&self.matrix, &normalised, &mut logits)?;
        self.backend.values(logits)
    }
}
