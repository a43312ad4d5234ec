//! How often drafts are the token, by what they follow.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Kinds of drafts: 8 of what was repeated, 4 of what goes on behind another token, 4 of earlier answers, 8 of guesses.
const KINDS: usize = 24;
const GOES_ON: usize = 8;
const EARLIER: usize = 12;
const GUESSED: usize = 16;
/// Up to which chance that the model gives them guesses are of one kind, but for the last one's.
const GUESSED_UP_TO: [f32; 7] = [0.2, 0.4, 0.6, 0.8, 0.9, 0.97, 0.995];
/// How often each kind is right before anything is known, as in answers of small models to questions of conversations.
const AT_FIRST: [f64; KINDS] = [
    0.15, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.85, 0.2, 0.4, 0.5, 0.6, 0.1, 0.2, 0.4, 0.8, 0.15, 0.35,
    0.45, 0.6, 0.75, 0.85, 0.92, 0.97,
];
/// How often a guess is right, of all kinds, before anything is known.
const GUESSES_AT_FIRST: f64 = 0.6;
/// As how many tries that counts.
const FIRST_WEIGHT: f64 = 8.0;
/// As how many tries what other answers have found counts for one.
const OTHERS_WEIGHT: f64 = 6.0;
/// What is left of a try with each later one of its kind: some hundred count.
const KEPT: f64 = 0.99;

/// Ways to begin a round trip: each kind of draft, a guess that was not known yet, and none.
const STARTS: usize = KINDS + 2;

/// Tries of every kind of draft.
#[derive(Debug, Clone, Copy, Default)]
struct Tries([Count; KINDS]);

/// What all answers have found.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    tries: Tries,
    /// Round trips by how they began.
    starts: [f64; STARTS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    tried: f64,
    right: f64,
}

/// Why a draft may be the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Basis {
    /// So many tokens before it were there before, with it behind them.
    Repeats(usize),
    /// It comes next in a passage that was being repeated, in which another token came so many tokens ago.
    GoesOn(usize),
    /// So many tokens before it were in an earlier answer, with it behind them.
    Earlier(usize),
    /// The draft model guesses it, and finds it so likely, by kind.
    Guessed(usize),
}

/// What the first draft of a round trip is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// One that is known.
    Draft(Basis),
    /// A guess that is not known yet.
    Guess,
    /// None.
    Nothing,
}

/// Round trips of answers that have begun alike.
#[derive(Debug, Clone, PartialEq)]
pub struct DraftStart {
    /// How many have.
    pub count: f64,
    /// How likely each draft is right if those before it are, from the first on; empty where there was none.
    pub chances: Vec<f64>,
}

/// What all answers have found; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acceptance(Arc<Mutex<Found>>);

/// The same, and what one answer has.
#[derive(Debug)]
pub(super) struct OfAnswer {
    all: Acceptance,
    own: Tries,
}

impl Basis {
    /// A guess that the draft model finds so likely.
    pub(super) fn guessed(chance: f32) -> Self {
        Self::Guessed(GUESSED_UP_TO.partition_point(|&most| most < chance))
    }

    fn kind(self) -> usize {
        match self {
            Self::Repeats(length @ 0..=5) => length.saturating_sub(1),
            Self::Repeats(6..=7) => 5,
            Self::Repeats(8..=11) => 6,
            Self::Repeats(_) => 7,
            Self::GoesOn(since) => GOES_ON + since.min(3),
            Self::Earlier(0..=1) => EARLIER,
            Self::Earlier(2..=3) => EARLIER + 1,
            Self::Earlier(4..=7) => EARLIER + 2,
            Self::Earlier(_) => EARLIER + 3,
            Self::Guessed(kind) => GUESSED + kind,
        }
    }

    /// The first one of a kind.
    fn of_kind(kind: usize) -> Self {
        const REPEATED: [usize; GOES_ON] = [1, 2, 3, 4, 5, 6, 8, 12];
        match kind {
            0..GOES_ON => Self::Repeats(REPEATED[kind]),
            GOES_ON..EARLIER => Self::GoesOn(kind - GOES_ON),
            EARLIER..GUESSED => Self::Earlier(1 << (kind - EARLIER)),
            _ => Self::Guessed(kind - GUESSED),
        }
    }

    /// What the draft was taken from, as metrics name it.
    pub(super) fn source(self) -> &'static str {
        match self {
            Self::Repeats(_) | Self::GoesOn(_) => "conversation",
            Self::Earlier(_) => "earlier_answer",
            Self::Guessed(_) => "draft_model",
        }
    }

    /// That of the draft behind so many others, if all of them are right.
    pub(super) fn behind(self, drafts: usize) -> Self {
        match self {
            Self::Repeats(length) => Self::Repeats(length + drafts),
            Self::GoesOn(since) => Self::GoesOn(since + drafts),
            Self::Earlier(length) => Self::Earlier(length + drafts),
            Self::Guessed(kind) => Self::Guessed(kind),
        }
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

    /// How round trips of answers have begun, with as many chances as there may be drafts.
    pub(crate) fn starts(&self, most: usize) -> Vec<DraftStart> {
        let found = *self.lock();
        let shares = found.tries.shares(|_, share| share);
        let chances = |start: usize| -> Vec<f64> {
            let chance = |number: usize| match Basis::of_kind(start) {
                // What guesses follow is not known.
                Basis::Guessed(_) if number > 0 || start >= KINDS => shares.guesses,
                basis => shares.of(basis.behind(number)),
            };
            (0..most).map(chance).collect()
        };
        let starts = found.starts.iter().enumerate();
        starts
            .filter(|&(_, &count)| count > 0.0)
            .map(|(start, &count)| DraftStart {
                count,
                chances: if start == KINDS + 1 {
                    Vec::new()
                } else {
                    chances(start)
                },
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tries {
    /// How likely each kind is to be right, by its number and what these tries say of it.
    fn shares(&self, of_kind: impl Fn(usize, f64) -> f64) -> Shares {
        let each = std::array::from_fn(|kind| {
            of_kind(kind, self.0[kind].share(AT_FIRST[kind], FIRST_WEIGHT))
        });
        let guesses = self.0[GUESSED..]
            .iter()
            .fold(Count::default(), |sum, count| Count {
                tried: sum.tried + count.tried,
                right: sum.right + count.right,
            });
        Shares {
            each,
            guesses: guesses.share(GUESSES_AT_FIRST, FIRST_WEIGHT),
        }
    }
}

impl OfAnswer {
    /// A token is known now: it is the draft, or not.
    pub(super) fn note(&mut self, basis: Basis, is_right: bool) {
        let kind = basis.kind();
        self.own.0[kind].note(is_right);
        self.all.lock().tries.0[kind].note(is_right);
    }

    /// A round trip begins.
    pub(super) fn begin(&self, start: Start) {
        let start = match start {
            Start::Draft(basis) => basis.kind(),
            Start::Guess => KINDS,
            Start::Nothing => KINDS + 1,
        };
        self.all.lock().starts[start] += 1.0;
    }

    /// How likely each kind is to be right.
    pub(super) fn shares(&self) -> Shares {
        let all = self.all.lock().tries;
        all.shares(|kind, others| self.own.0[kind].share(others, OTHERS_WEIGHT))
    }
}

/// How likely drafts are to be right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    each: [f64; KINDS],
    guesses: f64,
}

impl Shares {
    /// Of one.
    pub(super) fn of(&self, basis: Basis) -> f64 {
        self.each[basis.kind()]
    }

    /// Of a guess that is not known yet.
    pub(super) fn of_a_guess(&self) -> f64 {
        self.guesses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_learns_soon_and_others_a_little() {
        let all = Acceptance::default();
        let mut first = all.of_answer();
        let three = Basis::Repeats(3);
        assert!((first.shares().of(three) - AT_FIRST[2]).abs() < 1e-9);
        for _ in 0..20 {
            first.note(three, false);
        }
        let (own, others) = (first.shares().of(three), all.of_answer().shares().of(three));
        assert!(own < 0.1 && (0.08..0.2).contains(&others), "{own} {others}");
        for (basis, kind) in [
            (Basis::Repeats(1).behind(8), 6),
            (Basis::GoesOn(0), 8),
            (Basis::GoesOn(1).behind(40), 11),
            (Basis::Earlier(2).behind(1), 13),
            (Basis::Earlier(16), 15),
            (Basis::guessed(0.1), 16),
            (Basis::guessed(0.7).behind(3), 19),
            (Basis::guessed(1.0), 23),
        ] {
            assert!((all.of_answer().shares().of(basis) - AT_FIRST[kind]).abs() < 1e-9);
        }
    }

    #[test]
    fn round_trips_are_counted_by_how_they_begin() {
        for kind in 0..KINDS {
            assert_eq!(Basis::of_kind(kind).kind(), kind);
        }
        let all = Acceptance::default();
        assert!(all.starts(4).is_empty());
        let answer = all.of_answer();
        let quote = Start::Draft(Basis::Repeats(4));
        for start in [quote, Start::Nothing, quote, Start::Guess] {
            answer.begin(start);
        }
        answer.begin(Start::Draft(Basis::Guessed(7)));
        let start = |count: f64, chances: &[f64]| DraftStart {
            count,
            chances: chances.to_vec(),
        };
        let expected = [
            start(2.0, &[0.5, 0.6, 0.7]),
            start(1.0, &[0.97, 0.6, 0.6]),
            start(1.0, &[0.6; 3]),
            start(1.0, &[]),
        ];
        for (found, expected) in all.starts(3).iter().zip(&expected) {
            assert_eq!(found.count, expected.count);
            assert_eq!(found.chances.len(), expected.chances.len());
            let both = found.chances.iter().zip(&expected.chances);
            for (found, expected) in both {
                assert!((found - expected).abs() < 1e-9, "{found} {expected}");
            }
        }
        assert_eq!(all.starts(3).len(), expected.len());
    }
}
