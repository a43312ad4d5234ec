//! Rows of many sequences at one cut, moved on layer by layer: all cuts of a model are seen in one pass,
//! and what is held does not grow with the model's depth.

use crate::error::Result;
use tandem_engine::Layers;

/// The sequences' rows in front of a layer.
#[derive(Debug)]
pub(super) struct Walk {
    /// Layers that the rows have been through.
    pub(super) cut: usize,
    /// Of the chunks to learn from, one behind the other: `[tokens, hidden]`.
    pub(super) learn: Vec<f32>,
    /// Of each sequence that is kept back: `[tokens, hidden]`.
    pub(super) check: Vec<Vec<f32>>,
    /// Values of a chunk to learn from.
    chunk: usize,
}

impl Walk {
    /// Begins in front of the first layer. All chunks to learn from are of one length.
    pub(super) fn begin(
        layers: Layers<'_>,
        learn: &[Vec<u32>],
        check: &[Vec<u32>],
    ) -> Result<Self> {
        let embed = |chunk: &Vec<u32>| layers.embed(chunk);
        let check = check
            .iter()
            .map(embed)
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let mut all = Vec::new();
        for chunk in learn {
            all.extend(embed(chunk)?);
        }
        Ok(Self {
            cut: 0,
            chunk: all.len() / learn.len().max(1),
            learn: all,
            check,
        })
    }

    /// Goes through the next layer.
    pub(super) fn advance(&mut self, layers: Layers<'_>) -> Result<()> {
        if self.chunk > 0 {
            for rows in self.learn.chunks_exact_mut(self.chunk) {
                rows.copy_from_slice(&layers.through(self.cut, rows)?);
            }
        }
        for rows in &mut self.check {
            *rows = layers.through(self.cut, rows)?;
        }
        self.cut += 1;
        Ok(())
    }
}
