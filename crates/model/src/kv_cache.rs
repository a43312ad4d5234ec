//! Keys and values of the positions a session has run, for the layers of one segment.

mod integers;
mod layout;
mod packed;

use crate::backend::torch::TensorKv;
use crate::error::{ModelError, Result};
pub(crate) use layout::{GROUP, PANEL};
pub(crate) use packed::{HeadPanels, KvPanels, PackedKv, Panel};
use tandem_shape::{KvType, LayerRange, ModelConfig};

/// A session's keys and values. Allocated whole; a page becomes resident when it is written.
#[derive(Debug)]
pub struct KvCache {
    range: LayerRange,
    layers: Vec<AnyLayerKv>,
    kv: KvType,
    capacity: usize,
    length: usize,
    bytes: u64,
}

/// One layer's keys and values.
#[derive(Debug)]
pub(crate) enum AnyLayerKv {
    /// In plain memory, where our loops attend.
    Packed(PackedKv),
    /// As tensors, where libtorch does.
    #[cfg_attr(not(feature = "torch"), allow(dead_code, reason = "nothing makes one"))]
    Tensors(TensorKv),
}

impl KvCache {
    /// A cache for `capacity` positions of the layers in `range`. `layers` is the memory of each, made for as
    /// many positions in the type `kv`.
    pub(crate) fn new(
        config: &ModelConfig,
        range: LayerRange,
        capacity: usize,
        kv: KvType,
        layers: Vec<AnyLayerKv>,
    ) -> Self {
        Self {
            range,
            layers,
            kv,
            capacity,
            length: 0,
            bytes: Self::bytes_for(config, range, capacity, kv),
        }
    }

    /// Bytes that a cache of this size takes once it is full: room is made for 32 positions at a time.
    pub fn bytes_for(config: &ModelConfig, range: LayerRange, capacity: usize, kv: KvType) -> u64 {
        let rows = capacity.next_multiple_of(PANEL) as u64 * config.kv_heads as u64;
        2 * range.len() as u64 * rows * kv.row_bytes(config.head_dim) as u64
    }

    /// The layers this holds.
    pub fn range(&self) -> LayerRange {
        self.range
    }

    /// Positions written.
    pub fn len(&self) -> usize {
        self.length
    }

    /// True before the first position.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Positions there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Forgets all positions from `length` on. A longer length than there is changes nothing.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Refuses positions that there is no room for.
    ///
    /// # Errors
    /// When the cache would be longer than its capacity.
    pub fn check_room(&self, count: usize) -> Result<()> {
        let position = self.length + count;
        if position > self.capacity {
            return Err(ModelError::ContextFull {
                position,
                capacity: self.capacity,
            });
        }
        Ok(())
    }

    /// What keys and values are held in.
    pub(crate) fn kv_type(&self) -> KvType {
        self.kv
    }

    /// What layer `layer` (of the model) holds. Positions written behind the cache's become part
    /// of it by [`KvCache::advance`], once for all layers.
    pub(crate) fn layer(&mut self, layer: usize) -> &mut AnyLayerKv {
        &mut self.layers[layer - self.range.start()]
    }

    /// Makes `count` positions written by every layer part of the cache.
    pub(crate) fn advance(&mut self, count: usize) {
        self.length += count;
    }
}
