//! [`Tile::gather`] for processors with AVX2 and FMA, or NEON.
//!
//! What it does is written in plain Rust over arrays of eight floats; compiled for these
//! instructions, an array is a register or two. The same text compiled for any processor is the safe
//! twin that the tests compare it with.

#![allow(unsafe_code)]

use super::number_formats::{BrainFloats, Bytes, Floats, Nibbles, NumberFormat};
use super::softmax::Sums;
use super::tile::{Scratch, Tile};
use crate::gemm::Kernel;
use crate::simd::{Level, Simd};
use tandem_shape::KvType;

impl Simd {
    /// [`Tile::gather`].
    #[allow(
        unused_unsafe,
        reason = "for other processors there is nothing to vouch for"
    )]
    pub(super) fn gather(self, tile: &Tile<'_>, block: usize, scratch: &mut Scratch) {
        let kernel = Kernel::of(self);
        if self.level() == Level::Portable {
            return match tile.kv.kv_type() {
                KvType::F32 => tile.gather::<Floats>(block, kernel, scratch),
                KvType::Bf16 => tile.gather::<BrainFloats>(block, kernel, scratch),
                KvType::Int8 => tile.gather::<Bytes>(block, kernel, scratch),
                KvType::Int4 => tile.gather::<Nibbles>(block, kernel, scratch),
            };
        }
        // SAFETY: the processor has the instructions, or there would be no such `Simd`.
        unsafe {
            match tile.kv.kv_type() {
                KvType::F32 => gather::<Floats>(tile, block, kernel, scratch),
                KvType::Bf16 => gather::<BrainFloats>(tile, block, kernel, scratch),
                KvType::Int8 => gather::<Bytes>(tile, block, kernel, scratch),
                KvType::Int4 => gather::<Nibbles>(tile, block, kernel, scratch),
            }
        }
    }

    /// [`Sums::add`].
    #[allow(
        unused_unsafe,
        reason = "for other processors there is nothing to vouch for"
    )]
    pub(super) fn add(self, sums: &mut Sums, further: &Sums, first: usize) {
        if self.level() == Level::Portable {
            return sums.add(further, first);
        }
        // SAFETY: the processor has the instructions, or there would be no such `Simd`.
        unsafe { add(sums, further, first) }
    }
}

#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn gather<F: NumberFormat>(tile: &Tile<'_>, block: usize, kernel: Kernel, scratch: &mut Scratch) {
    tile.gather::<F>(block, kernel, scratch);
}

#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn add(sums: &mut Sums, further: &Sums, first: usize) {
    sums.add(further, first);
}
