//! Hidden rows to bytes and back: pure, synchronous, without libtorch.
//!
//! A **frame** is one or more consecutive rows of one session, self-describing: a decoder needs
//! no state and no agreement but this crate's version of the format, which `docs/codec.md`
//! specifies, and, for calibrated frames, the [`Profile`] that both sides have agreed on.
//!
//! | codec | what it does | bits a value, about |
//! | --- | --- | --- |
//! | `f32` | exact: the reference | 32 |
//! | `bf16` | rounds to bfloat16: exact where the residual is bf16 | 16 |
//! | `int8` | a scale and an offset a row | 8.1 |
//! | `tabq` | threshold splitting, then the narrowest codes that keep a row's error | 6 to 6.5 |
//! | `high`, `balanced`, `economy` | the same two ideas, entropy coded | 5.2, 4.4, 3.0 |
//! | the same without a profile of the cut | | 6.2, 5.2, 3.7 |
//!
//! Values that are not finite are refused on both sides, with their place. Any bytes decode to
//! rows or to a typed error.

mod bits;
mod codec;
mod decoder;
mod encoder;
mod entropy_coded;
mod error;
mod header;
mod plain;
mod rans;
mod rounding;
mod tab_q;
mod threshold_split;

pub use codec::{Codec, Format};
pub use decoder::{Decoder, FramePosition};
pub use encoder::{Encoded, Encoder};
pub use entropy_coded::{MAX_PROFILE_BYTES, MAX_REFLECTIONS, Profile};
#[cfg(feature = "fit")]
pub use entropy_coded::{fit, fit_built_in};
pub use error::{DecodeError, EncodeError, ProfileError, UnknownCodec};
pub use header::{FrameHeader, Limits};
