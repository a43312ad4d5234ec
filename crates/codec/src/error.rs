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
    /// The profile was calibrated on rows of another model.
    #[error("rows of {hidden} values with a profile for rows of {expected}")]
    Profile {
        /// Values a row.
        hidden: usize,
        /// Values a row of the profile.
        expected: usize,
    },
}

/// Bytes that are no frame.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The header ends early or has a number longer than 5 bytes.
    #[error("the frame's header is malformed")]
    Header,
    /// The first byte names no format.
    #[error("format {0} is unknown")]
    Format(u8),
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
    /// The payload is shorter than any encoder's of as many rows.
    #[error("{rows} rows in a payload of {found} bytes: they take at least {least}")]
    TooShort {
        /// Rows the frame declares.
        rows: usize,
        /// Bytes found.
        found: usize,
        /// Bytes that so many rows take at least.
        least: usize,
    },
    /// The payload ends early.
    #[error("the payload ends early")]
    Truncated,
    /// The payload holds what no encoder writes.
    #[error("the payload has {0}")]
    Malformed(&'static str),
    /// The frame needs a profile, and none for such rows was agreed on.
    #[error("the frame needs a calibrated profile, and the session has none that fits")]
    NoProfile,
    /// A value is NaN or infinite.
    #[error("the value at row {row}, column {column} is not finite")]
    NotFinite {
        /// Its row within the frame.
        row: usize,
        /// Its column.
        column: usize,
    },
}

/// Bytes that are no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// They begin otherwise.
    #[error("these bytes are no codec profile")]
    NoProfile,
    /// Another version of the format.
    #[error("a codec profile of version {0}; this program reads version 1: calibrate again")]
    Version(u8),
    /// More than a profile may have.
    #[error("{0} bytes are more than the 1 MiB of a codec profile")]
    TooLarge(usize),
    /// A part is not what it must be.
    #[error("the codec profile is damaged: its {0} cannot be")]
    Malformed(&'static str),
}

/// A name that is no codec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a codec; f32, bf16, int8, tabq, high, balanced and economy are")]
pub struct UnknownCodec(pub String);
