//! A decoder layer whose matrices are in plain memory, without libtorch.
//!
//! A decode step of a small model has some dozen small operations between the products of a layer. Each is
//! done in less than a microsecond, and takes libtorch several; meanwhile workers wait, or fall asleep and
//! have to wake up for the next product. So here nothing lies between the products but loops.
//! Each row is worked on by itself: it has the same bits whichever rows run with it.

use crate::attention::{Step, Vectors};
use crate::elementwise::for_each_row;
use crate::error::Result;
use crate::gemm::Panels;
use crate::kv_cache::PackedKv;
use crate::layer::Layer;
use crate::rope::Angles;

/// A layer.
pub(crate) struct PlainLayer<'a> {
    layer: &'a Layer,
    query_key_value: &'a Panels,
    output: &'a Panels,
    gate_up: &'a Panels,
    down: &'a Panels,
}

/// What all layers of a step share.
pub(crate) struct PlainStep<'a> {
    pub(crate) rows: usize,
    /// The rows' angles.
    pub(crate) angles: &'a Angles,
    /// Positions before the first row's.
    pub(crate) past: usize,
    pub(crate) vectors: Vectors,
    /// What one layer after the other writes to.
    pub(crate) scratch: Scratch,
}

/// Values between the products of a layer, a row after the other.
#[derive(Default)]
pub(crate) struct Scratch {
    /// `[rows, hidden]`.
    normalised: Vec<f32>,
    /// `[rows, heads + 2 · kv_heads, dim]`.
    query_key_value: Vec<f32>,
    /// `[rows, 2 · intermediate]`.
    gate_up: Vec<f32>,
    /// `[rows, intermediate]`.
    gated: Vec<f32>,
    /// `[rows, hidden]`.
    term: Vec<f32>,
}

impl<'a> PlainLayer<'a> {
    /// None where a matrix is libtorch's.
    pub(crate) fn of(layer: &'a Layer) -> Option<Self> {
        Some(Self {
            layer,
            query_key_value: layer.attention.query_key_value.panels()?,
            output: layer.attention.output.panels()?,
            gate_up: layer.mlp.gate_up.panels()?,
            down: layer.mlp.down.panels()?,
        })
    }

    pub(crate) fn number(&self) -> usize {
        self.layer.number()
    }

    /// Adds this layer's two terms to the residual, `[rows, hidden]`.
    pub(crate) fn forward(
        &self,
        residual: &mut [f32],
        step: &mut PlainStep<'_>,
        kv: &mut PackedKv,
    ) -> Result<()> {
        let (rows, vectors) = (step.rows, step.vectors);
        let hidden = residual.len() / rows.max(1);
        let scratch = &mut step.scratch;
        let normalised = &mut scratch.normalised;
        let before_attention = self.layer.attention_norm.plain();
        let before_mlp = self.layer.mlp_norm.plain();

        normalised.resize(residual.len(), 0.0);
        for_each_row(normalised, hidden, &|row, x| {
            x.copy_from_slice(&residual[row * hidden..][..hidden]);
            before_attention.normalise(vectors, x);
        });
        let qkv = &mut scratch.query_key_value;
        self.query_key_value.product_of(normalised, rows, qkv)?;
        self.normalise_heads(qkv, rows, vectors);
        let attended = Step {
            qkv,
            heads: self.layer.attention.heads.heads as usize,
            angles: step.angles,
            past: step.past,
        }
        .attend(kv, vectors);
        self.output.product_of(&attended, rows, &mut scratch.term)?;
        add(residual, &scratch.term, hidden);

        for_each_row(normalised, hidden, &|row, x| {
            x.copy_from_slice(&residual[row * hidden..][..hidden]);
            before_mlp.normalise(vectors, x);
        });
        let (gate_up, gated) = (&mut scratch.gate_up, &mut scratch.gated);
        self.gate_up.product_of(normalised, rows, gate_up)?;
        let width = gate_up.len() / rows.max(1);
        gated.resize(gate_up.len() / 2, 0.0);
        for_each_row(gated, width / 2, &|row, out| {
            vectors.gate(&gate_up[row * width..][..width], out);
        });
        self.down.product_of(gated, rows, &mut scratch.term)?;
        add(residual, &scratch.term, hidden);
        Ok(())
    }

    /// Queries and keys normalised, where the model does that.
    fn normalise_heads(&self, qkv: &mut [f32], rows: usize, vectors: Vectors) {
        let attention = &self.layer.attention;
        let Some((query_norm, key_norm)) = &attention.query_key_norm else {
            return;
        };
        let (query_norm, key_norm) = (query_norm.plain(), key_norm.plain());
        let dim = attention.heads.dim as usize;
        let queries = attention.heads.heads as usize * dim;
        let keys = attention.heads.kv_heads as usize * dim;
        for_each_row(qkv, qkv.len() / rows.max(1), &|_, row| {
            query_norm.normalise(vectors, &mut row[..queries]);
            key_norm.normalise(vectors, &mut row[queries..][..keys]);
        });
    }
}

fn add(residual: &mut [f32], term: &[f32], hidden: usize) {
    for_each_row(residual, hidden, &|row, residual| {
        let term = &term[row * hidden..][..hidden];
        residual.iter_mut().zip(term).for_each(|(r, t)| *r += t);
    });
}
