//! The time that `strftime_now` puts into a prompt, as Python formats it.
//! Llama 3's template, among others, tells the model today's date.

use std::fmt::Write;

use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;

use crate::error::{Result, TextError};

/// Where a chat template's `strftime_now` takes the time from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock {
    fixed: Option<DateTime>,
}

impl Clock {
    /// The machine's local time, as transformers uses (UTC where no time zone is set).
    pub fn local() -> Self {
        Self::default()
    }

    /// Always the same time, without a zone: for prompts that must not change from
    /// one day to the next, as a cached conversation's or a test's.
    ///
    /// # Errors
    /// [`TextError::Time`] if `time` is not like `2024-07-26T15:04:05`.
    pub fn fixed(time: &str) -> Result<Self> {
        match time.parse() {
            Ok(time) => Ok(Self { fixed: Some(time) }),
            Err(error) => Err(TextError::Time {
                found: time.to_owned(),
                detail: error.to_string(),
            }),
        }
    }

    /// The present time as Python's `datetime.now().strftime(format)` writes it in
    /// the C locale, or what is wrong with the format.
    pub(crate) fn strftime(self, format: &str) -> std::result::Result<String, String> {
        let now = self.fixed.unwrap_or_else(|| jiff::Zoned::now().datetime());
        BrokenDownTime::from(now)
            .to_string(from_python(format))
            .map_err(|error| format!("strftime_now(\"{format}\"): {error}"))
    }
}

/// Spells in jiff's dialect the directives that Python means otherwise.
fn from_python(format: &str) -> String {
    let mut out = String::with_capacity(format.len());
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('c') => out.push_str("%a %b %e %H:%M:%S %Y"),
            Some('x') => out.push_str("%m/%d/%y"),
            Some('X') => out.push_str("%H:%M:%S"),
            Some('f') => out.push_str("%6f"),
            // `datetime.now()` knows no zone, so Python writes nothing.
            Some('z' | 'Z') => {}
            Some(other) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{other}");
            }
            None => out.push_str("%%"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each expected text is what Python 3.11 gives for this time.
    #[test]
    fn directives_mean_what_python_means() {
        let clock = Clock::fixed("2024-07-06T15:04:05").unwrap();
        for (format, expected) in [
            ("%d %b %Y", "06 Jul 2024"),
            ("%Y-%m-%d", "2024-07-06"),
            ("%B %-d, %Y", "July 6, 2024"),
            ("%A, %d %B %y", "Saturday, 06 July 24"),
            ("%I:%M:%S %p", "03:04:05 PM"),
            ("%H:%M:%S.%f", "15:04:05.000000"),
            ("%j %U %W %w %u %G-W%V", "188 26 27 6 6 2024-W27"),
            ("%c|%x|%X", "Sat Jul  6 15:04:05 2024|07/06/24|15:04:05"),
            ("[%z%Z] 100%% é", "[] 100% é"),
            (
                "%e %k %l %F %T %D %h",
                " 6 15  3 2024-07-06 15:04:05 07/06/24 Jul",
            ),
            ("%", "%"),
        ] {
            assert_eq!(clock.strftime(format).unwrap(), expected, "{format}");
        }
    }

    #[test]
    fn the_local_clock_runs_and_nonsense_is_refused() {
        let year = Clock::local().strftime("%Y").unwrap();
        assert!(year.parse::<u32>().unwrap() >= 2024);
        assert!(Clock::fixed("yesterday").is_err());
        assert!(Clock::local().strftime("%!").is_err());
    }
}
