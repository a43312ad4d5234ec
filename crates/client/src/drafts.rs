//! Drafts: tokens that are likely to come, whose rows go up with that of the last known one. The cloud says how many of
//! them are the answer's own. It draws the same tokens as without, so a draft changes when an answer is there, and never
//! what it is.
//!
//! The drafts are what followed where prompt or answer ended before as they do now. How many of them are worth it follows
//! from how often such drafts are right and from what rows take, both as measured: a draft is worth its row as long as
//!
//! ```text
//! chance that it and all before it are right × (time of the round trip ÷ tokens that it brings) > time of a row more
//! ```
//!
//! which is where the tokens of a second begin to grow fewer. Where there is nothing to gain, there are no drafts.

mod acceptance;
mod lookup;
mod round_time;

pub(crate) use acceptance::Acceptance;
pub(crate) use round_time::RoundTimes;

use acceptance::OfAnswer;
use lookup::{Lookup, Match};
use round_time::RoundTime;

/// How many times its time a row has to be worth.
const WORTH: f64 = 1.2;

/// The drafts of one answer.
#[derive(Debug)]
pub(crate) struct Drafter {
    lookup: Lookup,
    acceptance: OfAnswer,
    /// Where what is to come may have been before.
    found: Option<Match>,
}

impl Drafter {
    /// Of an answer to a prompt.
    pub(crate) fn new(prompt: &[u32], acceptance: &Acceptance) -> Self {
        let mut lookup = Lookup::default();
        prompt.iter().for_each(|&token| lookup.push(token));
        Self {
            found: lookup.longest(),
            lookup,
            acceptance: acceptance.of_answer(),
        }
    }

    /// Takes note of a token of the answer.
    pub(crate) fn push(&mut self, token: u32) {
        if let Some(found) = self.found {
            let followed = self.lookup.from(found.next).next();
            self.acceptance.note(found.length, followed == Some(token));
        }
        self.lookup.push(token);
        self.found = self.lookup.longest();
    }

    /// The drafts to send beside the row of the last token, at most so many.
    pub(crate) fn draft(&self, most: usize, times: &RoundTimes) -> Vec<u32> {
        match (self.found, times.expected()) {
            (Some(found), Some(time)) => {
                let shares = self.acceptance.shares();
                let chances = (found.length..).map(|length| shares.of(length));
                let worth = worth(time, chances.take(most));
                self.lookup.from(found.next).take(worth).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// How many drafts are worth their rows, of those that are right with these chances if all before them are.
fn worth(time: RoundTime, chances: impl Iterator<Item = f64>) -> usize {
    let (mut seconds, mut tokens, mut chance) = (time.first, 1.0, 1.0);
    let mut count = 0;
    for own in chances {
        chance *= own;
        if chance * seconds <= WORTH * time.each * tokens {
            break;
        }
        seconds += time.each;
        tokens += chance;
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn more_is_drafted_where_rows_cost_little_and_drafts_are_right() {
        let count = |first: f64, each: f64, chance: f64| {
            worth(RoundTime { first, each }, std::iter::repeat_n(chance, 30))
        };
        assert!((20..=30).contains(&count(0.1, 0.003, 0.95)));
        assert!((5..10).contains(&count(0.1, 0.003, 0.7)));
        assert_eq!(count(0.1, 0.003, 0.02), 0);
        assert!((1..4).contains(&count(0.02, 0.005, 0.7)));
        assert_eq!(count(0.02, 0.019, 0.7), 0);
    }

    #[test]
    fn an_answer_that_quotes_is_drafted_and_one_that_does_not_is_not() {
        let times = RoundTimes::default();
        times.note(1, Duration::from_millis(100));
        let acceptance = Acceptance::default();
        let prompt: Vec<u32> = (0..200).map(|at| at * 7 % 211).collect();
        let mut quotes = Drafter::new(&prompt, &acceptance);
        for &token in &prompt[50..60] {
            quotes.push(token);
        }
        let drafts = quotes.draft(8, &times);
        assert!(drafts.len() > 3);
        assert_eq!(drafts, prompt[60..60 + drafts.len()]);
        assert!(quotes.draft(0, &times).is_empty());
        let mut says = Drafter::new(&prompt, &acceptance);
        for at in 0..60 {
            // Each has been before, and something else came then.
            says.push(prompt[at * 3]);
        }
        assert!(says.draft(8, &times).is_empty());
        assert!(quotes.draft(8, &RoundTimes::default()).is_empty());
    }
}
