//! One layer's keys and values in plain memory, as codes laid out the way attention reads them.

use super::integers::{eight_bits, four_bits};
use super::layout::{GROUP, PANEL};
use crate::error::{ModelError, Result};
use half::bf16;
use memmap2::MmapMut;
use std::fmt;
use tandem_shape::KvType;

/// The memory is zeros at first; a page becomes resident when it is written.
///
/// A head's keys lie in panels of 32 positions, `[panel][dimension][position]`, so that a query's
/// dimension meets whole vectors of keys; its values lie as `[position][dimension]`, so that a
/// position's weight meets whole vectors of values. Neither needs a sum across a vector, and both
/// take a new position without moving an old one.
pub(crate) struct PackedKv {
    kv: KvType,
    kv_heads: usize,
    head_dim: usize,
    /// Whole panels.
    capacity: usize,
    /// `[head][keys, values, their scales]`, each panel after panel, see [`Panel`].
    memory: MmapMut,
}

/// One layer's keys and values of one session, a head's in panels of [`PANEL`] positions. What attends reads
/// panel after panel, so that these may lie anywhere.
pub(crate) trait KvPanels: Sync {
    /// One head's panels, to be written to.
    type Head<'a>: HeadPanels + Send
    where
        Self: 'a;

    /// In which type they are held.
    fn kv_type(&self) -> KvType;

    /// Key and value heads.
    fn kv_heads(&self) -> usize;

    /// Values of a head.
    fn head_dim(&self) -> usize;

    /// A panel of a head.
    fn panel(&self, head: usize, panel: usize) -> Panel<'_>;

    /// All heads, for threads to share.
    fn heads_mut(&mut self) -> Vec<Self::Head<'_>>;
}

/// One head's panels, to be written to.
pub(crate) trait HeadPanels {
    /// One of them.
    fn panel_mut(&mut self, panel: usize) -> PanelMut<'_>;
}

/// [`PANEL`] positions of one head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panel<'a> {
    /// `[dimension][position]`; a byte holds two codes of 4 bits, the first in its lower half.
    pub(crate) keys: &'a [u8],
    /// `[position][dimension]`.
    pub(crate) values: &'a [u8],
    /// 8 bits: `[position]` in f32. 4 bits: `[group][scale, offset][position]` in bf16.
    key_scales: &'a [u8],
    /// 8 bits: `[position]` in f32. 4 bits: `[position][group][scale, offset]` in bf16.
    value_scales: &'a [u8],
}

/// The same, to be written to.
#[derive(Debug)]
pub(crate) struct PanelMut<'a> {
    kv: KvType,
    keys: &'a mut [u8],
    values: &'a mut [u8],
    key_scales: &'a mut [u8],
    value_scales: &'a mut [u8],
}

/// One head of a [`PackedKv`].
#[derive(Debug)]
pub(crate) struct PackedHead<'a> {
    kv: KvType,
    dim: usize,
    /// Keys, values, and the scales of both, of all positions.
    parts: [&'a mut [u8]; 4],
}

impl fmt::Debug for PackedKv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (heads, dim, capacity) = (self.kv_heads, self.head_dim, self.capacity);
        write!(f, "PackedKv({} in {capacity} x {heads} x {dim})", self.kv)
    }
}

impl PackedKv {
    /// Room for `capacity` positions, rounded up to whole panels.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn new(
        kv: KvType,
        kv_heads: usize,
        head_dim: usize,
        capacity: usize,
    ) -> Result<Self> {
        let capacity = capacity.next_multiple_of(PANEL);
        let bytes = kv_heads * capacity * 2 * kv.row_bytes(head_dim);
        let memory = MmapMut::map_anon(bytes.max(1))
            .map_err(|source| ModelError::Memory { bytes, source })?;
        Ok(Self {
            kv,
            kv_heads,
            head_dim,
            capacity,
            memory,
        })
    }

    /// Bytes of a head, and of its keys or values, and of their scales.
    fn sizes(&self) -> (usize, usize, usize) {
        let codes = self.capacity * self.kv.code_bytes(self.head_dim);
        let scales = self.capacity * self.kv.scale_bytes(self.head_dim);
        (2 * (codes + scales), codes, scales)
    }
}

impl KvPanels for PackedKv {
    type Head<'a> = PackedHead<'a>;

    fn kv_type(&self) -> KvType {
        self.kv
    }

    fn kv_heads(&self) -> usize {
        self.kv_heads
    }

    fn head_dim(&self) -> usize {
        self.head_dim
    }

    fn panel(&self, head: usize, panel: usize) -> Panel<'_> {
        let (all, codes, scales) = self.sizes();
        let (of_codes, of_scales) = panel_bytes(self.kv, self.head_dim);
        let first = head * all;
        let keys = first + panel * of_codes;
        let key_scales = first + 2 * codes + panel * of_scales;
        Panel {
            keys: &self.memory[keys..][..of_codes],
            values: &self.memory[keys + codes..][..of_codes],
            key_scales: &self.memory[key_scales..][..of_scales],
            value_scales: &self.memory[key_scales + scales..][..of_scales],
        }
    }

    fn heads_mut(&mut self) -> Vec<PackedHead<'_>> {
        let (all, codes, scales) = self.sizes();
        let (kv, dim) = (self.kv, self.head_dim);
        let head = |head| {
            let (keys, rest) = <[u8]>::split_at_mut(head, codes);
            let (values, rest) = rest.split_at_mut(codes);
            let (key_scales, value_scales) = rest.split_at_mut(scales);
            PackedHead {
                kv,
                dim,
                parts: [keys, values, key_scales, value_scales],
            }
        };
        self.memory.chunks_exact_mut(all.max(1)).map(head).collect()
    }
}

impl HeadPanels for PackedHead<'_> {
    fn panel_mut(&mut self, panel: usize) -> PanelMut<'_> {
        let (codes, scales) = panel_bytes(self.kv, self.dim);
        let [keys, values, key_scales, value_scales] = &mut self.parts;
        PanelMut {
            kv: self.kv,
            keys: &mut keys[panel * codes..][..codes],
            values: &mut values[panel * codes..][..codes],
            key_scales: &mut key_scales[panel * scales..][..scales],
            value_scales: &mut value_scales[panel * scales..][..scales],
        }
    }
}

/// Bytes of a panel's keys or values, and of their scales.
fn panel_bytes(kv: KvType, head_dim: usize) -> (usize, usize) {
    (
        PANEL * kv.code_bytes(head_dim),
        PANEL * kv.scale_bytes(head_dim),
    )
}

impl<'a> Panel<'a> {
    /// In 8 bits: each position's.
    pub(crate) fn key_scales(&self) -> &'a [f32] {
        bytemuck::cast_slice(self.key_scales)
    }

    /// In 8 bits: each position's.
    pub(crate) fn value_scales(&self) -> &'a [f32] {
        bytemuck::cast_slice(self.value_scales)
    }

    /// In 4 bits, as bits of bf16.
    pub(crate) fn key_grids(&self) -> &'a [u16] {
        bytemuck::cast_slice(self.key_scales)
    }

    /// In 4 bits, as bits of bf16.
    pub(crate) fn value_grids(&self) -> &'a [u16] {
        bytemuck::cast_slice(self.value_scales)
    }
}

impl PanelMut<'_> {
    /// Writes the key and value of one of the panel's positions. What is not a number in one of them makes no number of
    /// all of it.
    pub(crate) fn write(&mut self, position: usize, key: &[f32], value: &[f32]) {
        let dim = key.len();
        // Where the key's number of a dimension is, counted in numbers.
        let key_at = |d: usize| d * PANEL + position;
        match self.kv {
            KvType::F32 => {
                let keys: &mut [f32] = bytemuck::cast_slice_mut(self.keys);
                let values: &mut [f32] = bytemuck::cast_slice_mut(self.values);
                for (d, key) in key.iter().enumerate() {
                    keys[key_at(d)] = *key;
                }
                values[position * dim..][..dim].copy_from_slice(value);
            }
            KvType::Bf16 => {
                let keys: &mut [bf16] = bytemuck::cast_slice_mut(self.keys);
                let values: &mut [bf16] = bytemuck::cast_slice_mut(self.values);
                for (d, key) in key.iter().enumerate() {
                    keys[key_at(d)] = bf16::from_f32(*key);
                }
                for (place, value) in values[position * dim..].iter_mut().zip(value) {
                    *place = bf16::from_f32(*value);
                }
            }
            KvType::Int8 => {
                let mut codes = vec![0; dim];
                let scales: &mut [f32] = bytemuck::cast_slice_mut(self.key_scales);
                scales[position] = eight_bits(key, &mut codes);
                for (d, code) in codes.iter().enumerate() {
                    self.keys[key_at(d)] = code.cast_unsigned();
                }
                let scales: &mut [f32] = bytemuck::cast_slice_mut(self.value_scales);
                scales[position] = eight_bits(value, &mut codes);
                for (place, code) in self.values[position * dim..].iter_mut().zip(&codes) {
                    *place = code.cast_unsigned();
                }
            }
            KvType::Int4 => {
                let mut codes = vec![0; dim];
                let groups = dim.div_ceil(GROUP);
                let grids: &mut [bf16] = bytemuck::cast_slice_mut(self.key_scales);
                let parts = key.chunks(GROUP).zip(codes.chunks_mut(GROUP));
                for (group, (key, codes)) in parts.enumerate() {
                    let [scale, offset] = four_bits(key, codes);
                    let at = group * 2 * PANEL + position;
                    (grids[at], grids[at + PANEL]) = (scale, offset);
                }
                for (d, code) in codes.iter().enumerate() {
                    put(self.keys, key_at(d), *code);
                }
                let grids: &mut [bf16] = bytemuck::cast_slice_mut(self.value_scales);
                let parts = value.chunks(GROUP).zip(codes.chunks_mut(GROUP));
                for (group, (value, codes)) in parts.enumerate() {
                    let at = (position * groups + group) * 2;
                    [grids[at], grids[at + 1]] = four_bits(value, codes);
                }
                for (d, code) in codes.iter().enumerate() {
                    put(self.values, position * dim + d, *code);
                }
            }
        }
    }
}

/// Sets one of many 4-bit codes.
fn put(codes: &mut [u8], at: usize, code: u8) {
    let byte = &mut codes[at / 2];
    *byte = match at % 2 {
        0 => (*byte & 0xf0) | code,
        _ => (*byte & 0x0f) | (code << 4),
    };
}
