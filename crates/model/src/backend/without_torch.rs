//! What stands for libtorch in a build without it: a backend that nobody can open.

use super::{Backend, Heads, Run};
use crate::checkpoint::Checkpoint;
use crate::error::{ModelError, Result};
use crate::kv_cache::{AnyLayerKv, KvMemory};
use crate::matrices::Stacked;
use crate::quantise::coded_row::CodedRow;
use crate::simd::Simd;
use tandem_shape::{DeviceName, KvType, WeightType};

/// A backend that cannot be made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Torch {}

/// Keys and values that cannot be made.
#[derive(Debug)]
pub(crate) enum TensorKv {}

/// Pages of them.
#[derive(Debug)]
pub(crate) enum TensorPage {}

impl TensorKv {
    pub(crate) fn set_pages(&mut self, _: usize) -> Result<()> {
        match *self {}
    }

    pub(crate) fn page(&self, _: usize) -> Result<TensorPage> {
        match *self {}
    }

    pub(crate) fn put(&mut self, _: usize, _: &TensorPage) -> Result<()> {
        match *self {}
    }
}

impl Torch {
    /// # Errors
    /// Always.
    pub(crate) fn open(device: DeviceName, _: Option<Simd>) -> Result<Self> {
        Err(ModelError::WithoutTorch {
            what: match device {
                DeviceName::Cpu => "backend torch".to_owned(),
                DeviceName::Cuda(_) => format!("device {device}"),
            },
        })
    }
}

impl Backend for Torch {
    type Rows = ();
    type Matrix = ();
    type Norm = ();
    type Kv = ();
    type Step = ();

    fn matrix(&self, _: &Checkpoint, _: &Stacked, _: &[f32], _: WeightType) -> Result<()> {
        match *self {}
    }

    fn coded_matrix(&self, _: &[CodedRow], _: usize, _: &[f32], _: WeightType) -> Result<()> {
        match *self {}
    }

    fn matrix_bytes((): &()) -> u64 {
        0
    }

    fn norm(&self, _: Vec<f32>, _: f64) -> Result<()> {
        match *self {}
    }

    fn kv(&self, _: Heads, _: KvType, _: &KvMemory) -> AnyLayerKv {
        match *self {}
    }

    fn own_kv(_: &mut AnyLayerKv) -> Option<&mut ()> {
        None
    }

    fn step(&self, _: Heads, _: &[f32], _: KvType, _: &[Run]) -> Result<()> {
        match *self {}
    }

    fn rows(&self, _: Vec<f32>, _: usize) -> Result<()> {
        match *self {}
    }

    fn values(&self, (): ()) -> Result<Vec<f32>> {
        match *self {}
    }

    fn copied(&self, (): &()) -> Result<Vec<f32>> {
        match *self {}
    }

    fn normalise(&self, (): &(), (): &(), (): &mut ()) -> Result<()> {
        match *self {}
    }

    fn normalise_heads(&self, _: &[(); 2], _: Heads, (): &mut ()) -> Result<()> {
        match *self {}
    }

    fn multiply(&self, (): &(), (): &(), (): &mut ()) -> Result<()> {
        match *self {}
    }

    fn attend(&self, _: Heads, (): &(), (): &(), _: &mut [&mut ()], (): &mut ()) -> Result<()> {
        match *self {}
    }

    fn gate(&self, (): &(), (): &mut ()) -> Result<()> {
        match *self {}
    }

    fn add(&self, (): &(), (): &mut ()) -> Result<()> {
        match *self {}
    }
}
