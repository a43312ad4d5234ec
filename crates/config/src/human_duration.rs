//! Durations as people write them: `500ms`, `30s`, `2m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration that is written as a whole number with a unit, in configuration and flags alike.
///
/// Units: `us`, `ms`, `s`, `m`, `h`, `d`. A number without a unit is refused, because one reader's
/// seconds are another's milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(Duration);

/// Nanoseconds a unit, largest first.
const UNITS: [(&str, u128); 6] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

/// Text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HumanDurationError {
    /// Only a number.
    #[error("`{0}` has no unit: write `{0}s` or `{0}ms`")]
    NoUnit(String),
    /// Not a whole number with a unit.
    #[error(
        "`{0}` is not a duration: write a whole number and us, ms, s, m, h or d, as in `500ms`"
    )]
    Malformed(String),
    /// More than 2^64 seconds.
    #[error("`{0}` is too long a duration")]
    TooLong(String),
}

impl HumanDuration {
    /// The duration itself.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for HumanDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<HumanDuration> for Duration {
    fn from(duration: HumanDuration) -> Self {
        duration.0
    }
}

impl FromStr for HumanDuration {
    type Err = HumanDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let malformed = || HumanDurationError::Malformed(text.to_owned());
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(malformed());
        }
        let unit = unit.trim_start();
        if unit.is_empty() {
            return Err(HumanDurationError::NoUnit(number.to_owned()));
        }
        let (_, unit_nanos) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(malformed)?;
        let too_long = || HumanDurationError::TooLong(text.to_owned());
        let nanos = number
            .parse::<u128>()
            .ok()
            .and_then(|number| number.checked_mul(*unit_nanos))
            .ok_or_else(too_long)?;
        let seconds = u64::try_from(nanos / 1_000_000_000).map_err(|_| too_long())?;
        let rest = u32::try_from(nanos % 1_000_000_000).map_err(|_| too_long())?;
        Ok(Self(Duration::new(seconds, rest)))
    }
}

impl fmt::Display for HumanDuration {
    /// In the largest unit that needs no fraction; less than a microsecond is cut off.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos() / 1_000 * 1_000;
        if nanos == 0 {
            return write!(f, "0s");
        }
        match UNITS.iter().find(|(_, unit)| nanos.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", nanos / unit),
            None => write!(f, "{:?}", self.0),
        }
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = HumanDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 30s or 500ms")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HumanDuration, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<HumanDuration, E> {
                Err(E::custom(HumanDurationError::NoUnit(number.to_string())))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<HumanDuration, E> {
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
    fn people_write_durations() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            (" 7 s ", 7_000),
        ] {
            let parsed: HumanDuration = text.parse().unwrap();
            assert_eq!(parsed.get(), Duration::from_millis(millis), "{text}");
        }
        assert_eq!("0s".parse::<HumanDuration>().unwrap().get(), Duration::ZERO);
        assert_eq!(
            "250us".parse::<HumanDuration>().unwrap().get(),
            Duration::from_micros(250)
        );
    }

    #[test]
    fn what_is_not_a_duration_is_refused_with_a_hint() {
        let refusal = |text: &str| text.parse::<HumanDuration>().unwrap_err().to_string();
        assert_eq!(refusal("30"), "`30` has no unit: write `30s` or `30ms`");
        for text in ["", "s", "-5s", "1.5s", "5 parsecs", "5S", "٣s"] {
            assert!(
                refusal(text).contains("is not a duration"),
                "{text}: {}",
                refusal(text)
            );
        }
        for text in [
            "99999999999999999999999999999999999999999s",
            "18446744073709551616s",
        ] {
            assert!(
                refusal(text).contains("too long"),
                "{text}: {}",
                refusal(text)
            );
        }
    }

    #[test]
    fn yaml_takes_text_and_refuses_numbers() {
        let parse = serde_yaml::from_str::<HumanDuration>;
        assert_eq!(parse("30s").unwrap().get(), Duration::from_secs(30));
        assert!(
            parse("30")
                .unwrap_err()
                .to_string()
                .contains("write `30s` or `30ms`")
        );
        assert!(
            parse("-30")
                .unwrap_err()
                .to_string()
                .contains("a duration such as 30s")
        );
        assert!(
            parse("3.5")
                .unwrap_err()
                .to_string()
                .contains("a duration such as 30s")
        );
        assert!(parse("[30s]").is_err());
        let half = HumanDuration::from(Duration::from_millis(500));
        assert_eq!(serde_yaml::to_string(&half).unwrap().trim(), "500ms");
    }

    proptest! {
        #[test]
        fn what_is_displayed_parses_back(micros in any::<u64>()) {
            let duration = HumanDuration::from(Duration::from_micros(micros));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<HumanDuration>();
        }
    }
}
