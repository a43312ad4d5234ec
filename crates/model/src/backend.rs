//! The operations that a decoder layer is made of, and who does them.
//!
//! [`crate::decoder_layer`] says in which order they come, once. [`plain`] does them in loops of ours over
//! values in plain memory, on any processor; [`torch`] leaves them to libtorch, which also has CUDA devices
//! and products in bf16.

pub(crate) mod choice;
pub(crate) mod plain;
#[cfg(feature = "torch")]
pub(crate) mod torch;
#[cfg(not(feature = "torch"))]
#[path = "backend/without_torch.rs"]
pub(crate) mod torch;

#[cfg(test)]
mod tests;

use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::kv_cache::{AnyLayerKv, KvMemory};
use crate::matrices::Stacked;
use crate::quantise::coded_row::CodedRow;
use std::fmt::Debug;
use tandem_shape::{KvType, ModelConfig, WeightType};

/// Consecutive positions of one session among the rows of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// How many of the step's rows they are.
    pub(crate) rows: usize,
    /// Positions before the first.
    pub(crate) past: usize,
}

/// How a row of queries, keys and values lies: `[heads + 2 · kv_heads, dim]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heads {
    /// Of queries.
    pub(crate) heads: usize,
    /// Of keys, and of values.
    pub(crate) kv_heads: usize,
    /// Values of a head.
    pub(crate) dim: usize,
}

impl Heads {
    pub(crate) fn of(config: &ModelConfig) -> Self {
        Self {
            heads: config.heads,
            kv_heads: config.kv_heads,
            dim: config.head_dim,
        }
    }

    /// Values of a row.
    pub(crate) fn width(self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.dim
    }

    /// Values of its queries alone, and of what they attend to.
    pub(crate) fn attended_width(self) -> usize {
        self.heads * self.dim
    }
}

/// One way to do what a decoder layer does. An operation puts its result into a place that its caller
/// keeps from layer to layer; what was there before does not matter.
pub(crate) trait Backend: Debug + Sized {
    /// Rows between two operations, `[rows, width]`.
    type Rows: Debug + Default;
    /// Matrices that share their inputs, stacked, `[outputs, inputs]`, and their biases.
    type Matrix: Debug;
    /// Gains of a norm, and what is added to its mean square.
    type Norm: Debug;
    /// One layer's keys and values of one session.
    type Kv: Debug;
    /// What all layers of a step share: where each run's rows stand.
    type Step;

    /// Loads matrices that share their inputs as one. `importance` says how much an error of each input's
    /// weight counts where 4-bit codes are chosen, or nothing: see [`crate::quantise`].
    ///
    /// # Errors
    /// When one is missing, misshapen or of an unknown type, or there is no memory.
    fn matrix(
        &self,
        checkpoint: &Checkpoint,
        stacked: &Stacked,
        importance: &[f32],
        weights: WeightType,
    ) -> Result<Self::Matrix>;

    /// A matrix of rows that are integers already, and its bias, one an output.
    ///
    /// # Errors
    /// When there is no memory.
    fn coded_matrix(
        &self,
        rows: &[CodedRow],
        inputs: usize,
        bias: &[f32],
        weights: WeightType,
    ) -> Result<Self::Matrix>;

    /// Bytes that a matrix takes.
    fn matrix_bytes(matrix: &Self::Matrix) -> u64;

    /// A norm of these gains.
    ///
    /// # Errors
    /// When there is no memory.
    fn norm(&self, gains: Vec<f32>, eps: f64) -> Result<Self::Norm>;

    /// A layer's keys and values, of no positions yet.
    fn kv(&self, heads: Heads, kv: KvType, memory: &KvMemory) -> AnyLayerKv;

    /// A layer's keys and values, where they are this backend's.
    fn own_kv(kv: &mut AnyLayerKv) -> Option<&mut Self::Kv>;

    /// What all layers of a step with these runs share. `inverse_frequencies` are those of
    /// [`tandem_shape::Rope`], `kv` the type of keys and values.
    ///
    /// # Errors
    /// When there is no memory.
    fn step(
        &self,
        heads: Heads,
        inverse_frequencies: &[f32],
        kv: KvType,
        runs: &[Run],
    ) -> Result<Self::Step>;

    /// Takes values in, `[rows, width]`.
    ///
    /// # Errors
    /// When there is no memory.
    fn rows(&self, values: Vec<f32>, width: usize) -> Result<Self::Rows>;

    /// Gives them out.
    ///
    /// # Errors
    /// When there is no memory.
    fn values(&self, rows: Self::Rows) -> Result<Vec<f32>>;

    /// Gives a copy of them out.
    ///
    /// # Errors
    /// When there is no memory.
    fn copied(&self, rows: &Self::Rows) -> Result<Vec<f32>>;

    /// `x / sqrt(mean(x²) + eps) · gain` of each row (RMS norm, arXiv 1910.07467).
    ///
    /// # Errors
    /// When the backend fails.
    fn normalise(&self, norm: &Self::Norm, rows: &Self::Rows, out: &mut Self::Rows) -> Result<()>;

    /// The same of every query head and every key head, in place; `norms` are theirs.
    ///
    /// # Errors
    /// When the backend fails.
    fn normalise_heads(
        &self,
        norms: &[Self::Norm; 2],
        heads: Heads,
        query_key_value: &mut Self::Rows,
    ) -> Result<()>;

    /// `x · Wᵀ + b`.
    ///
    /// # Errors
    /// When the rows are not as wide as the matrix, or the backend fails.
    fn multiply(&self, matrix: &Self::Matrix, x: &Self::Rows, out: &mut Self::Rows) -> Result<()>;

    /// Rotates queries and keys to their positions, writes keys and values behind those of their run, of
    /// which there is one in `kv` each, and attends: grouped-query attention (arXiv 2305.13245),
    /// `[rows, heads · dim]`.
    ///
    /// # Errors
    /// When the backend fails.
    fn attend(
        &self,
        heads: Heads,
        query_key_value: &Self::Rows,
        step: &Self::Step,
        kv: &mut [&mut Self::Kv],
        out: &mut Self::Rows,
    ) -> Result<()>;

    /// `silu(gate) · up` of rows `[gate, up]` (SwiGLU, arXiv 2002.05202).
    ///
    /// # Errors
    /// When the backend fails.
    fn gate(&self, gate_up: &Self::Rows, out: &mut Self::Rows) -> Result<()>;

    /// Adds to the residual.
    ///
    /// # Errors
    /// When the backend fails.
    fn add(&self, term: &Self::Rows, residual: &mut Self::Rows) -> Result<()>;
}
