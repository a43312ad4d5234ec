//! A half's layers one at a time, over sequences that begin at position 0: how calibration looks at all
//! cuts of a model in one pass.

use crate::error::EngineError;
use tandem_model::Segment;
use tandem_shape::LayerRange;

/// The layers of a half, to be run one by one. Keeps nothing between calls.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a>(&'a Segment);

impl<'a> Layers<'a> {
    pub(crate) fn of(segment: &'a Segment) -> Self {
        Self(segment)
    }

    /// What the first layer is given for tokens: `[tokens, hidden]` row-major.
    ///
    /// # Errors
    /// For ids outside the vocabulary, a half that does not begin the model, or when the backend fails.
    pub fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        Ok(self.0.embed(tokens)?)
    }

    /// Runs one layer over the rows of a sequence from position 0 on, `[rows, hidden]` row-major, and
    /// returns the rows behind it.
    ///
    /// # Errors
    /// When the half does not hold the layer, the model cannot attend that far, or the backend fails.
    pub fn through(&self, layer: usize, values: &[f32]) -> Result<Vec<f32>, EngineError> {
        let config = self.0.config();
        let range = LayerRange::new(layer, layer + 1, config.layers)?.without_head();
        let rows = values.len() / config.hidden.max(1);
        let mut cache = self.0.kv_cache(range, rows)?;
        Ok(self.0.forward(values.to_vec(), &mut cache)?)
    }
}
