//! The token embedding, left in its file: a row costs a page, not the table.

use crate::checkpoint::Checkpoint;
use crate::checkpoint::stored_matrix::StoredMatrix;
use crate::error::{ModelError, Result};
use tandem_shape::WeightType;

/// A memory-mapped `[vocabulary, hidden]` table.
#[derive(Debug)]
pub struct Embedding {
    table: StoredMatrix,
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
            // Floats stay floats; a package may have 8-bit integers.
            table: StoredMatrix::open(
                checkpoint,
                EMBEDDING,
                [vocabulary, hidden],
                WeightType::Int8,
            )?,
            vocabulary,
            hidden,
        })
    }

    /// Rows of `tokens`: `[tokens, hidden]` in f32.
    ///
    /// # Errors
    /// For an id outside the vocabulary.
    pub fn rows(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        let mut values = Vec::with_capacity(tokens.len() * self.hidden);
        for &id in tokens {
            if id as usize >= self.vocabulary {
                return Err(ModelError::TokenId {
                    id,
                    vocabulary: self.vocabulary,
                });
            }
            let id = id as usize;
            match &self.table {
                StoredMatrix::Floats(table) => table.append_row(id, self.hidden, &mut values),
                StoredMatrix::Codes(table) => {
                    table.row(id).append_weights(table.format(), &mut values);
                }
            }
        }
        Ok(values)
    }
}
