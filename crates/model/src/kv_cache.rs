//! Keys and values of the positions a session has run, for the layers of one segment.

use crate::config::ModelConfig;
use crate::error::{ModelError, Result};
use crate::layer_range::LayerRange;
use crate::precision::KvType;
use tch::{Device, Tensor};

/// A session's keys and values. Allocated whole; a page becomes resident when it is written.
#[derive(Debug)]
pub struct KvCache {
    range: LayerRange,
    layers: Vec<LayerKv>,
    capacity: usize,
    length: usize,
    bytes: u64,
}

/// One layer's keys and values, `[1, kv_heads, capacity, head_dim]` each.
#[derive(Debug)]
struct LayerKv {
    keys: Tensor,
    values: Tensor,
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
        let shape = [
            1,
            config.kv_heads as i64,
            capacity as i64,
            config.head_dim as i64,
        ];
        let layers = (0..range.len())
            .map(|_| {
                Ok(LayerKv {
                    keys: Tensor::f_empty(shape, (kv.kind(), device))?,
                    values: Tensor::f_empty(shape, (kv.kind(), device))?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            range,
            layers,
            capacity,
            length: 0,
            bytes: Self::bytes_for(config, range, capacity, kv),
        })
    }

    /// Bytes that a cache of this size takes once it is full.
    pub fn bytes_for(config: &ModelConfig, range: LayerRange, capacity: usize, kv: KvType) -> u64 {
        let row = config.kv_heads as u64 * config.head_dim as u64;
        2 * range.len() as u64 * capacity as u64 * row * kv.kind().elt_size_in_bytes() as u64
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

    /// Writes `keys` and `values`, `[count, kv_heads, head_dim]`, behind what layer `layer` (of
    /// the model) holds, and returns all of its keys and values, `[1, kv_heads, len + count,
    /// head_dim]`. [`KvCache::advance`] makes them part of the cache, once for all layers.
    pub(crate) fn extend(
        &mut self,
        layer: usize,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let count = keys.size().first().copied().unwrap_or(0);
        let start = self.length as i64;
        let kv = &mut self.layers[layer - self.range.start()];
        let write = |cache: &Tensor, rows: &Tensor| -> Result<Tensor> {
            cache
                .f_narrow(2, start, count)?
                .f_copy_(&rows.f_transpose(0, 1)?.f_unsqueeze(0)?)?;
            Ok(cache.f_narrow(2, 0, start + count)?)
        };
        Ok((write(&kv.keys, keys)?, write(&kv.values, values)?))
    }

    /// Makes `count` positions written by every layer part of the cache.
    pub(crate) fn advance(&mut self, count: usize) {
        self.length += count;
    }
}
