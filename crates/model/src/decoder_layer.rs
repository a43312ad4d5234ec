//! One decoder layer: attention and MLP, each behind a norm and added to the residual.

use crate::backend::{Backend, Heads};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::matrices::{Input, Stacked};
use crate::quantise::input_squares::InputSquares;
use std::ops::ControlFlow;
use tandem_shape::{ModelConfig, Norms, WeightType};

/// A layer, as a backend holds it.
#[derive(Debug)]
pub(crate) struct DecoderLayer<B: Backend> {
    number: usize,
    heads: Heads,
    before_attention: B::Norm,
    query_key_value: B::Matrix,
    /// Of each query head and each key head.
    query_key_norms: Option<[B::Norm; 2]>,
    attention_output: B::Matrix,
    before_mlp: B::Norm,
    gate_up: B::Matrix,
    down: B::Matrix,
}

/// Rows between the operations of a layer, which one layer after the other writes to.
#[derive(Debug)]
pub(crate) struct Scratch<B: Backend> {
    normalised: B::Rows,
    query_key_value: B::Rows,
    attended: B::Rows,
    gate_up: B::Rows,
    gated: B::Rows,
    term: B::Rows,
}

/// Sees what each matrix of a layer is about to be given, and may end the layer there.
pub(crate) type Observer<'a, B> =
    dyn FnMut(Input, &<B as Backend>::Rows) -> Result<ControlFlow<()>> + 'a;

/// An observer that nothing interests.
pub(crate) fn nobody<R>(_: Input, _: &R) -> Result<ControlFlow<()>> {
    Ok(ControlFlow::Continue(()))
}

impl<B: Backend> Default for Scratch<B> {
    fn default() -> Self {
        Self {
            normalised: B::Rows::default(),
            query_key_value: B::Rows::default(),
            attended: B::Rows::default(),
            gate_up: B::Rows::default(),
            gated: B::Rows::default(),
            term: B::Rows::default(),
        }
    }
}

impl<B: Backend> DecoderLayer<B> {
    pub(crate) fn load(
        backend: &B,
        checkpoint: &Checkpoint,
        config: &ModelConfig,
        number: usize,
        squares: &InputSquares,
        weights: WeightType,
    ) -> Result<Self> {
        let names = config.architecture.family().norms;
        let norm = |part: &str, size: usize| {
            let gains = checkpoint.vector(&Norms::tensor(part, number), size)?;
            backend.norm(gains, config.rms_norm_eps)
        };
        let matrix = |stacked: Stacked| {
            let importance = squares.of(stacked.input);
            backend.matrix(checkpoint, &stacked, importance, weights)
        };
        Ok(Self {
            number,
            heads: Heads::of(config),
            before_attention: norm(names.before_attention, config.hidden)?,
            query_key_value: matrix(Stacked::query_key_value(config, number))?,
            query_key_norms: if config.qk_norm {
                Some([
                    norm(names.query, config.head_dim)?,
                    norm(names.key, config.head_dim)?,
                ])
            } else {
                None
            },
            attention_output: matrix(Stacked::attention_output(config, number))?,
            before_mlp: norm(names.before_mlp, config.hidden)?,
            gate_up: matrix(Stacked::gate_up(config, number))?,
            down: matrix(Stacked::down(config, number))?,
        })
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Bytes of its matrices.
    pub(crate) fn bytes(&self) -> u64 {
        let matrices = [
            &self.query_key_value,
            &self.attention_output,
            &self.gate_up,
            &self.down,
        ];
        matrices.into_iter().map(B::matrix_bytes).sum()
    }

    /// The matrix that an input is multiplied with; none where that is not a layer's.
    pub(crate) fn matrix_mut(&mut self, input: Input) -> Option<&mut B::Matrix> {
        match input {
            Input::Attention => Some(&mut self.query_key_value),
            Input::Attended => Some(&mut self.attention_output),
            Input::Mlp => Some(&mut self.gate_up),
            Input::Gated => Some(&mut self.down),
            Input::Head => None,
        }
    }

    /// Adds this layer's two terms to the residual, `[rows, hidden]`: rows of one session or of several,
    /// as `step` was made for, with keys and values in `kv`, one a run.
    pub(crate) fn forward(
        &self,
        backend: &B,
        residual: &mut B::Rows,
        step: &B::Step,
        kv: &mut [&mut B::Kv],
        scratch: &mut Scratch<B>,
        observe: &mut Observer<'_, B>,
    ) -> Result<()> {
        let s = scratch;
        backend.normalise(&self.before_attention, residual, &mut s.normalised)?;
        if observe(Input::Attention, &s.normalised)?.is_break() {
            return Ok(());
        }
        backend.multiply(&self.query_key_value, &s.normalised, &mut s.query_key_value)?;
        if let Some(norms) = &self.query_key_norms {
            backend.normalise_heads(norms, self.heads, &mut s.query_key_value)?;
        }
        let (projected, attended) = (&s.query_key_value, &mut s.attended);
        backend.attend(self.heads, projected, step, kv, attended)?;
        if observe(Input::Attended, &s.attended)?.is_break() {
            return Ok(());
        }
        backend.multiply(&self.attention_output, &s.attended, &mut s.term)?;
        backend.add(&s.term, residual)?;

        backend.normalise(&self.before_mlp, residual, &mut s.normalised)?;
        if observe(Input::Mlp, &s.normalised)?.is_break() {
            return Ok(());
        }
        backend.multiply(&self.gate_up, &s.normalised, &mut s.gate_up)?;
        backend.gate(&s.gate_up, &mut s.gated)?;
        if observe(Input::Gated, &s.gated)?.is_break() {
            return Ok(());
        }
        backend.multiply(&self.down, &s.gated, &mut s.term)?;
        backend.add(&s.term, residual)
    }
}
