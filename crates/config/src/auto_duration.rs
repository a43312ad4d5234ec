//! A duration, or `auto`: what follows from something else.

use crate::human_duration::{HumanDuration, HumanDurationError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const AUTO: &str = "auto";

/// A duration as [`HumanDuration`] writes it, or `auto`, in configuration and flags alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct AutoDuration(Option<HumanDuration>);

impl AutoDuration {
    /// The duration; none for `auto`.
    pub fn get(self) -> Option<Duration> {
        self.0.map(HumanDuration::get)
    }

    /// As it is written; none for `auto`.
    pub fn written(self) -> Option<HumanDuration> {
        self.0
    }
}

impl FromStr for AutoDuration {
    type Err = HumanDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            AUTO => Ok(Self(None)),
            _ => text.parse().map(|duration| Self(Some(duration))),
        }
    }
}

impl TryFrom<String> for AutoDuration {
    type Error = HumanDurationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AutoDuration> for String {
    fn from(duration: AutoDuration) -> Self {
        duration.to_string()
    }
}

impl fmt::Display for AutoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str(AUTO),
            Some(duration) => duration.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written() {
        for text in ["auto", "20ms", "1s"] {
            let duration: AutoDuration = text.parse().unwrap();
            assert_eq!(duration.to_string(), text);
            assert_eq!(
                serde_yaml::from_str::<AutoDuration>(text).unwrap(),
                duration
            );
            let written = serde_yaml::to_string(&duration).unwrap();
            assert_eq!(
                serde_yaml::from_str::<AutoDuration>(&written).unwrap(),
                duration
            );
        }
        assert_eq!(AutoDuration::default().get(), None);
        let long = "1s".parse::<AutoDuration>().unwrap();
        assert_eq!(long.get(), Some(Duration::from_secs(1)));
        for text in ["", "20", "never"] {
            assert!(
                serde_yaml::from_str::<AutoDuration>(text).is_err(),
                "{text}"
            );
        }
    }
}
