//! Counts of tokens as people write them: `4096`, `4k`, `1M`. `k` is 1024, as contexts are sized.

use std::fmt;

use serde::Deserializer;
use serde::de::{self, Unexpected, Visitor};

/// Text that is no count of tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a count of tokens: write 4096 or 4k (k is 1024, M is 1024 k)")]
pub struct TokenCountError(String);

/// The number that a text means; for flags.
///
/// # Errors
/// It is no number with `k`, `M` or nothing behind it, or too large.
pub fn parse_token_count<T: TryFrom<usize>>(text: &str) -> Result<T, TokenCountError> {
    let refused = || TokenCountError(text.to_owned());
    let (digits, unit) = match text.char_indices().last() {
        Some((end, 'k' | 'K')) => (&text[..end], 1 << 10),
        Some((end, 'm' | 'M')) => (&text[..end], 1 << 20),
        _ => (text, 1),
    };
    // `parse` takes a sign, which no count has.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused());
    }
    let count = digits.parse::<usize>().map_err(|_| refused())?;
    let count = count.checked_mul(unit).ok_or_else(refused)?;
    T::try_from(count).map_err(|_| refused())
}

/// Reads a count from a configuration; for `#[serde(deserialize_with = "…")]`.
///
/// # Errors
/// The value is no count.
pub fn token_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    struct Count;

    impl Visitor<'_> for Count {
        type Value = usize;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a count of tokens such as 4096 or 4k")
        }

        fn visit_u64<E: de::Error>(self, count: u64) -> Result<usize, E> {
            usize::try_from(count).map_err(|_| E::invalid_value(Unexpected::Unsigned(count), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<usize, E> {
            parse_token_count(text).map_err(E::custom)
        }
    }

    deserializer.deserialize_any(Count)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Sessions {
        #[serde(deserialize_with = "token_count")]
        context: usize,
    }

    #[test]
    fn counts_are_read_as_people_write_them() {
        for (text, count) in [
            ("0", 0),
            ("4096", 4096),
            ("4k", 4096),
            ("8K", 8192),
            ("1M", 1 << 20),
        ] {
            assert_eq!(parse_token_count::<usize>(text), Ok(count), "{text}");
            let yaml = format!("context: {text}");
            let read: Sessions = serde_yaml::from_str(&yaml).unwrap();
            assert_eq!(read.context, count, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_form() {
        for text in [
            "",
            "k",
            "4q",
            "-4k",
            "+4",
            "4.5k",
            "4 k",
            "4kB",
            "18446744073709551615M",
        ] {
            let error = parse_token_count::<usize>(text).unwrap_err().to_string();
            assert!(error.contains("write 4096 or 4k"), "{text}: {error}");
        }
        assert!(parse_token_count::<u32>("8192M").is_err());
        assert!(serde_yaml::from_str::<Sessions>("context: -1").is_err());
        assert!(serde_yaml::from_str::<Sessions>("context: many").is_err());
    }
}
