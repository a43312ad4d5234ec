//! A contiguous part of a model: a layer range, the first with the embedding, the last with norm
//! and head.

use crate::attention::StepGeometry;
use crate::attention::Vectors;
use crate::checkpoint::Checkpoint;
use crate::elementwise::for_each_row;
use crate::embedding::Embedding;
use crate::error::{ModelError, Result};
use crate::kinds::ComputeKind;
use crate::kv_cache::KvCache;
use crate::kv_cache::LayerKv;
use crate::layer::Layer;
use crate::linear::Linear;
use crate::matrices::Stacked;
use crate::norm::RmsNorm;
use crate::plain_layer::{PlainLayer, PlainStep, Scratch};
use crate::quantise::input_squares::{InputSquares, SquaresOfLayers};
use crate::rope::Angles;
use tandem_shape::{LayerRange, ModelConfig, Precision, ShapeError, WeightType};
use tch::{Device, Kind, Tensor};

/// The loaded layers of a model.
///
/// All methods make libtorch calls: use one segment, and everything it returned, on one thread
/// (see [`crate::no_grad`]).
#[derive(Debug)]
pub struct Segment {
    config: ModelConfig,
    range: LayerRange,
    embedding: Option<Embedding>,
    layers: Vec<Layer>,
    head: Option<Head>,
    inverse_frequencies: Vec<f32>,
    precision: Precision,
    device: Device,
}

#[derive(Debug)]
struct Head {
    norm: RmsNorm,
    matrix: Linear,
    kind: Kind,
}

impl Segment {
    /// Loads the layers of `range`, each in turn: what is resident beyond the segment itself is
    /// a few megabytes of the file, or one matrix as stored where libtorch does the products.
    ///
    /// `on_layer` is called after each loaded layer, for progress.
    ///
    /// # Errors
    /// When a tensor is missing, misshapen or of an unknown type, or the precision names a layer
    /// that is not in the range.
    pub fn load(
        checkpoint: &Checkpoint,
        config: &ModelConfig,
        range: LayerRange,
        precision: &Precision,
        device: Device,
        mut on_layer: impl FnMut(usize),
    ) -> Result<Self> {
        let scheme = &precision.weights;
        scheme.check_within(range)?;
        let mut squares = SquaresOfLayers::new(checkpoint, config);
        let layers = (range.start()..range.end())
            .map(|number| {
                let weights = scheme.of_layer(number);
                let squares = squares.of_layer(number, weights)?;
                let layer = Layer::load(checkpoint, config, number, &squares, weights, device)?;
                on_layer(number);
                Ok(layer)
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            config: config.clone(),
            range,
            embedding: match range.is_first() {
                true => Some(Embedding::open(
                    checkpoint,
                    config.vocabulary,
                    config.hidden,
                )?),
                false => None,
            },
            layers,
            head: match range.is_last() {
                true => Some(Head::load(checkpoint, config, scheme.of_head(), device)?),
                false => None,
            },
            inverse_frequencies: config.rope.inverse_frequencies(config.head_dim),
            precision: precision.clone(),
            device,
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The layers held.
    pub fn range(&self) -> LayerRange {
        self.range
    }

    /// Bytes that its matrices take. Norms are little, and the embedding is not in memory but mapped.
    pub fn weight_bytes(&self) -> u64 {
        let head = self.head.as_ref().map_or(0, |head| head.matrix.bytes());
        self.layers.iter().map(Layer::bytes).sum::<u64>() + head
    }

    /// A cache for `capacity` positions of the layers in `range`, which must lie within this
    /// segment's: a cloud that holds a whole model allocates only what a session's split needs.
    ///
    /// # Errors
    /// When the range is not within the segment, or the context is longer than the model attends.
    pub fn kv_cache(&self, range: LayerRange, capacity: usize) -> Result<KvCache> {
        self.check_holds(range)?;
        let limit = self.config.max_context();
        if capacity > limit {
            return Err(ModelError::ContextTooLong {
                asked: capacity,
                limit,
                why: match self.config.sliding_window {
                    Some(window) if window == limit => {
                        "the model's sliding window, which is not implemented"
                    }
                    _ => "the model's max_position_embeddings",
                },
            });
        }
        KvCache::new(
            &self.config,
            range,
            capacity,
            self.precision.kv(),
            self.device,
        )
    }

    /// Bytes of a full cache, see [`Segment::kv_cache`].
    pub fn kv_bytes(&self, range: LayerRange, capacity: usize) -> u64 {
        KvCache::bytes_for(&self.config, range, capacity, self.precision.kv())
    }

    /// Embeds tokens: `[tokens, hidden]` in f32.
    ///
    /// # Errors
    /// For an id outside the vocabulary, or a segment that does not begin the model.
    pub fn embed(&self, tokens: &[u32]) -> Result<Tensor> {
        let embedding = self
            .embedding
            .as_ref()
            .ok_or_else(|| self.lacks("embedding"))?;
        embedding.rows(tokens, self.device)
    }

    /// Makes a tensor of row-major values: `[rows, hidden]` in f32.
    ///
    /// # Errors
    /// When `values` is not that long.
    pub fn rows(&self, values: &[f32], rows: usize) -> Result<Tensor> {
        let hidden = self.config.hidden;
        if values.len() != rows * hidden {
            return Err(ModelError::RowShape {
                rows,
                hidden,
                found: values.len(),
            });
        }
        Ok(Tensor::f_from_slice(values)?
            .f_view([rows as i64, hidden as i64])?
            .f_to_device(self.device)?)
    }

    /// Runs the cache's layers over `hidden`, `[rows, hidden]` in f32, at the positions behind
    /// the cache's, and returns the residual stream after them, of the same shape.
    ///
    /// When it fails the cache is as it was.
    ///
    /// # Errors
    /// When the rows have another width, the cache has no room, or libtorch refuses.
    pub fn forward(&self, hidden: Tensor, cache: &mut KvCache) -> Result<Tensor> {
        let rows = hidden.size().first().copied().unwrap_or(0) as usize;
        self.check_holds(cache.range())?;
        cache.check_room(rows)?;
        if hidden.size() != [rows as i64, self.config.hidden as i64] {
            return Err(ModelError::RowShape {
                rows,
                hidden: self.config.hidden,
                found: hidden.numel(),
            });
        }
        let mut residual = hidden;
        if let Some(found) = self.forward_plain(&residual, rows, cache)? {
            cache.advance(rows);
            return Ok(found);
        }
        if rows > 0 && !cache.range().is_empty() {
            let geometry = StepGeometry::new(
                &self.config,
                &self.inverse_frequencies,
                cache,
                rows,
                self.device,
            )?;
            for layer in self.layers_of(cache.range()) {
                layer.forward(&mut residual, &geometry, cache)?;
            }
        }
        cache.advance(rows);
        Ok(residual)
    }

    /// [`Segment::forward`] without libtorch, where cache and matrices are in plain memory.
    fn forward_plain(
        &self,
        hidden: &Tensor,
        rows: usize,
        cache: &mut KvCache,
    ) -> Result<Option<Tensor>> {
        let layers: Option<Vec<_>> = self.layers_of(cache.range()).map(PlainLayer::of).collect();
        let layers = layers.filter(|layers| !layers.is_empty() && rows > 0);
        let (Some(layers), Some(vectors)) = (layers, cache.vectors()) else {
            return Ok(None);
        };
        let mut step = PlainStep {
            rows,
            angles: &Angles::new(&self.inverse_frequencies, cache.len(), rows),
            past: cache.len(),
            vectors,
            scratch: Scratch::default(),
        };
        let mut residual = crate::values(hidden)?;
        for layer in layers {
            match cache.layer(layer.number()) {
                LayerKv::Packed(kv) => layer.forward(&mut residual, &mut step, kv)?,
                LayerKv::Tensors(_) => return Err(ModelError::OtherCache),
            }
        }
        let shape = [rows as i64, self.config.hidden as i64];
        Ok(Some(Tensor::f_from_slice(&residual)?.f_view(shape)?))
    }

    fn check_holds(&self, range: LayerRange) -> Result<()> {
        match self.range.contains(range) {
            true => Ok(()),
            false => Err(ModelError::Shape(ShapeError::LayerRange {
                start: range.start(),
                end: range.end(),
                layers: self.range.end(),
            })),
        }
    }

    fn layers_of(&self, range: LayerRange) -> impl Iterator<Item = &Layer> {
        self.layers
            .iter()
            .filter(move |l| (range.start()..range.end()).contains(&l.number()))
    }

    /// Logits after the last `count` rows of `hidden`, `[count, vocabulary]`.
    ///
    /// # Errors
    /// For a segment that does not end the model.
    pub fn logits(&self, hidden: &Tensor, count: usize) -> Result<Vec<f32>> {
        let head = self.head.as_ref().ok_or_else(|| self.lacks("head"))?;
        let rows = hidden.size().first().copied().unwrap_or(0);
        let last = hidden.f_narrow(0, rows - count as i64, count as i64)?;
        if let Some(panels) = head.matrix.panels()
            && let Some(vectors) = Vectors::available()
        {
            let (mut x, norm) = (crate::values(&last)?, head.norm.plain());
            let width = self.config.hidden;
            for_each_row(&mut x, width, &|_, row| norm.normalise(vectors, row));
            let mut logits = Vec::new();
            panels.product_of(&x, count, &mut logits)?;
            return Ok(logits);
        }
        let x = head.norm.forward(&last)?.f_to_kind(head.kind)?;
        crate::values(&head.matrix.forward(&x)?.f_to_kind(Kind::Float)?)
    }

    fn lacks(&self, part: &'static str) -> ModelError {
        ModelError::NoSuchPart {
            start: self.range.start(),
            end: self.range.end(),
            part,
        }
    }
}

impl Head {
    fn load(
        checkpoint: &Checkpoint,
        config: &ModelConfig,
        weights: WeightType,
        device: Device,
    ) -> Result<Self> {
        let matrix = Stacked::head(config, checkpoint);
        Ok(Self {
            norm: RmsNorm::load(checkpoint, "model.norm", config.hidden, config, device)?,
            matrix: Linear::load(
                checkpoint,
                &matrix,
                &InputSquares::default(),
                weights,
                device,
            )?,
            kind: weights.kind(),
        })
    }
}
