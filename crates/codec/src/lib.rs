//! Hidden rows to bytes and back: pure, synchronous, without libtorch.
//!
//! A **frame** is one or more consecutive rows of one session, self-describing: a decoder needs
//! no state and no agreement but this crate's version of the format, which `docs/codec.md`
//! specifies.
//!
//! ```text
//! byte 0          codec: 1 = f32, 2 = bf16; others are reserved
//! varint          rows, ≥ 1
//! varint          hidden, values a row, ≥ 1
//! the payload     as the codec says; nothing behind it
//! ```
//!
//! `varint` is LEB128 of at most 5 bytes, as in Protocol Buffers.
//!
//! | codec | payload | exact |
//! | --- | --- | --- |
//! | `f32` | rows · hidden IEEE 754 binary32, little-endian, row-major | always: the reference |
//! | `bf16` | rows · hidden bfloat16, rounded to nearest even | where the residual is bf16 |
//!
//! Values that are not finite are refused on both sides, with their place.

mod codec;
mod error;
mod frame;

pub use codec::Codec;
pub use error::{DecodeError, EncodeError, UnknownCodec};
pub use frame::{FrameHeader, Limits, Rows, decode, encode};
