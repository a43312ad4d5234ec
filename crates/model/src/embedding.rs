//! The token embedding, left in its file: a row costs a page, not the table.

use crate::checkpoint::{Checkpoint, StoredTensor};
use crate::error::{ModelError, Result};
use half::{bf16, f16};
use tch::{Device, Kind, Tensor};

/// A memory-mapped `[vocabulary, hidden]` table.
#[derive(Debug)]
pub struct Embedding {
    table: StoredTensor,
    vocabulary: usize,
    hidden: usize,
}

/// The table's name in a checkpoint.
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";

impl Embedding {
    /// Maps the table.
    ///
    /// # Errors
    /// When it is missing or misshapen.
    pub fn open(checkpoint: &Checkpoint, vocabulary: usize, hidden: usize) -> Result<Self> {
        Ok(Self {
            table: checkpoint.tensor(EMBEDDING, &[vocabulary, hidden])?,
            vocabulary,
            hidden,
        })
    }

    /// Rows of `tokens`: `[tokens, hidden]` in f32 on `device`.
    ///
    /// # Errors
    /// For an id outside the vocabulary.
    pub fn rows(&self, tokens: &[u32], device: Device) -> Result<Tensor> {
        let mut values = Vec::with_capacity(tokens.len() * self.hidden);
        for &id in tokens {
            if id as usize >= self.vocabulary {
                return Err(ModelError::TokenId {
                    id,
                    vocabulary: self.vocabulary,
                });
            }
            self.append_row(id as usize, &mut values);
        }
        let shape = [tokens.len() as i64, self.hidden as i64];
        Ok(Tensor::f_from_slice(&values)?
            .f_view(shape)?
            .f_to_device(device)?)
    }

    // The format promises no alignment worth having, hence bytes and not slices of values.
    fn append_row(&self, id: usize, values: &mut Vec<f32>) {
        let width = if self.table.kind == Kind::Float { 4 } else { 2 };
        let length = self.hidden * width;
        let row = &self.table.bytes()[id * length..(id + 1) * length];
        match self.table.kind {
            Kind::Half => values.extend(
                row.chunks_exact(2)
                    .map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()),
            ),
            Kind::BFloat16 => values.extend(
                row.chunks_exact(2)
                    .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()),
            ),
            _ => values.extend(
                row.chunks_exact(4)
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            ),
        }
    }
}
