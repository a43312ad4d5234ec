//! What stands for calibration in a build without libtorch, which factors its matrices.

use crate::error::{ModelError, Result};
use crate::quantise::coded_row::CodedRow;
use tandem_shape::Group;

/// Moments that cannot be made.
#[derive(Debug)]
pub(crate) enum Moments {}

impl Moments {
    /// # Errors
    /// Always.
    pub(crate) fn new(_: usize) -> Result<Self> {
        Err(ModelError::WithoutTorch {
            what: "calibration of 4-bit codes".to_owned(),
        })
    }

    pub(crate) fn add(&mut self, _: &[f32]) -> Result<()> {
        match *self {}
    }

    pub(crate) fn factor(self) -> Result<Self> {
        match self {}
    }

    pub(crate) fn code_rows(&self, _: Group, _: &[f32]) -> Vec<CodedRow> {
        match *self {}
    }
}
