//! How often drafts are the token, by how long a match they follow.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Kinds of drafts: by tokens alike.
const KINDS: usize = 8;
/// How often each kind is right before anything is known, as in answers of small models to questions of conversations.
const AT_FIRST: [f64; KINDS] = [0.15, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.85];
/// As how many tries that counts.
const FIRST_WEIGHT: f64 = 8.0;
/// As how many tries what other answers have found counts for one.
const OTHERS_WEIGHT: f64 = 6.0;
/// What is left of a try with each later one of its kind: some hundred count.
const KEPT: f64 = 0.99;

/// Tries of every kind of draft.
#[derive(Debug, Clone, Copy, Default)]
struct Tries([Count; KINDS]);

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    tried: f64,
    right: f64,
}

/// What all answers have found; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acceptance(Arc<Mutex<Tries>>);

/// The same, and what one answer has.
#[derive(Debug)]
pub(super) struct OfAnswer {
    all: Acceptance,
    own: Tries,
}

/// The kind of a draft behind so many tokens that are alike.
fn kind(length: usize) -> usize {
    match length {
        0..=5 => length.saturating_sub(1),
        6..=7 => 5,
        8..=11 => 6,
        _ => 7,
    }
}

impl Count {
    fn note(&mut self, is_right: bool) {
        self.tried = KEPT * self.tried + 1.0;
        self.right = KEPT * self.right + f64::from(u8::from(is_right));
    }

    /// The share that is right, where `share` of `weight` tries was before.
    fn share(&self, share: f64, weight: f64) -> f64 {
        (self.right + weight * share) / (self.tried + weight)
    }
}

impl Acceptance {
    pub(super) fn of_answer(&self) -> OfAnswer {
        OfAnswer {
            all: self.clone(),
            own: Tries::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OfAnswer {
    /// A token behind a match of so many is known now: it was the one that followed there, or not.
    pub(super) fn note(&mut self, length: usize, is_right: bool) {
        let kind = kind(length);
        self.own.0[kind].note(is_right);
        self.all.lock().0[kind].note(is_right);
    }

    /// How likely each kind is to be right.
    pub(super) fn shares(&self) -> Shares {
        let all = *self.all.lock();
        Shares(std::array::from_fn(|kind| {
            let others = all.0[kind].share(AT_FIRST[kind], FIRST_WEIGHT);
            self.own.0[kind].share(others, OTHERS_WEIGHT)
        }))
    }
}

/// How likely drafts are to be right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares([f64; KINDS]);

impl Shares {
    /// Of one behind a match of so many tokens.
    pub(super) fn of(&self, length: usize) -> f64 {
        self.0[kind(length)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_learns_soon_and_others_a_little() {
        let all = Acceptance::default();
        let mut first = all.of_answer();
        assert!((first.shares().of(3) - AT_FIRST[2]).abs() < 1e-9);
        for _ in 0..20 {
            first.note(3, false);
        }
        let (own, others) = (first.shares().of(3), all.of_answer().shares().of(3));
        assert!(own < 0.1 && (0.08..0.2).contains(&others), "{own} {others}");
        let longer = all.of_answer().shares().of(9);
        assert!((longer - AT_FIRST[6]).abs() < 1e-9);
    }
}
