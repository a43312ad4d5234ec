//! The token embedding, left in its file: a row costs a page, not the table.

use crate::checkpoint::Checkpoint;
use crate::checkpoint::model_file::ModelFile;
use crate::checkpoint::stored_matrix::{StoredMatrix, codes_name};
use crate::error::{ModelError, Result};
use tandem_shape::WeightType;

/// A memory-mapped `[vocabulary, hidden]` table.
#[derive(Debug)]
pub struct Embedding {
    table: StoredMatrix,
    file: ModelFile,
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
            file: Self::file(checkpoint)?.clone(),
            vocabulary,
            hidden,
        })
    }

    /// The file that it stays in.
    ///
    /// # Errors
    /// When there is no table.
    pub fn file(checkpoint: &Checkpoint) -> Result<&ModelFile> {
        checkpoint
            .file_of(&codes_name(EMBEDDING))
            .or_else(|_| checkpoint.file_of(EMBEDDING))
    }

    /// Rows of `tokens`: `[tokens, hidden]` in f32.
    ///
    /// # Errors
    /// For an id outside the vocabulary, or a file that was written to since it was opened.
    pub fn rows(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.file.check()?;
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
