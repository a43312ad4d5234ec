//! Strings that end an answer. They are found in the text, not in the ids: a stop
//! string may begin in the middle of one token and end in the middle of another.
//!
//! Text that may yet turn out to be the beginning of a stop string is held back,
//! so that no part of one ever reaches the client. One Knuth-Morris-Pratt
//! automaton a stop string says, after each byte, how much of it the text now
//! ends with: the longest such end is what is held back.

use std::sync::Arc;

use crate::error::{Result, TextError};

/// Most stop strings of one request.
pub const MAX_STOP_STRINGS: usize = 16;

/// Longest stop string, in bytes of UTF-8: also the most text that is ever held back.
pub const MAX_STOP_STRING_BYTES: usize = 256;

/// The stop strings of a request, checked and prepared. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct StopStrings {
    patterns: Arc<[Pattern]>,
}

#[derive(Debug)]
struct Pattern {
    text: String,
    /// `borders[n]`: the longest proper beginning of `text[..=n]` that is also its end, in bytes.
    borders: Vec<usize>,
}

/// What a piece of text came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopOutcome {
    /// No stop string yet. The text may be sent; it may be empty.
    Continue(String),
    /// A stop string is complete. The answer ends with this text.
    Stopped {
        /// The text before the stop string that was not yet returned.
        text: String,
        /// Which stop string it was, by its place in the list, from 0.
        index: usize,
    },
}

impl StopStrings {
    /// Checks and prepares the stop strings of a request; an empty list never stops.
    ///
    /// # Errors
    /// More than [`MAX_STOP_STRINGS`], an empty one, or one longer than
    /// [`MAX_STOP_STRING_BYTES`].
    pub fn new(strings: Vec<String>) -> Result<Self> {
        if strings.len() > MAX_STOP_STRINGS {
            return Err(TextError::TooManyStopStrings {
                count: strings.len(),
                limit: MAX_STOP_STRINGS,
            });
        }
        for (index, string) in strings.iter().enumerate() {
            if string.is_empty() {
                return Err(TextError::StopStringEmpty { index });
            }
            if string.len() > MAX_STOP_STRING_BYTES {
                return Err(TextError::StopStringTooLong {
                    index,
                    bytes: string.len(),
                    limit: MAX_STOP_STRING_BYTES,
                });
            }
        }
        Ok(Self {
            patterns: strings.into_iter().map(Pattern::new).collect(),
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The stop string at `index`, as a [`StopOutcome`] names it.
    pub fn get(&self, index: usize) -> Option<&str> {
        self.patterns
            .get(index)
            .map(|pattern| pattern.text.as_str())
    }

    /// A matcher at the beginning of an answer.
    pub fn matcher(&self) -> StopMatcher {
        StopMatcher {
            matched: vec![0; self.patterns.len()],
            patterns: Arc::clone(&self.patterns),
            held: String::new(),
            stopped: None,
        }
    }
}

impl Pattern {
    fn new(text: String) -> Self {
        let mut pattern = Self {
            borders: vec![0; text.len()],
            text,
        };
        for end in 1..pattern.text.len() {
            let border = pattern.borders[end - 1];
            pattern.borders[end] = pattern.advance(border, pattern.text.as_bytes()[end]);
        }
        pattern
    }

    /// How many bytes of the pattern the text ends with after `byte`, when it
    /// ended with `matched` of them before.
    fn advance(&self, mut matched: usize, byte: u8) -> usize {
        let bytes = self.text.as_bytes();
        loop {
            if bytes.get(matched) == Some(&byte) {
                return matched + 1;
            }
            if matched == 0 {
                return 0;
            }
            matched = self.borders[matched - 1];
        }
    }
}

/// Looks for the stop strings in one answer, piece by piece. How the text is cut
/// into pieces makes no difference to what comes out.
///
/// The stop string that is complete first ends the answer; of two that end at the
/// same character, the one that began earlier, so that the least text is sent.
#[derive(Debug, Clone)]
pub struct StopMatcher {
    patterns: Arc<[Pattern]>,
    /// For each pattern, how many of its bytes the text so far ends with.
    matched: Vec<usize>,
    /// The end of the text so far that may be the beginning of a stop string.
    held: String,
    /// The stop string that was found.
    stopped: Option<usize>,
}

impl StopMatcher {
    /// Takes the next piece of text and returns what may be sent. After a stop
    /// string was found, further text is ignored and the outcome stays `Stopped`.
    pub fn push(&mut self, text: &str) -> StopOutcome {
        if let Some(index) = self.stopped {
            return StopOutcome::Stopped {
                text: String::new(),
                index,
            };
        }
        let before = self.held.len();
        self.held.push_str(text);
        for (offset, byte) in text.bytes().enumerate() {
            if let Some(index) = self.advance(byte) {
                // Both ends of a stop string lie between characters, because it is
                // whole characters itself.
                let end = before + offset + 1;
                let start = end - self.patterns[index].text.len();
                let mut text = std::mem::take(&mut self.held);
                text.truncate(start);
                self.stopped = Some(index);
                return StopOutcome::Stopped { text, index };
            }
        }
        let keep = self.matched.iter().copied().max().unwrap_or(0);
        let held = self.held.split_off(self.held.len() - keep);
        StopOutcome::Continue(std::mem::replace(&mut self.held, held))
    }

    /// Ends the answer without a stop string: the text that was held back.
    pub fn finish(&mut self) -> String {
        self.matched.fill(0);
        std::mem::take(&mut self.held)
    }

    /// Moves every automaton by one byte; the longest pattern that is now complete, if any.
    fn advance(&mut self, byte: u8) -> Option<usize> {
        let mut complete: Option<usize> = None;
        for (index, (pattern, matched)) in self.patterns.iter().zip(&mut self.matched).enumerate() {
            *matched = pattern.advance(*matched, byte);
            let longest = complete.map_or(0, |best| self.patterns[best].text.len());
            if *matched == pattern.text.len() && *matched > longest {
                complete = Some(index);
            }
        }
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stops(strings: &[&str]) -> StopStrings {
        StopStrings::new(strings.iter().map(|&text| text.to_owned()).collect()).unwrap()
    }

    /// The text that is sent for these pieces, and the stop string that ended it.
    fn run<'a>(
        stops: &StopStrings,
        pieces: impl IntoIterator<Item = &'a str>,
    ) -> (String, Option<usize>) {
        let mut matcher = stops.matcher();
        let mut sent = String::new();
        for piece in pieces {
            match matcher.push(piece) {
                StopOutcome::Continue(text) => sent.push_str(&text),
                StopOutcome::Stopped { text, index } => {
                    sent.push_str(&text);
                    let again = matcher.push(piece);
                    let text = String::new();
                    assert_eq!(again, StopOutcome::Stopped { text, index });
                    assert_eq!(matcher.finish(), "");
                    return (sent, Some(index));
                }
            }
        }
        sent.push_str(&matcher.finish());
        (sent, None)
    }

    /// The same, on the whole text, in the plainest way.
    fn search(strings: &[String], text: &str) -> (String, Option<usize>) {
        for (end, _) in text.char_indices().skip(1).chain([(text.len(), ' ')]) {
            let ending = strings
                .iter()
                .enumerate()
                .filter(|(_, stop)| text[..end].ends_with(stop.as_str()));
            // Of equal ones the first, where max_by_key would give the last.
            if let Some((index, stop)) = ending.rev().max_by_key(|(_, stop)| stop.len()) {
                return (text[..end - stop.len()].to_owned(), Some(index));
            }
        }
        (text.to_owned(), None)
    }

    #[test]
    fn a_stop_string_across_pieces_never_leaks() {
        let stops = stops(&["</answer>"]);
        let mut matcher = stops.matcher();
        let next = |text: &str| StopOutcome::Continue(text.to_owned());
        assert_eq!(matcher.push("Yes.</a"), next("Yes."));
        assert_eq!(matcher.push("nsw"), next(""));
        assert_eq!(matcher.push("ers or</answer"), next("</answers or"));
        let text = String::new();
        assert_eq!(
            matcher.push("> more"),
            StopOutcome::Stopped { text, index: 0 }
        );
    }

    #[test]
    fn what_was_held_back_comes_out_at_the_end() {
        let stops = stops(&["\n\nUser:"]);
        assert_eq!(run(&stops, ["Done\n", "\nUs"]), ("Done\n\nUs".into(), None));
    }

    #[test]
    fn the_first_to_be_complete_wins_and_then_the_longer() {
        assert_eq!(
            run(&stops(&["abcd", "bc"]), ["abcd"]),
            ("a".into(), Some(1))
        );
        assert_eq!(run(&stops(&["bc", "abc"]), ["xabc"]), ("x".into(), Some(1)));
        assert_eq!(run(&stops(&["bc", "bc"]), ["xbc"]), ("x".into(), Some(0)));
    }

    #[test]
    fn a_repeating_beginning_is_not_missed() {
        assert_eq!(
            run(&stops(&["aab"]), ["a", "a", "a", "b"]),
            ("a".into(), Some(0))
        );
        assert_eq!(
            run(&stops(&["ééa"]), ["é", "é", "é", "a!"]),
            ("é".into(), Some(0))
        );
    }

    #[test]
    fn impossible_lists_are_refused() {
        let new = |strings: Vec<String>| StopStrings::new(strings).map(|_| ());
        assert!(matches!(
            new(vec!["a".into(), String::new()]),
            Err(TextError::StopStringEmpty { index: 1 })
        ));
        assert!(matches!(
            new(vec!["a".into(); 17]),
            Err(TextError::TooManyStopStrings {
                count: 17,
                limit: 16
            })
        ));
        assert!(matches!(
            new(vec!["é".repeat(129)]),
            Err(TextError::StopStringTooLong {
                index: 0,
                bytes: 258,
                limit: 256
            })
        ));
        assert!(new(vec!["é".repeat(128); 16]).is_ok());
        assert!(stops(&[]).is_empty());
        assert_eq!(
            run(&stops(&[]), ["any", "thing"]),
            ("anything".into(), None)
        );
        assert_eq!(stops(&["x"]).get(0), Some("x"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn any_cutting_equals_a_search_of_the_whole_text(
            strings in proptest::collection::vec("[abé🦀]{1,5}", 0..5),
            pieces in proptest::collection::vec("[abé🦀]{0,6}", 0..12),
        ) {
            let stops = StopStrings::new(strings.clone()).unwrap();
            let found = run(&stops, pieces.iter().map(String::as_str));
            prop_assert_eq!(found, search(&strings, &pieces.concat()));
        }

        #[test]
        fn everything_held_back_begins_a_stop_string(
            strings in proptest::collection::vec("[ab]{1,5}", 1..4),
            pieces in proptest::collection::vec("[ab]{0,6}", 0..6),
        ) {
            let stops = StopStrings::new(strings.clone()).unwrap();
            let mut matcher = stops.matcher();
            for piece in &pieces {
                if matches!(matcher.push(piece), StopOutcome::Stopped { .. }) {
                    return Ok(());
                }
            }
            let held = matcher.finish();
            prop_assert!(strings.iter().any(|stop| stop.starts_with(&held)));
        }
    }
}
