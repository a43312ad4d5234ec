//! Products of libtorch's tensors.

#![allow(unsafe_code)]

use super::panels::Panels;
use crate::error::{ModelError, Result};
use std::{mem::MaybeUninit, ptr::NonNull, slice};
use tch::{Device, Kind, Tensor};

impl Panels {
    /// `x · Wᵀ + b` for `x`, `[rows, inputs]` in f32 on the CPU: `[rows, outputs]`.
    ///
    /// # Errors
    /// When `x` has another shape, or libtorch has no memory.
    pub(crate) fn product(&self, x: &Tensor) -> Result<Tensor> {
        // A call of libtorch's that changes nothing still takes its microseconds.
        let made;
        let x = match floats(x) {
            Some(_) => x,
            None => {
                made = x
                    .f_to_device(Device::Cpu)?
                    .f_to_kind(Kind::Float)?
                    .f_contiguous()?;
                &made
            }
        };
        let size = x.size();
        let rows = size.first().map_or(0, |&rows| rows as usize);
        let out_shape = [rows as i64, self.outputs() as i64];
        let out = Tensor::f_empty(out_shape, (Kind::Float, Device::Cpu))?;
        // SAFETY: both tensors are f32 on the CPU and contiguous, of as many values as `numel`
        // says, and live to the end of this function. No one else knows of `out`, and no one
        // writes to `x` meanwhile: one thread makes all libtorch calls.
        let (from, to) = unsafe {
            (
                slice::from_raw_parts(start(x).cast_const(), x.numel()),
                slice::from_raw_parts_mut(start(&out).cast::<MaybeUninit<f32>>(), out.numel()),
            )
        };
        let matches = size == [rows as i64, self.inputs() as i64];
        match matches && self.multiply(from, rows, to) {
            true => Ok(out),
            false => Err(ModelError::RowShape {
                rows,
                hidden: self.inputs(),
                found: x.numel(),
            }),
        }
    }
}

/// The values of a tensor where they lie; none where it is not f32 on the CPU and contiguous.
pub(crate) fn floats(tensor: &Tensor) -> Option<&[f32]> {
    let plain = tensor.device() == Device::Cpu
        && tensor.f_kind().ok()? == Kind::Float
        && tensor.is_contiguous();
    // SAFETY: there are as many values as `numel` says, for as long as the tensor is borrowed. No
    // one writes to them meanwhile: one thread makes all libtorch calls, and ours write to what they
    // made themselves.
    plain.then(|| unsafe { slice::from_raw_parts(start(tensor).cast_const(), tensor.numel()) })
}

/// The address of a tensor's first value. An empty one has none.
fn start(tensor: &Tensor) -> *mut f32 {
    match tensor.numel() {
        0 => NonNull::dangling().as_ptr(),
        _ => tensor.data_ptr().cast(),
    }
}
