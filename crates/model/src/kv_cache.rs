//! Keys and values of the positions a session has run, for the layers of one segment.

mod integers;
mod layout;
mod packed;
mod tensors;

use crate::attention::Vectors;
use crate::error::{ModelError, Result};
pub(crate) use layout::{GROUP, PANEL};
pub(crate) use packed::{HeadRows, HeadRowsMut, PackedKv};
use tandem_shape::{KvType, LayerRange, ModelConfig};
use tch::Device;
pub(crate) use tensors::TensorKv;

/// A session's keys and values. Allocated whole; a page becomes resident when it is written.
#[derive(Debug)]
pub struct KvCache {
    range: LayerRange,
    layers: Vec<LayerKv>,
    kv: KvType,
    /// The loops that attend to it, where its layers are in plain memory.
    vectors: Option<Vectors>,
    capacity: usize,
    length: usize,
    bytes: u64,
}

/// One layer's keys and values.
#[derive(Debug)]
pub(crate) enum LayerKv {
    /// On a processor whose vectors [`crate::attention`] knows.
    Packed(PackedKv),
    /// Everywhere else.
    Tensors(TensorKv),
}

impl KvCache {
    /// Allocates room for `capacity` positions of the layers in `range`.
    pub(crate) fn new(
        config: &ModelConfig,
        range: LayerRange,
        capacity: usize,
        kv: KvType,
        device: Device,
    ) -> Result<Self> {
        let (heads, dim) = (config.kv_heads, config.head_dim);
        let vectors = match device {
            Device::Cpu if dim % 8 == 0 => Vectors::available(),
            _ => None,
        };
        let layer = |_| {
            if vectors.is_some() {
                return Ok(LayerKv::Packed(PackedKv::new(kv, heads, dim, capacity)?));
            }
            let tensors = TensorKv::new(kv, heads, dim, capacity, device)?;
            Ok(LayerKv::Tensors(tensors))
        };
        let layers = (0..range.len()).map(layer).collect::<Result<_>>()?;
        Ok(Self {
            range,
            layers,
            kv,
            vectors,
            capacity,
            length: 0,
            bytes: Self::bytes_for(config, range, capacity, kv),
        })
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
    pub(crate) fn check_room(&self, count: usize) -> Result<()> {
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

    /// The loops that attend to it; none where libtorch does.
    pub(crate) fn vectors(&self) -> Option<Vectors> {
        self.vectors
    }

    /// What layer `layer` (of the model) holds. Positions written behind the cache's become part
    /// of it by [`KvCache::advance`], once for all layers.
    pub(crate) fn layer(&mut self, layer: usize) -> &mut LayerKv {
        &mut self.layers[layer - self.range.start()]
    }

    /// Makes `count` positions written by every layer part of the cache.
    pub(crate) fn advance(&mut self, count: usize) {
        self.length += count;
    }
}
