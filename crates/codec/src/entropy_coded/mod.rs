//! `tabq-ec`: threshold splitting and token-wise quantisation (arXiv 2511.04002), entropy coded.
//!
//! ```text
//! row ─► − means ─► outliers apart ─► reflections ─► ÷ step ─► trellis ─► indices ─► rANS
//!        by channel  (TS)             decorrelate    by row    (TAB-Q)    by spread
//! ```
//!
//! What a profile knows of a cut makes it small: values of a wide channel and of a large row are
//! expected to be large, and each index is coded by the table for what is expected of it.

mod decoder;
mod encoder;
#[cfg(feature = "fit")]
mod fit;
mod log_scale;
#[cfg(feature = "fit")]
mod principal;
mod profile;
mod reflection;
mod reflectors;
mod row;
mod tables;
mod trellis;

pub(crate) use decoder::{Scratch, decode_rows, least_payload};
pub(crate) use encoder::RowEncoder;
#[cfg(feature = "fit")]
pub use fit::{fit, fit_built_in};
pub use profile::{MAX_PROFILE_BYTES, MAX_REFLECTIONS, Profile};
