//! Which backend runs what.

use super::plain::Plain;
use super::torch::Torch;
use crate::error::{ModelError, Result};
use crate::simd::Simd;
use tandem_shape::{BackendName, DeviceName, Place, WeightType};

/// A backend.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AnyBackend {
    /// Our loops.
    Plain(Plain),
    /// libtorch.
    Torch(Torch),
}

/// The backends of one place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backends {
    plain: Option<Plain>,
    torch: Option<Torch>,
}

impl Backends {
    /// Opens those that a place allows for a model with heads of `head_dim` values.
    ///
    /// # Errors
    /// When the device is not there, or our loops alone are asked for where they cannot compute.
    pub(crate) fn open(place: Place, head_dim: usize) -> Result<Self> {
        let can_be_plain = place.device == DeviceName::Cpu && Plain::attends(head_dim);
        let plain = can_be_plain.then(Plain::new);
        let loops = can_be_plain.then(Simd::best);
        Ok(match place.backend {
            BackendName::Plain if place.device != DeviceName::Cpu => {
                return Err(ModelError::Device {
                    device: place.device.to_string(),
                    why: "backend plain computes on the processor".to_owned(),
                });
            }
            BackendName::Plain if plain.is_none() => return Err(ModelError::HeadSize { head_dim }),
            BackendName::Plain => Self { plain, torch: None },
            BackendName::Torch => Self {
                plain: None,
                torch: Some(Torch::open(place.device, None)?),
            },
            BackendName::Auto => match Torch::open(place.device, loops) {
                Ok(torch) => Self {
                    plain,
                    torch: Some(torch),
                },
                Err(ModelError::WithoutTorch { .. }) if place.device == DeviceName::Cpu => {
                    if plain.is_none() {
                        return Err(ModelError::HeadSize { head_dim });
                    }
                    Self { plain, torch: None }
                }
                Err(error) => return Err(error),
            },
        })
    }

    /// Our loops only, these.
    #[cfg(test)]
    pub(crate) fn of_plain(plain: Plain) -> Self {
        Self {
            plain: Some(plain),
            torch: None,
        }
    }

    /// The one that runs what is held as `weights`.
    ///
    /// # Errors
    /// When no backend of this place holds matrices in that type.
    pub(crate) fn of(&self, weights: WeightType) -> Result<AnyBackend> {
        let plain = self.plain.filter(|_| Plain::holds(weights));
        let torch = || self.torch.map(AnyBackend::Torch);
        let found = plain.map(AnyBackend::Plain).or_else(torch);
        found.ok_or_else(|| {
            if cfg!(feature = "torch") {
                ModelError::NotPlain { weights }
            } else {
                ModelError::WithoutTorch {
                    what: format!("weights in {weights}"),
                }
            }
        })
    }
}
