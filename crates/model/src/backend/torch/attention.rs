//! Attention by libtorch, on any device.

use super::kv::TensorKv;
use super::rotation::Rotation;
use crate::backend::{Heads, Run};
use crate::error::Result;
use tch::{Device, Kind, Tensor};

/// What all layers of a step share of one run.
#[derive(Debug)]
pub(crate) struct TorchRun {
    rotation: Rotation,
    /// `[group · rows, keys]`, 0 where a row attends and −∞ where it must not. A single row
    /// attends to everything and has none.
    mask: Option<Tensor>,
    /// The type that attention is computed in.
    kind: Kind,
    past: usize,
}

impl TorchRun {
    pub(super) fn new(
        heads: Heads,
        inverse_frequencies: &[f32],
        Run { rows, past }: Run,
        kind: Kind,
        device: Device,
    ) -> Result<Self> {
        let group = heads.heads / heads.kv_heads;
        let mask = match rows {
            1 => None,
            _ => Some(
                Tensor::f_full(
                    [rows as i64, (past + rows) as i64],
                    f64::NEG_INFINITY,
                    (kind, device),
                )?
                .f_triu_(past as i64 + 1)?
                .f_repeat([group as i64, 1])?,
            ),
        };
        Ok(Self {
            rotation: Rotation::new(inverse_frequencies, past, rows, kind, device)?,
            mask,
            kind,
            past,
        })
    }

    /// `qkv`: `[rows, heads + 2 · kv_heads, dim]`. Returns `[rows, heads · dim]`.
    pub(super) fn attend(&self, qkv: &Tensor, heads: Heads, kv: &mut TensorKv) -> Result<Tensor> {
        let [heads, kv_heads, dim] = [heads.heads, heads.kv_heads, heads.dim].map(|n| n as i64);
        let rows = qkv.size().first().copied().unwrap_or(0);
        let all = qkv.f_to_kind(self.kind)?;
        let value = all.f_narrow(1, heads + kv_heads, kv_heads)?;
        let query_key = all.f_narrow(1, 0, heads + kv_heads)?;
        let rotated = self.rotation.apply(&query_key)?;
        let query = rotated.f_narrow(1, 0, heads)?;
        let key = rotated.f_narrow(1, heads, kv_heads)?;
        let (keys, values) = kv.extend(self.past, &key, &value)?;
        // The query heads of a group become rows of their key head, so that no key is repeated.
        let group = heads / kv_heads;
        let query = query
            .f_view([rows, kv_heads, group, dim])?
            .f_permute([1, 2, 0, 3])?
            .f_reshape([1, kv_heads, group * rows, dim])?;
        let attended = Tensor::f_scaled_dot_product_attention(
            &query,
            &keys,
            &values,
            self.mask.as_ref(),
            0.0,
            false,
            None,
            false,
        )?;
        Ok(attended
            .f_view([kv_heads, group, rows, dim])?
            .f_permute([2, 0, 1, 3])?
            .f_reshape([rows, heads * dim])?)
    }
}
