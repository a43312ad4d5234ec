//! Keys and values of the positions a session has run, for the layers of one segment.

mod integers;
mod layout;
mod packed;
mod pages;

use crate::backend::torch::TensorKv;
use crate::error::{ModelError, Result};
pub(crate) use layout::{GROUP, PANEL};
pub(crate) use packed::{PackedKv, Panel, PanelMut};
#[cfg_attr(
    not(feature = "torch"),
    allow(unused_imports, reason = "tensors are counted by it")
)]
pub(crate) use pages::InUse;
pub use pages::KvMemory;
use tandem_shape::{KvType, LayerRange, ModelConfig};

/// A session's keys and values, in pages that are taken as positions are run and given back as they are
/// forgotten.
#[derive(Debug)]
pub struct KvCache {
    range: LayerRange,
    layers: Vec<AnyLayerKv>,
    kv: KvType,
    capacity: usize,
    length: usize,
    /// Pages of every layer.
    pages: usize,
    memory: KvMemory,
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

impl AnyLayerKv {
    /// Takes pages, or gives them back, so that there are so many.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn set_pages(&mut self, pages: usize) -> Result<()> {
        match self {
            Self::Packed(kv) => kv.set_pages(pages),
            Self::Tensors(kv) => kv.set_pages(pages),
        }
    }
}

impl KvCache {
    /// A cache for up to `capacity` positions of the layers in `range`. `layers` holds each, in the type `kv` and
    /// without pages.
    pub(crate) fn new(
        range: LayerRange,
        capacity: usize,
        kv: KvType,
        layers: Vec<AnyLayerKv>,
        memory: &KvMemory,
    ) -> Self {
        Self {
            range,
            layers,
            kv,
            capacity,
            length: 0,
            pages: 0,
            memory: memory.clone(),
        }
    }

    /// Bytes that so many positions of these layers take: room is made for 32 positions at a time.
    pub fn bytes_for(config: &ModelConfig, range: LayerRange, positions: usize, kv: KvType) -> u64 {
        let pages = positions.div_ceil(PANEL) as u64 * range.len() as u64;
        pages * page_bytes(config, kv) as u64
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

    /// Bytes of the pages that are held.
    pub fn bytes(&self) -> u64 {
        (self.pages * self.layers.len()) as u64 * self.memory.page_bytes()
    }

    /// Forgets all positions from `length` on, and gives back their pages; where that takes memory that a device has
    /// not, they stay until there is. A longer length than there is forgets nothing.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
        let pages = self.length.div_ceil(PANEL);
        for layer in &mut self.layers {
            // What cannot be given back now is used again, or given back next time.
            let _ = layer.set_pages(pages);
        }
        self.pages = pages;
    }

    /// Takes the pages that `count` more positions need.
    ///
    /// # Errors
    /// When there is no memory. What was taken stays until [`KvCache::truncate`].
    pub(crate) fn make_room(&mut self, count: usize) -> Result<()> {
        let pages = (self.length + count).div_ceil(PANEL);
        if pages > self.pages {
            for layer in &mut self.layers {
                layer.set_pages(pages)?;
            }
            self.pages = pages;
        }
        Ok(())
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

/// Bytes of a page: 32 positions of a layer.
pub(crate) fn page_bytes(config: &ModelConfig, kv: KvType) -> usize {
    2 * PANEL * config.kv_heads * kv.row_bytes(config.head_dim)
}
