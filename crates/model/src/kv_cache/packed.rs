//! One layer's keys and values in plain memory, as codes laid out the way attention reads them.

use super::integers::{eight_bits, four_bits};
use super::layout::{GROUP, PANEL};
use super::pages::{KvMemory, Page};
use crate::backend::Heads;
use crate::error::Result;
use half::bf16;
use std::ops::Range;
use std::sync::Arc;
use tandem_shape::KvType;

/// Pages of a layer, each with [`PANEL`] positions of every head: `[head][keys, values, their scales]`, see
/// [`Panel`].
///
/// A head's keys lie as `[dimension][position]`, so that a query's dimension meets whole vectors of keys;
/// its values lie as `[position][dimension]`, so that a position's weight meets whole vectors of values.
/// Neither needs a sum across a vector, and both take a new position without moving an old one.
#[derive(Debug)]
pub(crate) struct PackedKv {
    kv: KvType,
    kv_heads: usize,
    head_dim: usize,
    memory: KvMemory,
    /// Those that other caches begin with too are not written to.
    pages: Vec<Arc<Page>>,
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

impl PackedKv {
    /// No positions yet.
    pub(crate) fn new(kv: KvType, heads: Heads, memory: &KvMemory) -> Self {
        Self {
            kv,
            kv_heads: heads.kv_heads,
            head_dim: heads.dim,
            memory: memory.clone(),
            pages: Vec::new(),
        }
    }

    /// Takes pages, or gives them back, so that there are so many.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn set_pages(&mut self, pages: usize) -> Result<()> {
        self.pages.truncate(pages);
        while self.pages.len() < pages {
            self.pages.push(Arc::new(self.memory.take()?));
        }
        Ok(())
    }

    /// A page, for other caches to begin with.
    pub(crate) fn page(&self, page: usize) -> Option<Arc<Page>> {
        self.pages.get(page).cloned()
    }

    /// Has another cache's page behind its own.
    pub(crate) fn push(&mut self, page: Arc<Page>) {
        self.pages.push(page);
    }

    /// Makes a page its own, to be written to: a copy, where it is another's too.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn own(&mut self, page: usize) -> Result<()> {
        let Some(page) = self.pages.get_mut(page) else {
            return Ok(());
        };
        if Arc::get_mut(page).is_none() {
            let mut own = self.memory.take()?;
            own.bytes_mut().copy_from_slice(page.bytes());
            *page = Arc::new(own);
        }
        Ok(())
    }

    /// In which type they are held.
    pub(crate) fn kv_type(&self) -> KvType {
        self.kv
    }

    /// Key and value heads.
    pub(crate) fn kv_heads(&self) -> usize {
        self.kv_heads
    }

    /// Values of a head.
    pub(crate) fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// The positions of a page of one head.
    pub(crate) fn panel(&self, head: usize, page: usize) -> Panel<'_> {
        let (codes, scales) = panel_bytes(self.kv, self.head_dim);
        let of_head = 2 * (codes + scales);
        let own = &self.pages[page].bytes()[head * of_head..][..of_head];
        let (keys, rest) = own.split_at(codes);
        let (values, rest) = rest.split_at(codes);
        let (key_scales, value_scales) = rest.split_at(scales);
        Panel {
            keys,
            values,
            key_scales,
            value_scales,
        }
    }

    /// All panels of some pages, page after page and in each head after head, for threads to share. The pages are its
    /// own: [`PackedKv::set_pages`] took them, or [`PackedKv::own`] made them so.
    pub(crate) fn panels_mut(&mut self, pages: Range<usize>) -> impl Iterator<Item = PanelMut<'_>> {
        let (kv, kv_heads) = (self.kv, self.kv_heads);
        let (codes, scales) = panel_bytes(kv, self.head_dim);
        let of_head = 2 * (codes + scales);
        self.pages[pages].iter_mut().flat_map(move |page| {
            let own = Arc::get_mut(page).map(Page::bytes_mut);
            debug_assert!(own.is_some(), "a page that is shared is not written to");
            let heads = own.unwrap_or_default();
            let heads = heads.chunks_exact_mut(of_head).take(kv_heads);
            heads.map(move |own| {
                let (keys, rest) = own.split_at_mut(codes);
                let (values, rest) = rest.split_at_mut(codes);
                let (key_scales, value_scales) = rest.split_at_mut(scales);
                PanelMut {
                    kv,
                    keys,
                    values,
                    key_scales,
                    value_scales,
                }
            })
        })
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
    /// all of it. `codes` is room for codes.
    pub(crate) fn write(
        &mut self,
        position: usize,
        key: &[f32],
        value: &[f32],
        codes: &mut Vec<u8>,
    ) {
        let dim = key.len();
        codes.resize(dim, 0);
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
                let scales: &mut [f32] = bytemuck::cast_slice_mut(self.key_scales);
                scales[position] = eight_bits(key, codes);
                for (d, code) in codes.iter().enumerate() {
                    self.keys[key_at(d)] = *code;
                }
                let scales: &mut [f32] = bytemuck::cast_slice_mut(self.value_scales);
                scales[position] = eight_bits(value, codes);
                self.values[position * dim..][..dim].copy_from_slice(codes);
            }
            KvType::Int4 => {
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
