//! A model directory, opened once, from which either half is loaded.

use crate::back::Back;
use crate::front::Front;
use crate::kv_budget::KvBudget;
use crate::profiles::{Profiles, ProfilesError};
use std::path::Path;
use tandem_model::{
    Checkpoint, DeviceName, Fingerprint, LayerRange, ModelConfig, ModelError, Precision, Segment,
    weights_fingerprint,
};

/// The files of a model: its shape is known and its tensors are found, but nothing is loaded.
#[derive(Debug)]
pub struct ModelFiles {
    /// The model's shape.
    pub config: ModelConfig,
    /// The identity of its weights.
    pub weights_fingerprint: Fingerprint,
    /// The codec profiles beside it.
    pub profiles: Profiles,
    checkpoint: Checkpoint,
}

/// Why a model directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The model itself.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A codec profile beside it.
    #[error(transparent)]
    Profiles(#[from] ProfilesError),
}

/// How a half computes.
#[derive(Debug, Clone, Default)]
pub struct Compute {
    /// Where.
    pub device: DeviceName,
    /// In which types.
    pub precision: Precision,
}

impl ModelFiles {
    /// Opens a Hugging Face directory. Hashes its weights when no valid fingerprint is kept there.
    ///
    /// # Errors
    /// When a file is missing, malformed, or asks for what is not supported.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let config = ModelConfig::load(directory)?;
        let checkpoint = Checkpoint::open(directory)?;
        let weights_fingerprint = weights_fingerprint(directory, &config, &checkpoint)?;
        Ok(Self {
            profiles: Profiles::load(directory, weights_fingerprint)?,
            weights_fingerprint,
            config,
            checkpoint,
        })
    }

    /// Loads embedding and layers `0..split`. Call it on the thread that will compute.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen, or the precision names a layer that is not loaded.
    pub fn front(
        &self,
        split: usize,
        compute: &Compute,
        on_layer: impl FnMut(usize),
    ) -> Result<Front, ModelError> {
        let range = LayerRange::new(0, split, self.config.layers)?;
        let segment = self.segment(range, compute, on_layer)?;
        Ok(Front::new(segment, self.profiles.of(split).cloned()))
    }

    /// Loads layers `first_layer..` and the head. Call it on the thread that will compute.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen, or the precision names a layer that is not loaded.
    pub fn back(
        &self,
        first_layer: usize,
        compute: &Compute,
        budget: KvBudget,
        on_layer: impl FnMut(usize),
    ) -> Result<Back, ModelError> {
        let range = LayerRange::new(first_layer, self.config.layers, self.config.layers)?;
        let segment = self.segment(range, compute, on_layer)?;
        Ok(Back::new(segment, budget))
    }

    fn segment(
        &self,
        range: LayerRange,
        compute: &Compute,
        on_layer: impl FnMut(usize),
    ) -> Result<Segment, ModelError> {
        Segment::load(
            &self.checkpoint,
            &self.config,
            range,
            &compute.precision,
            compute.device.open()?,
            on_layer,
        )
    }
}
