//! What can be wrong with rows or frames.

/// Rows that cannot be encoded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EncodeError {
    /// The values are not whole rows.
    #[error("{values} values are not one or more rows of {hidden}")]
    Shape {
        /// Values given.
        values: usize,
        /// Values a row.
        hidden: usize,
    },
    /// A value is NaN or infinite, or would be in the codec's type.
    #[error("value {value} at row {row}, column {column} cannot be encoded as {codec}")]
    NotFinite {
        /// The value.
        value: f32,
        /// Its row within the frame.
        row: usize,
        /// Its column.
        column: usize,
        /// The codec.
        codec: &'static str,
    },
}

/// Bytes that are no frame.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The header ends early or has a number longer than 5 bytes.
    #[error("the frame's header is malformed")]
    Header,
    /// The first byte names no codec.
    #[error("codec {0} is unknown")]
    Codec(u8),
    /// More rows than allowed, or none.
    #[error("{rows} rows are not between 1 and {max}")]
    Rows {
        /// Rows the frame declares.
        rows: u64,
        /// The most allowed.
        max: usize,
    },
    /// Rows of another model.
    #[error("rows of {found} values, expected {expected}")]
    Hidden {
        /// Values a row the frame declares.
        found: u64,
        /// Values a row expected.
        expected: usize,
    },
    /// The payload is shorter or longer than the header says.
    #[error("a payload of {found} bytes, expected {expected}")]
    Payload {
        /// Bytes found.
        found: usize,
        /// Bytes the header implies.
        expected: usize,
    },
    /// A value is NaN or infinite.
    #[error("the value at row {row}, column {column} is not finite")]
    NotFinite {
        /// Its row within the frame.
        row: usize,
        /// Its column.
        column: usize,
    },
}

/// A name that is no codec.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0:?} is not a codec; f32 and bf16 are")]
pub struct UnknownCodec(pub String);
