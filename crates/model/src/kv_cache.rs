//! Keys and values of the positions a session has run, for the layers of one segment.

mod integers;
mod layout;
mod packed;
mod pages;

use crate::backend::torch::{TensorKv, TensorPage};
use crate::error::{ModelError, Result};
pub(crate) use layout::{GROUP, PANEL};
pub(crate) use packed::{PackedKv, Panel, PanelMut};
#[cfg_attr(
    not(feature = "torch"),
    allow(unused_imports, reason = "tensors are counted by it")
)]
pub(crate) use pages::InUse;
pub use pages::KvMemory;
use pages::Page;
use std::sync::{Arc, Mutex, PoisonError};
use tandem_shape::{KvType, LayerRange, ModelConfig};

/// Positions that memory is taken for at a time, and that caches may have in common.
pub const PAGE_POSITIONS: usize = PANEL;

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

/// Keys and values of [`PAGE_POSITIONS`] positions of all layers of a cache, for others to begin with. Clones share
/// them.
#[derive(Debug, Clone)]
pub struct KvPage {
    range: LayerRange,
    layers: Vec<AnyPage>,
}

/// One layer's.
#[derive(Debug, Clone)]
pub(crate) enum AnyPage {
    /// The page itself.
    Packed(Arc<Page>),
    /// A copy: tensors that are attended to lie in one piece.
    #[cfg_attr(not(feature = "torch"), allow(dead_code, reason = "nothing makes one"))]
    Tensors(Arc<Mutex<TensorPage>>),
}

impl AnyLayerKv {
    /// A page whose positions are all written.
    ///
    /// # Errors
    /// When there is no memory.
    fn page(&self, page: usize) -> Result<AnyPage> {
        Ok(match self {
            Self::Packed(kv) => AnyPage::Packed(kv.page(page).ok_or(ModelError::OtherCache)?),
            Self::Tensors(kv) => AnyPage::Tensors(Arc::new(Mutex::new(kv.page(page)?))),
        })
    }

    /// Begins with a page that another cache has written, as the page of that number: behind those before it.
    ///
    /// # Errors
    /// When it is of another kind, or there is no memory.
    fn take_over(&mut self, number: usize, page: &AnyPage) -> Result<()> {
        match (self, page) {
            (Self::Packed(kv), AnyPage::Packed(page)) => kv.push(Arc::clone(page)),
            (Self::Tensors(kv), AnyPage::Tensors(page)) => {
                kv.put(number, &page.lock().unwrap_or_else(PoisonError::into_inner))?;
            }
            _ => return Err(ModelError::OtherCache),
        }
        Ok(())
    }

    /// Makes a page its own, to be written to.
    ///
    /// # Errors
    /// When there is no memory.
    fn own(&mut self, page: usize) -> Result<()> {
        match self {
            Self::Packed(kv) => kv.own(page),
            Self::Tensors(_) => Ok(()),
        }
    }

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

    /// Bytes of [`PAGE_POSITIONS`] positions of all layers.
    pub fn bytes_of_positions(&self) -> u64 {
        self.layers.len() as u64 * self.memory.page_bytes()
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

    /// A page whose positions are all written.
    ///
    /// # Errors
    /// When they are not, or there is no memory: pages of tensors are copies.
    pub fn page(&self, number: usize) -> Result<KvPage> {
        if (number + 1) * PANEL > self.length {
            return Err(ModelError::OtherCache);
        }
        let layers = self.layers.iter().map(|layer| layer.page(number));
        Ok(KvPage {
            range: self.range,
            layers: layers.collect::<Result<_>>()?,
        })
    }

    /// Begins, empty as it is, with pages that other caches have written: one behind the other, from position 0 on. They
    /// stay as they are, whatever this one does. It fails whole.
    ///
    /// # Errors
    /// When there are positions, or no room for these; when the pages are of other layers, or there is no memory.
    pub fn begin_with<'a>(
        &mut self,
        pages: impl ExactSizeIterator<Item = &'a KvPage>,
    ) -> Result<()> {
        self.check_room(pages.len() * PANEL)?;
        if !self.is_empty() {
            return Err(ModelError::OtherCache);
        }
        self.truncate(0);
        let begun = self.take_over(pages);
        if begun.is_err() {
            self.truncate(0);
        }
        begun
    }

    fn take_over<'a>(&mut self, pages: impl ExactSizeIterator<Item = &'a KvPage>) -> Result<()> {
        self.pages = pages.len();
        for layer in &mut self.layers {
            if let AnyLayerKv::Tensors(kv) = layer {
                kv.set_pages(pages.len())?;
            }
        }
        for (number, page) in pages.enumerate() {
            if page.range != self.range {
                return Err(ModelError::OtherCache);
            }
            for (layer, page) in self.layers.iter_mut().zip(&page.layers) {
                layer.take_over(number, page)?;
            }
            self.length += PANEL;
        }
        Ok(())
    }

    /// Whether pages that caches have in common take memory once.
    pub fn shares_pages(&self) -> bool {
        let is_packed = |layer: &AnyLayerKv| matches!(layer, AnyLayerKv::Packed(_));
        self.layers.iter().all(is_packed)
    }

    /// Takes the pages that `count` more positions need, and makes the one its own that they begin in.
    ///
    /// # Errors
    /// When there is no memory. What was taken stays until [`KvCache::truncate`].
    pub(crate) fn make_room(&mut self, count: usize) -> Result<()> {
        if count > 0 && !self.length.is_multiple_of(PANEL) {
            for layer in &mut self.layers {
                layer.own(self.length / PANEL)?;
            }
        }
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
