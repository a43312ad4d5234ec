//! What a run found for one item, and whether it is right.

use crate::pipeline::Wire;
use crate::task::item::Item;
use crate::task::likelihood::Likelihood;
use serde::{Deserialize, Serialize};

/// What a run found for one item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Number of the item, from 0.
    pub item: usize,
    /// The item's fingerprint.
    pub fingerprint: String,
    /// Which choice is right, from 0.
    pub gold: usize,
    /// ln of each choice's probability, in nats.
    pub log_likelihoods: Vec<f64>,
    /// Characters of each choice.
    pub characters: Vec<usize>,
    /// Whether each token of a choice is the likeliest there, for each choice.
    pub greedy: Vec<bool>,
    /// What crossed the cut for it.
    pub wire: Wire,
}

impl Outcome {
    pub(crate) fn new(number: usize, item: &Item, found: &[Likelihood], wire: Wire) -> Self {
        Self {
            item: number,
            fingerprint: item.fingerprint(),
            gold: item.gold,
            log_likelihoods: found.iter().map(|l| l.log).collect(),
            characters: item.choices.iter().map(|c| c.characters).collect(),
            greedy: found.iter().map(|l| l.greedy).collect(),
            wire,
        }
    }

    /// Whether there is one figure for each choice of the item, and it is this one.
    pub(crate) fn is_of(&self, number: usize, item: &Item) -> bool {
        let choices = item.choices.len();
        let lengths = [
            self.log_likelihoods.len(),
            self.characters.len(),
            self.greedy.len(),
        ];
        self.item == number
            && self.fingerprint == item.fingerprint()
            && lengths == [choices; 3]
            && self.gold == item.gold
    }

    /// Whether the right choice is the likeliest, the first of equals (the harness's `acc`). A
    /// single choice is right where a greedy answer begins with it.
    pub fn is_right(&self) -> bool {
        match self.greedy[..] {
            [greedy] => greedy,
            _ => self.gold == greatest(self.log_likelihoods.iter().copied()),
        }
    }

    /// The same with log-likelihoods divided by the choices' characters (`acc_norm`).
    pub fn is_right_normalised(&self) -> bool {
        match self.greedy[..] {
            [greedy] => greedy,
            _ => {
                let both = self.log_likelihoods.iter().zip(&self.characters);
                self.gold == greatest(both.map(|(log, &characters)| log / characters as f64))
            }
        }
    }
}

/// The place of the greatest, the first of equals.
fn greatest(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (place, value) in values.enumerate() {
        if value > best.1 {
            best = (place, value);
        }
    }
    best.0
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An outcome for an item that has a context "c" and choices of these lengths.
    pub(crate) fn example(number: usize, gold: usize, found: &[(f64, usize)]) -> (Item, Outcome) {
        let texts: Vec<_> = found
            .iter()
            .map(|&(_, length)| "x".repeat(length))
            .collect();
        let item = Item::new("c", &texts, gold);
        let likelihoods: Vec<_> = found
            .iter()
            .map(|&(log, _)| Likelihood { log, greedy: false })
            .collect();
        let outcome = Outcome::new(number, &item, &likelihoods, Wire::default());
        (item, outcome)
    }

    fn right(gold: usize, found: &[(f64, usize)]) -> (bool, bool) {
        let (_, outcome) = example(0, gold, found);
        (outcome.is_right(), outcome.is_right_normalised())
    }

    #[test]
    fn a_long_choice_wins_by_the_character_and_not_as_a_whole() {
        // −6 nats in 4 characters are −1.5 each, −8 in 16 are −0.5 each.
        assert_eq!(right(0, &[(-6.0, 4), (-8.0, 16)]), (true, false));
        assert_eq!(right(1, &[(-6.0, 4), (-8.0, 16)]), (false, true));
        assert_eq!(right(1, &[(-6.0, 4), (-5.0, 4), (-9.0, 4)]), (true, true));
    }

    #[test]
    fn the_first_of_equals_is_chosen() {
        assert_eq!(right(0, &[(-1.0, 2), (-1.0, 2)]), (true, true));
        assert_eq!(right(1, &[(-1.0, 2), (-1.0, 2)]), (false, false));
    }

    #[test]
    fn a_choice_without_characters_is_never_the_likeliest_by_the_character() {
        assert_eq!(right(0, &[(-1.0, 0), (-9.0, 3)]), (true, false));
    }

    #[test]
    fn a_single_choice_is_right_where_the_model_would_say_it() {
        let (_, mut outcome) = example(0, 0, &[(-0.1, 3)]);
        assert!(!outcome.is_right() && !outcome.is_right_normalised());
        outcome.greedy = vec![true];
        assert!(outcome.is_right() && outcome.is_right_normalised());
    }
}
