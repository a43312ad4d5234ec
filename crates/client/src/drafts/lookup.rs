//! What followed, the last time that it ended as it does now.

use super::earlier::END;
use std::collections::HashMap;

/// Earlier places that are looked at, the latest first: the longest match is seldom further away.
const PLACES: usize = 32;
/// The most tokens of a match that are counted.
const LONGEST: usize = 16;

/// The tokens of earlier answers, of a prompt and of its answer so far, by where each occurs.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    tokens: Vec<u32>,
    /// One behind the last occurrence of a token.
    last: HashMap<u32, u32>,
    /// By position, one behind the occurrence before of the token there; 0 for none.
    before: Vec<u32>,
}

/// Where the end of the tokens occurred before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    /// The position behind it there.
    pub(super) next: usize,
    /// How many tokens are alike, at most [`LONGEST`].
    pub(super) length: usize,
}

impl Lookup {
    /// Adds a token behind the others.
    pub(super) fn push(&mut self, token: u32) {
        self.tokens.push(token);
        let behind = u32::try_from(self.tokens.len()).unwrap_or(u32::MAX);
        let before = self.last.insert(token, behind);
        self.before.push(before.unwrap_or(0));
    }

    /// The longest end of the tokens that occurred before; of several, the latest.
    pub(super) fn longest(&self) -> Option<Match> {
        let end = self.tokens.len();
        let mut place = *self.before.last()? as usize;
        let mut found: Option<Match> = None;
        for _ in 0..PLACES {
            if place == 0 {
                break;
            }
            let pairs = self.tokens[..place]
                .iter()
                .rev()
                .zip(self.tokens[..end].iter().rev());
            let length = pairs.take(LONGEST).take_while(|(a, b)| a == b).count();
            if found.is_none_or(|found| length > found.length) {
                found = Some(Match {
                    next: place,
                    length,
                });
            }
            if length == LONGEST {
                break;
            }
            place = self.before[place - 1] as usize;
        }
        found
    }

    /// The token at a position.
    pub(super) fn at(&self, position: usize) -> Option<u32> {
        self.tokens.get(position).copied()
    }

    /// How many tokens there are from a position on.
    pub(super) fn behind(&self, position: usize) -> usize {
        self.tokens.len().saturating_sub(position)
    }

    /// Of so many tokens from a position on, over and over, the one with this number; none behind the end of the answer that
    /// they are of.
    pub(super) fn repeated(&self, next: usize, period: usize, number: usize) -> Option<u32> {
        let tokens = self.tokens.get(next..next + period)?;
        match tokens.iter().position(|&token| token == END) {
            Some(end) => tokens[..end].get(number).copied(),
            None => tokens.get(number % period.max(1)).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lookup(tokens: &[u32]) -> Lookup {
        let mut lookup = Lookup::default();
        tokens.iter().for_each(|&token| lookup.push(token));
        lookup
    }

    #[test]
    fn the_longest_and_latest_place_is_found() {
        let found = lookup(&[1, 2, 3, 9, 2, 3, 8, 4, 2, 3]).longest().unwrap();
        assert_eq!((found.next, found.length), (6, 2));
        let lookup = lookup(&[1, 2, 3, 9, 2, 3, 8, 1, 2, 3]);
        let found = lookup.longest().unwrap();
        assert_eq!((found.next, found.length), (3, 3));
        let period = lookup.behind(found.next);
        let next = (0..9).filter_map(|number| lookup.repeated(found.next, period, number));
        assert!(next.eq([9, 2, 3, 8, 1, 2, 3, 9, 2]));
    }

    #[test]
    fn what_was_never_seen_has_no_place() {
        assert_eq!(lookup(&[]).longest(), None);
        assert_eq!(lookup(&[1, 2, 3]).longest(), None);
        assert_eq!(lookup(&[5, 5]).longest().unwrap().length, 1);
    }

    proptest! {
        #[test]
        fn it_is_what_a_search_finds(tokens in prop::collection::vec(0_u32..3, 0..30)) {
            let end = tokens.len();
            let length_at = |place: usize| (1..=LONGEST.min(place))
                .take_while(|&n| tokens[place - n] == tokens[end - n])
                .count();
            // The latest of the longest.
            let places = (1..end).map(|place| (length_at(place), place));
            let longest = places.filter(|(length, _)| *length > 0).max();
            let found = lookup(&tokens).longest().map(|found| (found.length, found.next));
            prop_assert_eq!(found, longest);
        }
    }
}
