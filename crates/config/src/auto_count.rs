//! A whole number, or `auto`: what follows from something else.

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

const AUTO: &str = "auto";

/// A count that is written as a whole number or as `auto`, in configuration and flags alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AutoCount(Option<usize>);

/// Text that is neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a whole number nor `auto`")]
pub struct AutoCountError(String);

impl AutoCount {
    /// The number; none for `auto`.
    pub const fn get(self) -> Option<usize> {
        self.0
    }
}

impl FromStr for AutoCount {
    type Err = AutoCountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            AUTO => Ok(Self(None)),
            _ => text
                .parse()
                .map(|count| Self(Some(count)))
                .map_err(|_| AutoCountError(text.to_owned())),
        }
    }
}

impl fmt::Display for AutoCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str(AUTO),
            Some(count) => write!(f, "{count}"),
        }
    }
}

impl Serialize for AutoCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            None => serializer.serialize_str(AUTO),
            Some(count) => serializer.serialize_u64(count as u64),
        }
    }
}

impl<'de> Deserialize<'de> for AutoCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AutoCountVisitor;

        impl Visitor<'_> for AutoCountVisitor {
            type Value = AutoCount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number or `auto`")
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<AutoCount, E> {
                usize::try_from(count)
                    .map(|count| AutoCount(Some(count)))
                    .map_err(|_| E::invalid_value(Unexpected::Unsigned(count), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<AutoCount, E> {
                match text {
                    AUTO => Ok(AutoCount(None)),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_any(AutoCountVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written() {
        for text in ["auto", "0", "17"] {
            let count: AutoCount = text.parse().unwrap();
            assert_eq!(count.to_string(), text);
            assert_eq!(serde_yaml::from_str::<AutoCount>(text).unwrap(), count);
            let written = serde_yaml::to_string(&count).unwrap();
            assert_eq!(serde_yaml::from_str::<AutoCount>(&written).unwrap(), count);
        }
        assert_eq!(AutoCount::default().get(), None);
        for text in ["", "-1", "1.5", "all", "'7'"] {
            assert!(serde_yaml::from_str::<AutoCount>(text).is_err(), "{text}");
        }
        assert!("all".parse::<AutoCount>().is_err());
    }
}
