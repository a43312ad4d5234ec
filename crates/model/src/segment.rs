//! A contiguous part of a model: a layer range, the first with the embedding, the last with norm
//! and head.

use crate::backend::Heads;
use crate::backend::choice::{AnyBackend, Backends};
use crate::backend::plain::Plain;
use crate::backend::torch::Torch;
use crate::checkpoint::Checkpoint;
use crate::decoder_layer::DecoderLayer;
use crate::embedding::Embedding;
use crate::error::{ModelError, Result};
use crate::kv_cache::{AnyLayerKv, KvCache, KvMemory, page_bytes};
use crate::quantise::input_squares::SquaresOfLayers;
use crate::stretch::{Head, SessionRows, Stretch};
use tandem_shape::{KvType, LayerRange, ModelConfig, Place, Precision, ShapeError};

/// The loaded layers of a model. Use it on one thread, see [`crate::ComputeThread`].
#[derive(Debug)]
pub struct Segment {
    config: ModelConfig,
    range: LayerRange,
    embedding: Option<Embedding>,
    stretches: Vec<AnyStretch>,
    head: Option<AnyHead>,
    inverse_frequencies: Vec<f32>,
    precision: Precision,
    kv_memory: KvMemory,
}

#[derive(Debug)]
enum AnyStretch {
    Plain(Stretch<Plain>),
    Torch(Stretch<Torch>),
}

#[derive(Debug)]
enum AnyHead {
    Plain(Head<Plain>),
    Torch(Head<Torch>),
}

impl Segment {
    /// Loads the layers of `range`, each in turn: what is resident beyond the segment itself is
    /// a few megabytes of the file, or one matrix as stored where libtorch does the products.
    ///
    /// `on_layer` is called after each loaded layer, for progress.
    ///
    /// # Errors
    /// When a tensor is missing, misshapen or of an unknown type, the precision names a layer
    /// that is not in the range, or the place cannot compute in it.
    pub fn load(
        checkpoint: &Checkpoint,
        config: &ModelConfig,
        range: LayerRange,
        precision: &Precision,
        place: Place,
        on_layer: impl FnMut(usize),
    ) -> Result<Self> {
        let backends = Backends::open(place, config.head_dim)?;
        Self::load_with(checkpoint, config, range, precision, backends, on_layer)
    }

    /// The same with these backends.
    pub(crate) fn load_with(
        checkpoint: &Checkpoint,
        config: &ModelConfig,
        range: LayerRange,
        precision: &Precision,
        backends: Backends,
        mut on_layer: impl FnMut(usize),
    ) -> Result<Self> {
        let scheme = &precision.weights;
        scheme.check_within(range)?;
        let mut squares = SquaresOfLayers::new(checkpoint, config);
        let mut stretches = Vec::new();
        for number in range.start()..range.end() {
            let weights = scheme.of_layer(number);
            let squares = squares.of_layer(number, weights)?;
            match backends.of(weights)? {
                AnyBackend::Plain(own) => {
                    let layer =
                        DecoderLayer::load(&own, checkpoint, config, number, &squares, weights)?;
                    match stretches.last_mut() {
                        Some(AnyStretch::Plain(stretch)) => stretch.push(layer),
                        _ => stretches.push(AnyStretch::Plain(Stretch::new(own, layer))),
                    }
                }
                AnyBackend::Torch(own) => {
                    let layer =
                        DecoderLayer::load(&own, checkpoint, config, number, &squares, weights)?;
                    match stretches.last_mut() {
                        Some(AnyStretch::Torch(stretch)) => stretch.push(layer),
                        _ => stretches.push(AnyStretch::Torch(Stretch::new(own, layer))),
                    }
                }
            }
            on_layer(number);
        }
        let head = |weights| {
            Ok::<_, ModelError>(match backends.of(weights)? {
                AnyBackend::Plain(own) => {
                    AnyHead::Plain(Head::load(own, checkpoint, config, weights)?)
                }
                AnyBackend::Torch(own) => {
                    AnyHead::Torch(Head::load(own, checkpoint, config, weights)?)
                }
            })
        };
        let embedding = || Embedding::open(checkpoint, config.vocabulary, config.hidden);
        let embedding = range.is_first().then(embedding).transpose()?;
        let head = range.is_last().then(|| head(scheme.of_head()));
        let head = head.transpose()?;
        // All of it is of one state of the files.
        checkpoint.check()?;
        Ok(Self {
            config: config.clone(),
            range,
            embedding,
            stretches,
            head,
            inverse_frequencies: config.rope.inverse_frequencies(config.head_dim),
            kv_memory: KvMemory::new(page_bytes(config, precision.kv())),
            precision: precision.clone(),
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
        let head = match &self.head {
            Some(AnyHead::Plain(head)) => head.bytes(),
            Some(AnyHead::Torch(head)) => head.bytes(),
            None => 0,
        };
        let layers = self.stretches.iter().map(|stretch| match stretch {
            AnyStretch::Plain(stretch) => stretch.bytes(),
            AnyStretch::Torch(stretch) => stretch.bytes(),
        });
        layers.sum::<u64>() + head
    }

    /// Whether a row comes to the same bits wherever it runs and whatever runs with it: where all is computed by our own
    /// loops.
    pub fn is_reproducible(&self) -> bool {
        let is_plain = |stretch: &AnyStretch| matches!(stretch, AnyStretch::Plain(_));
        self.stretches.iter().all(is_plain) && !matches!(self.head, Some(AnyHead::Torch(_)))
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
        let kv = self.precision.kv();
        let layers = (range.start()..range.end()).map(|layer| self.layer_kv(layer, kv));
        let layers = layers.collect::<Result<_>>()?;
        Ok(KvCache::new(range, capacity, kv, layers, &self.kv_memory))
    }

    fn layer_kv(&self, layer: usize, kv: KvType) -> Result<AnyLayerKv> {
        let heads = Heads::of(&self.config);
        let memory = &self.kv_memory;
        let found = self.stretches.iter().find_map(|stretch| match stretch {
            AnyStretch::Plain(s) => s.has(layer).then(|| s.kv(heads, kv, memory)),
            AnyStretch::Torch(s) => s.has(layer).then(|| s.kv(heads, kv, memory)),
        });
        found.ok_or_else(|| self.lacks("such layer"))
    }

    /// Bytes that a cache of these layers takes once it has so many positions.
    pub fn kv_bytes(&self, range: LayerRange, positions: usize) -> u64 {
        KvCache::bytes_for(&self.config, range, positions, self.precision.kv())
    }

    /// The memory that all caches take their pages from.
    pub fn kv_memory(&self) -> &KvMemory {
        &self.kv_memory
    }

    /// Embeds tokens: `[tokens, hidden]`.
    ///
    /// # Errors
    /// For an id outside the vocabulary, or a segment that does not begin the model.
    pub fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        let embedding = self.embedding.as_ref();
        embedding
            .ok_or_else(|| self.lacks("embedding"))?
            .rows(tokens)
    }

    /// Runs the cache's layers over `hidden`, `[rows, hidden]`, at the positions behind
    /// the cache's, and returns the residual stream after them, of the same shape.
    ///
    /// When it fails the cache is as it was.
    ///
    /// # Errors
    /// As [`Segment::forward_all`] says.
    pub fn forward(&self, hidden: Vec<f32>, cache: &mut KvCache) -> Result<Vec<f32>> {
        let rows = hidden.len() / self.config.hidden.max(1);
        self.forward_all(hidden, &mut [SessionRows { cache, rows }])
    }

    /// The same for rows of several sessions at once, one session's after the other's. Their caches end at the
    /// same layer and may begin at different ones: sessions come in the order of their first layers, and share
    /// the layers that they share. On the plain backend a row's bits do not depend on its company.
    ///
    /// When it fails the caches are as they were.
    ///
    /// # Errors
    /// When there are not so many rows of this width, the caches hold other layers than this segment or come in
    /// another order, one has no room, or the backend fails.
    pub fn forward_all(
        &self,
        hidden: Vec<f32>,
        sessions: &mut [SessionRows<'_>],
    ) -> Result<Vec<f32>> {
        let rows = sessions
            .iter()
            .fold(0usize, |all, session| all.saturating_add(session.rows));
        if hidden.len() != rows.saturating_mul(self.config.hidden) {
            return Err(ModelError::RowShape {
                rows,
                hidden: self.config.hidden,
                found: hidden.len(),
            });
        }
        let Some(first) = sessions.first().map(|session| session.cache.range()) else {
            return Ok(hidden);
        };
        let mut layer = first.start();
        for session in sessions.iter() {
            let range = session.cache.range();
            self.check_holds(range)?;
            session.cache.check_room(session.rows)?;
            if range.end() != first.end() || range.start() < layer {
                return Err(ModelError::OtherCache);
            }
            layer = range.start();
        }
        let values = self.layers_with_room(hidden, sessions);
        for session in sessions {
            match values {
                Ok(_) => session.cache.advance(session.rows),
                Err(_) => session.cache.truncate(session.cache.len()),
            }
        }
        values
    }

    /// Runs layers of sessions that are in the order of their first ones, in pages that are taken here.
    fn layers_with_room(
        &self,
        hidden: Vec<f32>,
        sessions: &mut [SessionRows<'_>],
    ) -> Result<Vec<f32>> {
        for session in sessions.iter_mut() {
            session.cache.make_room(session.rows)?;
        }
        match sessions {
            [] => Ok(hidden),
            [first, .., last] if first.cache.range() != last.cache.range() => {
                self.layers_in_legs(first.cache.range(), &hidden, sessions)
            }
            [first, ..] => self.layers(first.cache.range(), hidden, sessions),
        }
    }

    /// Runs layers whose sessions begin at several of them: from one such layer to the next, with those that
    /// have begun.
    fn layers_in_legs(
        &self,
        whole: LayerRange,
        hidden: &[f32],
        sessions: &mut [SessionRows<'_>],
    ) -> Result<Vec<f32>> {
        let mut values = Vec::with_capacity(hidden.len());
        let mut layer = whole.start();
        let mut joined = 0;
        while joined < sessions.len() {
            let begins_here = |session: &&SessionRows<'_>| session.cache.range().start() == layer;
            joined += sessions[joined..].iter().take_while(begins_here).count();
            let rows: usize = sessions[..joined].iter().map(|session| session.rows).sum();
            values.extend_from_slice(&hidden[values.len()..rows * self.config.hidden]);
            let next = sessions.get(joined);
            let next = next.map_or(whole.end(), |session| session.cache.range().start());
            let leg = LayerRange::new(layer, next, self.config.layers)?;
            values = self.layers(leg, values, &mut sessions[..joined])?;
            layer = next;
        }
        Ok(values)
    }

    /// Runs the layers of `range` over the rows of these sessions.
    fn layers(
        &self,
        range: LayerRange,
        mut values: Vec<f32>,
        sessions: &mut [SessionRows<'_>],
    ) -> Result<Vec<f32>> {
        if values.is_empty() {
            return Ok(values);
        }
        for stretch in &self.stretches {
            let (config, frequencies) = (&self.config, &self.inverse_frequencies);
            values = match stretch {
                AnyStretch::Plain(stretch) => {
                    stretch.forward(config, frequencies, range, values, sessions)?
                }
                AnyStretch::Torch(stretch) => {
                    stretch.forward(config, frequencies, range, values, sessions)?
                }
            };
        }
        Ok(values)
    }

    fn check_holds(&self, range: LayerRange) -> Result<()> {
        if self.range.contains(range) {
            Ok(())
        } else {
            Err(ModelError::Shape(ShapeError::LayerRange {
                start: range.start(),
                end: range.end(),
                layers: self.range.end(),
            }))
        }
    }

    /// Logits after the last `count` rows of `hidden`, `[count, vocabulary]`.
    ///
    /// # Errors
    /// For a segment that does not end the model, fewer rows, or when the backend fails.
    pub fn logits(&self, hidden: &[f32], count: usize) -> Result<Vec<f32>> {
        let head = self.head.as_ref().ok_or_else(|| self.lacks("head"))?;
        let width = self.config.hidden;
        let values = count.checked_mul(width);
        let first = values.and_then(|values| hidden.len().checked_sub(values));
        let last = first.map(|first| hidden[first..].to_vec());
        let last = last.ok_or(ModelError::RowShape {
            rows: count,
            hidden: width,
            found: hidden.len(),
        })?;
        match head {
            AnyHead::Plain(head) => head.logits(last, width),
            AnyHead::Torch(head) => head.logits(last, width),
        }
    }

    fn lacks(&self, part: &'static str) -> ModelError {
        ModelError::NoSuchPart {
            start: self.range.start(),
            end: self.range.end(),
            part,
        }
    }
}
