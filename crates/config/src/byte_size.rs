//! Sizes as people write them: `256KiB`, `512MiB`.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes that is written as a whole number with a unit, in configuration and flags
/// alike.
///
/// Units: `B`, the binary `KiB`, `MiB`, `GiB`, `TiB`, and the decimal `kB`, `MB`, `GB`, `TB`. A
/// number without a unit is refused, as is a bare `M`, which means either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Bytes a unit. The first five are for display, largest first.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
];

/// Text that is not a number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ByteSizeError {
    /// Only a number.
    #[error("`{0}` has no unit: write `{0}MiB`, or `{0}B` for bytes")]
    NoUnit(String),
    /// Not a whole number with a unit.
    #[error(
        "`{0}` is not a size: write a whole number and B, KiB, MiB, GiB or TiB, as in `512MiB`"
    )]
    Malformed(String),
    /// More than 2^64 bytes.
    #[error("`{0}` is too large a size")]
    TooLarge(String),
}

impl ByteSize {
    /// So many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many KiB; the largest size where that would be more.
    pub const fn kib(kib: u64) -> Self {
        Self(kib.saturating_mul(1 << 10))
    }

    /// So many MiB; the largest size where that would be more.
    pub const fn mib(mib: u64) -> Self {
        Self(mib.saturating_mul(1 << 20))
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory; the largest length where that would be more.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let malformed = || ByteSizeError::Malformed(text.to_owned());
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(malformed());
        }
        let unit = unit.trim_start();
        if unit.is_empty() {
            return Err(ByteSizeError::NoUnit(number.to_owned()));
        }
        let (_, unit_bytes) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(malformed)?;
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*unit_bytes))
            .map(Self)
            .ok_or_else(|| ByteSizeError::TooLarge(text.to_owned()))
    }
}

impl fmt::Display for ByteSize {
    /// In the largest binary unit that needs no fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS[..4]
            .iter()
            .find(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit));
        match whole {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 512MiB")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<ByteSize, E> {
                Err(E::custom(ByteSizeError::NoUnit(number.to_string())))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<ByteSize, E> {
                Err(E::invalid_value(Unexpected::Signed(number), &self))
            }
        }

        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_write_sizes() {
        for (text, bytes) in [
            ("0B", 0),
            ("512MiB", 512 << 20),
            ("256KiB", 256 << 10),
            ("4 GiB", 4 << 30),
            ("1TiB", 1 << 40),
            ("10MB", 10_000_000),
            ("64kB", 64_000),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize::bytes(bytes)), "{text}");
        }
        assert_eq!(ByteSize::mib(1).to_string(), "1MiB");
        assert_eq!(ByteSize::kib(1536).to_string(), "1536KiB");
        assert_eq!(ByteSize::bytes(1_000).to_string(), "1000B");
        assert_eq!(ByteSize::mib(u64::MAX).get(), u64::MAX);
    }

    #[test]
    fn what_is_not_a_size_is_refused_with_a_hint() {
        let refusal = |text: &str| text.parse::<ByteSize>().unwrap_err().to_string();
        assert_eq!(
            refusal("512"),
            "`512` has no unit: write `512MiB`, or `512B` for bytes"
        );
        for text in ["", "MiB", "-1MiB", "1.5GiB", "512M", "512mib"] {
            assert!(
                refusal(text).contains("is not a size"),
                "{text}: {}",
                refusal(text)
            );
        }
        for text in ["18446744073709551616B", "99999999TiB"] {
            assert!(
                refusal(text).contains("too large"),
                "{text}: {}",
                refusal(text)
            );
        }
    }

    #[test]
    fn yaml_takes_text_and_refuses_numbers() {
        let parse = serde_yaml::from_str::<ByteSize>;
        assert_eq!(parse("512MiB").unwrap(), ByteSize::mib(512));
        assert!(
            parse("512")
                .unwrap_err()
                .to_string()
                .contains("write `512MiB`")
        );
        assert!(
            parse("-1")
                .unwrap_err()
                .to_string()
                .contains("a size such as 512MiB")
        );
        assert_eq!(
            serde_yaml::to_string(&ByteSize::kib(256)).unwrap().trim(),
            "256KiB"
        );
    }

    proptest! {
        #[test]
        fn what_is_displayed_parses_back(bytes in any::<u64>()) {
            let size = ByteSize::bytes(bytes);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<ByteSize>();
        }
    }
}
