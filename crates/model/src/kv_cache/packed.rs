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
    form: KvType,
    kv_heads: usize,
    head_dim: usize,
    /// Whole panels.
    capacity: usize,
    /// `[head][keys, values, their scales]`, see [`HeadRows`].
    memory: MmapMut,
}

/// One head's part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadRows<'a> {
    /// `[panel][dimension][position]`; a byte holds two codes of 4 bits, the first in its lower half.
    pub(crate) keys: &'a [u8],
    /// `[position][dimension]`.
    pub(crate) values: &'a [u8],
    /// 8 bits: `[position]` in f32. 4 bits: `[panel][group][scale, offset][position]` in bf16.
    key_scales: &'a [u8],
    /// 8 bits: `[position]` in f32. 4 bits: `[position][group][scale, offset]` in bf16.
    value_scales: &'a [u8],
}

/// The same, to be written to.
#[derive(Debug)]
pub(crate) struct HeadRowsMut<'a> {
    form: KvType,
    keys: &'a mut [u8],
    values: &'a mut [u8],
    key_scales: &'a mut [u8],
    value_scales: &'a mut [u8],
}

impl fmt::Debug for PackedKv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (heads, dim, capacity) = (self.kv_heads, self.head_dim, self.capacity);
        write!(f, "PackedKv({} in {capacity} x {heads} x {dim})", self.form)
    }
}

impl PackedKv {
    /// Room for `capacity` positions, rounded up to whole panels.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn new(
        form: KvType,
        kv_heads: usize,
        head_dim: usize,
        capacity: usize,
    ) -> Result<Self> {
        let capacity = capacity.next_multiple_of(PANEL);
        let bytes = kv_heads * capacity * 2 * form.row_bytes(head_dim);
        let memory = MmapMut::map_anon(bytes.max(1))
            .map_err(|source| ModelError::Memory { bytes, source })?;
        Ok(Self {
            form,
            kv_heads,
            head_dim,
            capacity,
            memory,
        })
    }

    pub(crate) fn form(&self) -> KvType {
        self.form
    }

    pub(crate) fn kv_heads(&self) -> usize {
        self.kv_heads
    }

    pub(crate) fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Bytes of a head, and of its keys or values, and of their scales.
    fn sizes(&self) -> (usize, usize, usize) {
        let codes = self.capacity * self.form.code_bytes(self.head_dim);
        let scales = self.capacity * self.form.scale_bytes(self.head_dim);
        (2 * (codes + scales), codes, scales)
    }

    pub(crate) fn head(&self, head: usize) -> HeadRows<'_> {
        let (all, codes, scales) = self.sizes();
        let (keys, rest) = self.memory[head * all..][..all].split_at(codes);
        let (values, rest) = rest.split_at(codes);
        let (key_scales, value_scales) = rest.split_at(scales);
        HeadRows {
            keys,
            values,
            key_scales,
            value_scales,
        }
    }

    pub(crate) fn heads_mut(&mut self) -> impl Iterator<Item = HeadRowsMut<'_>> {
        let (all, codes, scales) = self.sizes();
        let form = self.form;
        self.memory.chunks_exact_mut(all.max(1)).map(move |head| {
            let (keys, rest) = head.split_at_mut(codes);
            let (values, rest) = rest.split_at_mut(codes);
            let (key_scales, value_scales) = rest.split_at_mut(scales);
            HeadRowsMut {
                form,
                keys,
                values,
                key_scales,
                value_scales,
            }
        })
    }
}

impl<'a> HeadRows<'a> {
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

impl HeadRowsMut<'_> {
    /// Writes a position's key and value. What is not a number in one of them makes no number of
    /// all of it.
    pub(crate) fn write(&mut self, position: usize, key: &[f32], value: &[f32]) {
        let dim = key.len();
        let (panel, column) = (position / PANEL, position % PANEL);
        // Where the key's number of a dimension is, counted in numbers.
        let key_at = |d: usize| (panel * dim + d) * PANEL + column;
        match self.form {
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
                    let at = (panel * groups + group) * 2 * PANEL + column;
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
