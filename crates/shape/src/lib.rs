//! What a model is, without any of its weights: plain types that every other crate may name.
//!
//! [`ModelConfig`] reads a model's `config.json` and refuses by name what it asks for and Tandem does not
//! do. [`LayerRange`] is a part of its layers, [`Precision`] says in which types these are held, and
//! [`Identity`] which weights they have. [`Reason`] is why a request or a session is refused.

mod config;
mod device;
mod error;
mod family;
mod fingerprint;
mod layer_range;
mod place;
mod precision;
mod reason;
mod rope;

pub use config::{Architecture, ModelConfig};
pub use device::{DeviceName, UnknownDevice};
pub use error::{Result, ShapeError};
pub use family::{Bias, Family, Norms, WindowRule};
pub use fingerprint::{Fingerprint, Identity, SHARD_HASHES_FILE};
pub use layer_range::LayerRange;
pub use place::{BackendName, Place, UnknownBackend};
pub use precision::weight_scheme::{InvalidScheme, WeightScheme};
pub use precision::{Group, KvType, Precision, UnknownKvType, UnknownWeightType, WeightType};
pub use reason::Reason;
pub use rope::{Rope, RopeScaling};
