//! One layer's keys and values as libtorch's tensors, for devices and processors that have no loops
//! of ours. Integers become floats for a layer at a time, where they are attended to.

use super::kinds::ComputeKind;
use crate::backend::Heads;
use crate::error::{ModelError, Result};
use crate::kv_cache::{GROUP, InUse, KvMemory, PANEL};
use tandem_shape::KvType;
use tch::{Device, Kind, Tensor};

/// Keys and values, `[1, kv_heads, positions, …]` each, with room for whole pages.
#[derive(Debug)]
pub(crate) struct TensorKv {
    form: KvType,
    heads: Heads,
    device: Device,
    /// Keys and values, where there is a page.
    stored: Option<[Stored; 2]>,
    pages: usize,
    in_use: InUse,
    memory: KvMemory,
}

/// A copy of one page's keys and values.
#[derive(Debug)]
pub(crate) struct TensorPage {
    stored: [Stored; 2],
    /// Counts it as long as it lives.
    _in_use: InUse,
}

/// Numbers or their codes, and what makes numbers of codes.
#[derive(Debug)]
struct Stored {
    /// `[1, kv_heads, positions, head_dim]`; two 4-bit codes are one byte, the first in its lower half.
    codes: Tensor,
    /// 8 bits: `[1, kv_heads, positions, 1]` in f32. 4 bits: `[1, kv_heads, positions, groups, 2]` in
    /// bf16, scales and offsets.
    scales: Option<Tensor>,
}

impl TensorKv {
    /// No positions yet.
    pub(crate) fn new(form: KvType, heads: Heads, device: Device, memory: &KvMemory) -> Self {
        Self {
            form,
            heads,
            device,
            stored: None,
            pages: 0,
            in_use: memory.count(0),
            memory: memory.clone(),
        }
    }

    /// Makes room for so many pages, and copies what is kept: libtorch attends to tensors in one piece.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn set_pages(&mut self, pages: usize) -> Result<()> {
        if pages == self.pages {
            return Ok(());
        }
        let kept = (self.pages.min(pages) * PANEL) as i64;
        let mut stored = None;
        if pages > 0 {
            let new = [self.room(pages * PANEL)?, self.room(pages * PANEL)?];
            for (old, new) in self.stored.iter().flatten().zip(&new) {
                new.copy(0, old, 0, kept)?;
            }
            stored = Some(new);
        }
        self.stored = stored;
        self.pages = pages;
        self.in_use.set(pages);
        Ok(())
    }

    /// A copy of a page.
    ///
    /// # Errors
    /// When there is no such page, or no memory.
    pub(crate) fn page(&self, page: usize) -> Result<TensorPage> {
        let own = self.stored.as_ref().filter(|_| page < self.pages);
        let own = own.ok_or(ModelError::OtherCache)?;
        let stored = [self.room(PANEL)?, self.room(PANEL)?];
        for (copy, own) in stored.iter().zip(own) {
            copy.copy(0, own, (page * PANEL) as i64, PANEL as i64)?;
        }
        Ok(TensorPage {
            stored,
            _in_use: self.memory.count(1),
        })
    }

    /// Has a copy of another cache's page as its page of that number.
    ///
    /// # Errors
    /// When there is no such page, or it cannot be copied.
    pub(crate) fn put(&mut self, number: usize, page: &TensorPage) -> Result<()> {
        for (own, copy) in self.stored.iter().flatten().zip(&page.stored) {
            own.copy((number * PANEL) as i64, copy, 0, PANEL as i64)?;
        }
        Ok(())
    }

    /// Room for so many positions' keys, or values.
    fn room(&self, positions: usize) -> Result<Stored> {
        let at = [1, self.heads.kv_heads as i64, positions as i64];
        let dim = self.heads.dim as i64;
        let groups = self.heads.dim.div_ceil(GROUP) as i64;
        let zeros = |rest: &[i64], kind| Tensor::f_zeros([&at, rest].concat(), (kind, self.device));
        Ok(match self.form {
            KvType::F32 | KvType::Bf16 => Stored {
                codes: zeros(&[dim], self.form.kind())?,
                scales: None,
            },
            KvType::Int8 => Stored {
                codes: zeros(&[dim], Kind::Int8)?,
                scales: Some(zeros(&[1], Kind::Float)?),
            },
            KvType::Int4 => Stored {
                codes: zeros(&[dim / 2], Kind::Uint8)?,
                scales: Some(zeros(&[groups, 2], Kind::BFloat16)?),
            },
        })
    }

    /// Writes `keys` and `values`, `[count, kv_heads, head_dim]`, from position `start` on, and
    /// returns those of all positions so far, `[1, kv_heads, start + count, head_dim]`, in the type
    /// that attention is computed in.
    pub(crate) fn extend(
        &self,
        start: usize,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let [own_keys, own_values] = self.stored.as_ref().ok_or(ModelError::OtherCache)?;
        Ok((
            self.write(own_keys, start as i64, keys)?,
            self.write(own_values, start as i64, values)?,
        ))
    }

    fn write(&self, stored: &Stored, start: i64, rows: &Tensor) -> Result<Tensor> {
        let rows = rows.f_transpose(0, 1)?.f_unsqueeze(0)?;
        let count = rows.size()[2];
        let (codes, scales) = self.coded(&rows)?;
        let put = |place: &Tensor, new: &Tensor| -> Result<Tensor> {
            place.f_narrow(2, start, count)?.f_copy_(new)?;
            Ok(place.f_narrow(2, 0, start + count)?)
        };
        let codes = put(&stored.codes, &codes)?;
        match (&stored.scales, scales) {
            (Some(place), Some(new)) => self.numbers(&codes, &put(place, &new)?),
            _ => Ok(codes),
        }
    }

    /// Codes of rows `[1, kv_heads, count, head_dim]`, and their scales.
    fn coded(&self, rows: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let rows = match self.form {
            KvType::F32 | KvType::Bf16 => return Ok((rows.shallow_clone(), None)),
            KvType::Int8 | KvType::Int4 => rows.f_to_kind(Kind::Float)?,
        };
        if self.form == KvType::Int8 {
            let scales = rows.f_abs()?.f_amax([-1], true)?.f_div_scalar(127.0)?;
            let codes = rows.f_div(&scales)?.f_round()?;
            let codes = codes.f_nan_to_num(0.0, 0.0, 0.0)?.f_clamp(-127.0, 127.0)?;
            return Ok((codes.f_to_kind(Kind::Int8)?, Some(scales)));
        }
        let (mut codes, mut grids) = (Vec::new(), Vec::new());
        let dim = self.heads.dim as i64;
        for first in (0..dim).step_by(GROUP) {
            let group = rows.f_narrow(-1, first, (dim - first).min(GROUP as i64))?;
            let offset = group.f_amin([-1], true)?.f_to_kind(Kind::BFloat16)?;
            let range = group.f_amax([-1], true)?.f_sub(&offset)?;
            let scale = range.f_div_scalar(15.0)?.f_to_kind(Kind::BFloat16)?;
            let code = group.f_sub(&offset)?.f_div(&scale)?.f_round()?;
            codes.push(code.f_nan_to_num(0.0, 0.0, 0.0)?.f_clamp(0.0, 15.0)?);
            grids.push(Tensor::f_cat(&[scale, offset], -1)?);
        }
        let codes = Tensor::f_cat(&codes, -1)?;
        let half = |from| codes.f_slice(-1, from, None, 2);
        let bytes = half(1)?.f_mul_scalar(16.0)?.f_add(&half(0)?)?;
        Ok((
            bytes.f_to_kind(Kind::Uint8)?,
            Some(Tensor::f_stack(&grids, -2)?),
        ))
    }

    /// What codes stand for.
    fn numbers(&self, codes: &Tensor, scales: &Tensor) -> Result<Tensor> {
        if self.form == KvType::Int8 {
            return Ok(codes.f_to_kind(self.form.kind())?.f_mul(scales)?);
        }
        let lower = codes.f_bitwise_and(15)?;
        let upper = codes.f_floor_divide_scalar(16)?;
        let codes = Tensor::f_stack(&[lower, upper], -1)?
            .f_flatten(-2, -1)?
            .f_to_kind(self.form.kind())?;
        let grids = scales.f_to_kind(self.form.kind())?;
        let each = |which: i64| -> Result<Tensor> {
            let grid = grids.f_narrow(-1, which, 1)?;
            let spread = grid.f_repeat_interleave_self_int(GROUP as i64, -1, None)?;
            Ok(spread
                .f_flatten(-2, -1)?
                .f_narrow(-1, 0, self.heads.dim as i64)?)
        };
        Ok(codes.f_mul(&each(0)?)?.f_add(&each(1)?)?)
    }
}

impl Stored {
    /// Copies some positions of another, from `from` on, to those from `to` on.
    fn copy(&self, to: i64, other: &Self, from: i64, positions: i64) -> Result<()> {
        let both = |new: &Tensor, old: &Tensor| -> Result<()> {
            let old = old.f_narrow(2, from, positions)?;
            new.f_narrow(2, to, positions)?.f_copy_(&old)?;
            Ok(())
        };
        both(&self.codes, &other.codes)?;
        match (&self.scales, &other.scales) {
            (Some(new), Some(old)) => both(new, old),
            _ => Ok(()),
        }
    }
}
