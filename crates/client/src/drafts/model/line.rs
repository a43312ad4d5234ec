//! What is known of an answer, what is on its way, and what the model guesses behind that.

use std::collections::VecDeque;

/// The most guesses that are not sent yet. Where the first of them is wrong, all were for nothing.
pub(super) const AHEAD: usize = 4;

/// The model guesses no further where all its guesses so far are right with a smaller chance.
const LEAST_CHANCE: f32 = 0.4;

/// Rows that take about as long as one.
const CLOSE: usize = 4;

/// A guess.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Guess {
    /// The token.
    pub(crate) token: u32,
    /// How likely the model finds it.
    pub(crate) chance: f32,
}

/// The tokens of one answer, from its prompt's first on.
#[derive(Debug)]
pub(super) struct Line {
    /// Those that are known, behind them those of drafts on their way, and behind these guesses.
    tokens: Vec<u32>,
    /// How many of them are known.
    known: usize,
    /// How many of them are no guesses.
    given: usize,
    /// How likely guesses are, and those that have become drafts, by position.
    chances: VecDeque<(usize, Guess)>,
    /// The model's answer ends with the last guess.
    ends: bool,
    /// Tokens from here on are others than when the step under way began.
    changed: usize,
    /// The most positions.
    context: usize,
    /// Whether it is worth while to guess.
    pub(super) pays: bool,
    /// Nothing is asked for any more.
    pub(super) ended: bool,
    /// The model has run nearly all tokens that are there: the next guess takes a step or two.
    has_caught_up: bool,
}

/// What the model is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Work {
    /// Positions whose rows stay.
    pub(super) keep: usize,
    /// The tokens behind them that are to be run.
    pub(super) tokens: Vec<u32>,
    /// Whether the token behind these is to be guessed.
    pub(super) guesses: bool,
}

impl Line {
    pub(super) fn new(prompt: &[u32], context: usize) -> Self {
        Self {
            tokens: prompt.to_vec(),
            known: prompt.len(),
            given: prompt.len(),
            chances: VecDeque::new(),
            ends: false,
            changed: usize::MAX,
            context,
            pays: false,
            ended: false,
            has_caught_up: false,
        }
    }

    /// A token of the answer is known. Returns what was guessed for it, if something was.
    pub(super) fn push(&mut self, token: u32) -> Option<Guess> {
        let first = self.chances.front().filter(|(at, _)| *at == self.known);
        let guess = first.map(|(_, guess)| *guess);
        if guess.is_some() {
            self.chances.pop_front();
        }
        self.put(self.known, token);
        self.known += 1;
        self.given = self.given.max(self.known);
        guess
    }

    /// A draft is on its way behind all others.
    pub(super) fn give(&mut self, draft: u32) {
        self.put(self.given, draft);
        self.given += 1;
    }

    /// Nothing is on its way any more.
    pub(super) fn lost(&mut self) {
        self.tokens.truncate(self.known);
        self.given = self.known;
        self.chances.clear();
        self.changed = self.changed.min(self.known);
        self.ends = false;
    }

    /// The token at a position is this one. What follows another one there is forgotten.
    fn put(&mut self, at: usize, token: u32) {
        if self.tokens.get(at) == Some(&token) {
            return;
        }
        self.tokens.truncate(at);
        self.tokens.push(token);
        self.given = self.given.min(at);
        self.chances.retain(|(of, _)| *of <= at);
        self.changed = self.changed.min(at);
        self.ends = false;
    }

    /// The guess behind what is given, and behind these drafts.
    pub(super) fn next(&self, drafts: &[u32]) -> Option<Guess> {
        let at = self.given + drafts.len();
        let is_last = self.tokens.len() == at + 1;
        if (self.ends && is_last) || !self.tokens[self.given..].starts_with(drafts) {
            return None;
        }
        let mut guesses = self.chances.iter();
        let (_, guess) = guesses.find(|(of, _)| *of == at)?;
        Some(*guess)
    }

    /// Whether there will be another guess.
    pub(super) fn is_coming(&self) -> bool {
        let guesses = self.tokens.len() - self.given;
        let room = self.tokens.len() <= self.context;
        // That all guesses behind the known tokens are right.
        let chance: f32 = self.chances.iter().map(|(_, guess)| guess.chance).product();
        let is_likely = chance >= LEAST_CHANCE;
        self.pays && !self.ended && !self.ends && guesses < AHEAD && room && is_likely
    }

    /// Whether the model has run nearly all tokens that are there.
    pub(super) fn has_caught_up(&self) -> bool {
        self.has_caught_up
    }

    /// Whether the guess behind these drafts may be there soon.
    pub(super) fn is_close(&self, drafts: &[u32]) -> bool {
        self.has_caught_up && self.is_coming() && self.tokens[self.given..] == *drafts
    }

    /// What to do behind rows of the `held` tokens, of at most `most` rows.
    pub(super) fn work(&mut self, held: &[u32], most: usize) -> Option<Work> {
        self.changed = usize::MAX;
        if !self.is_coming() {
            return None;
        }
        let alike = held.iter().zip(&self.tokens).take_while(|(a, b)| a == b);
        // The last row must run again where it is the last token's: nothing was guessed behind it.
        let keep = alike.count().min(self.tokens.len().saturating_sub(1));
        let end = self.tokens.len().min(keep + most);
        self.has_caught_up = self.tokens.len() - keep <= CLOSE;
        (end <= self.context).then(|| Work {
            keep,
            tokens: self.tokens[keep..end].to_vec(),
            guesses: end == self.tokens.len(),
        })
    }

    /// The model guesses a token at position `at`, behind tokens that were there when it was asked; with `ends` it ends its
    /// answer with it.
    pub(super) fn guess(&mut self, at: usize, guess: Guess, ends: bool) {
        if self.changed < at || self.tokens.len() > at {
            // Of what has come meanwhile it is a guess all the same, as long as all before it is as it was.
            if self.changed >= at && self.known <= at {
                self.chances.push_back((at, guess));
            }
            return;
        }
        self.tokens.push(guess.token);
        self.chances.push_back((at, guess));
        self.ends = ends;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(token: u32) -> Guess {
        Guess { token, chance: 0.9 }
    }

    /// Of a prompt of three tokens, with what the model holds.
    fn line() -> Line {
        let mut line = Line::new(&[1, 2, 3], 100);
        line.pays = true;
        line
    }

    fn work(keep: usize, tokens: &[u32]) -> Option<Work> {
        Some(Work {
            keep,
            tokens: tokens.to_vec(),
            guesses: true,
        })
    }

    #[test]
    fn it_guesses_a_little_ahead_of_what_is_wanted() {
        let mut line = line();
        assert!(line.is_coming() && !line.is_close(&[]));
        assert_eq!(line.work(&[], 9), work(0, &[1, 2, 3]));
        assert!(line.is_close(&[]) && !line.is_close(&[4]));
        line.guess(3, guess(4), false);
        assert_eq!(line.next(&[]), Some(guess(4)));
        assert_eq!(line.work(&[1, 2, 3], 9), work(3, &[4]));
        line.guess(4, guess(5), false);
        assert_eq!(line.next(&[4]), Some(guess(5)));
        assert_eq!((line.next(&[9]), line.next(&[4, 5])), (None, None));
        line.guess(5, guess(6), false);
        line.guess(6, guess(7), false);
        assert_eq!(line.work(&[1, 2, 3, 4, 5, 6], 9), None);
        line.give(4);
        assert_eq!(line.next(&[]), Some(guess(5)));
        assert_eq!(line.work(&[1, 2, 3, 4, 5, 6], 9), work(6, &[7]));
        // What was guessed for a token is told when it is known.
        assert_eq!(line.push(4), Some(guess(4)));
        assert_eq!(line.push(8), Some(guess(5)));
        assert_eq!(line.next(&[]), None);
        assert_eq!(line.work(&[1, 2, 3, 4], 9), work(4, &[8]));
        assert_eq!(line.push(9), None);
    }

    #[test]
    fn a_long_prompt_is_run_in_parts() {
        let mut line = line();
        let first = line.work(&[], 2).unwrap();
        assert_eq!((first.tokens, first.guesses), (vec![1, 2], false));
        assert_eq!(line.work(&[1, 2], 2), work(2, &[3]));
        // Of another prompt what is alike stays, but for the last row.
        assert_eq!(line.work(&[1, 2, 9, 9], 9), work(2, &[3]));
        assert_eq!(line.work(&[1, 2, 3], 9), work(2, &[3]));
    }

    #[test]
    fn a_guess_behind_what_has_changed_counts_for_nothing() {
        let mut line = line();
        line.give(7);
        assert_eq!(line.work(&[], 9), work(0, &[1, 2, 3, 7]));
        assert_eq!(line.push(6), None);
        line.guess(4, guess(5), false);
        assert_eq!(line.next(&[]), None);
        assert_eq!(line.work(&[1, 2, 3, 7], 9), work(3, &[6]));
        // A token that has come meanwhile is judged by it, and so is a draft.
        line.give(9);
        line.guess(4, guess(5), false);
        assert_eq!(line.next(&[]), None);
        assert_eq!(line.push(5), Some(guess(5)));
    }

    #[test]
    fn a_draft_that_is_not_its_guess_is_followed() {
        let mut line = line();
        line.work(&[], 9);
        line.guess(3, guess(4), false);
        line.give(7);
        assert_eq!(line.work(&[1, 2, 3], 9), work(3, &[7]));
        line.guess(4, guess(8), false);
        assert_eq!(line.next(&[]), Some(guess(8)));
        assert_eq!(line.push(4), Some(guess(4)));
        assert_eq!((line.next(&[]), line.is_coming()), (None, true));
        assert_eq!(line.work(&[1, 2, 3, 7], 9), work(3, &[4]));
        line.lost();
        assert_eq!(line.work(&[1, 2, 3, 7], 9), work(3, &[4]));
    }

    #[test]
    fn behind_the_end_of_its_answer_it_guesses_nothing() {
        let mut line = line();
        line.work(&[], 9);
        line.guess(3, guess(0), true);
        assert_eq!((line.next(&[]), line.is_coming()), (None, false));
        assert_eq!(line.work(&[1, 2, 3], 9), None);
        line.push(4);
        assert_eq!(line.work(&[1, 2, 3], 9), work(3, &[4]));
        line.guess(
            4,
            Guess {
                token: 5,
                chance: 0.3,
            },
            false,
        );
        assert_eq!(line.next(&[]).map(|guess| guess.token), Some(5));
        assert!(
            !line.is_coming(),
            "what is behind it is not likely to be right"
        );
        let mut short = Line::new(&[1, 2, 3], 3);
        short.pays = true;
        assert!(short.work(&[], 9).is_some());
        short.push(4);
        assert_eq!(
            (short.work(&[1, 2, 3], 9), short.is_coming()),
            (None, false)
        );
    }

    #[test]
    fn it_waits_where_guesses_do_not_pay() {
        let mut line = line();
        line.pays = false;
        assert_eq!((line.work(&[], 9), line.is_coming()), (None, false));
    }
}
