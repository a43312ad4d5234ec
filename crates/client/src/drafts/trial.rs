//! Whether a draft model makes answers faster over one link, as measured: it takes processors that something else may need,
//! such as a cloud on the same machine.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// How many tokens are measured together.
const STRETCH: usize = 16;
/// What is left of a stretch with each later one of its kind.
const KEPT: f64 = 0.8;
/// Two stretches with guesses have more weight: before them, guesses are not compared.
const LEAST: f64 = 1.5;
/// The slower one is tried after `BETWEEN × (1 + BETWEEN_SLOWER × s)` stretches of the faster one, where its tokens take
/// `1 + s` times as long. So its tries cost less than a hundredth of the time, whatever `s` is.
const BETWEEN: f64 = 8.0;
const BETWEEN_SLOWER: f64 = 20.0;
/// When a round trip takes so many times as long or as short, nothing is known any more. The model itself may slow a cloud on
/// the same machine down by less.
const OTHER_LINK: f64 = 2.5;

/// What was measured; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trials(Arc<Mutex<Trial>>);

#[derive(Debug, Clone, Copy, Default)]
struct Trial {
    /// Without a draft model, and with.
    paces: [Pace; 2],
    /// What a round trip took.
    round_trip: f64,
    /// Stretches since the slower one was tried.
    since: f64,
}

/// Stretches of late.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    weight: f64,
    /// Of a token, times the weight.
    seconds: f64,
}

/// Tokens of an answer that are measured together.
#[derive(Debug)]
pub(super) struct Stretch {
    trials: Trials,
    has_guesses: bool,
    tokens: usize,
    began: Instant,
}

impl Stretch {
    /// Begins one over a link whose round trips take so many seconds.
    pub(super) fn begin(trials: &Trials, round_trip: f64) -> Self {
        Self {
            trials: trials.clone(),
            has_guesses: trials.next(round_trip),
            tokens: 0,
            began: Instant::now(),
        }
    }

    /// Whether the draft model guesses meanwhile.
    pub(super) fn has_guesses(&self) -> bool {
        self.has_guesses
    }

    /// Takes note of a token, and returns whether it was the last one. Guesses are measured once the draft model
    /// `has_caught_up`: running a prompt takes it a while.
    pub(super) fn push(&mut self, has_caught_up: bool) -> bool {
        if self.has_guesses && !has_caught_up {
            (self.tokens, self.began) = (0, Instant::now());
            return false;
        }
        self.tokens += 1;
        let is_last = self.tokens == STRETCH;
        if is_last {
            let seconds = self.began.elapsed().as_secs_f64();
            self.trials.note(self.has_guesses, seconds / STRETCH as f64);
        }
        is_last
    }
}

impl Pace {
    fn of_token(self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.seconds / self.weight)
    }
}

impl Trial {
    fn times(&self) -> [Option<f64>; 2] {
        self.paces.map(Pace::of_token)
    }
}

impl Trials {
    /// Whether the next stretch is to have guesses, where a round trip takes so many seconds.
    fn next(&self, round_trip: f64) -> bool {
        let mut trial = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ratio = round_trip / trial.round_trip.max(1e-9);
        if !(1.0 / OTHER_LINK..OTHER_LINK).contains(&ratio) {
            *trial = Trial {
                round_trip,
                ..Trial::default()
            };
        }
        let [Some(without), Some(with)] = trial.times() else {
            return trial.paces[0].weight > 0.0;
        };
        if trial.paces[1].weight < LEAST {
            return true;
        }
        let slower = (with / without).max(without / with) - 1.0;
        let is_due = trial.since >= BETWEEN * (1.0 + BETWEEN_SLOWER * slower);
        (with < without) != is_due
    }

    /// A token of a stretch took so many seconds.
    fn note(&self, with: bool, seconds: f64) {
        let mut trial = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_faster = match trial.times() {
            [Some(without), Some(guessed)] => (guessed < without) == with,
            _ => false,
        };
        trial.since = if is_faster { trial.since + 1.0 } else { 0.0 };
        let pace = &mut trial.paces[usize::from(with)];
        pace.weight = KEPT * pace.weight + 1.0;
        pace.seconds = KEPT * pace.seconds + seconds;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many stretches have guesses, where a token takes so long without and with.
    fn guessed(trials: &Trials, stretches: usize, round_trip: f64, each: [f64; 2]) -> usize {
        let mut count = 0;
        for _ in 0..stretches {
            let with = trials.next(round_trip);
            trials.note(with, each[usize::from(with)]);
            count += usize::from(with);
        }
        count
    }

    #[test]
    fn what_is_faster_is_used_and_the_other_tried_now_and_then() {
        let trials = Trials::default();
        let without = 200 - guessed(&trials, 200, 0.1, [0.09, 0.05]);
        assert!((1..6).contains(&without), "{without}");
        let trials = Trials::default();
        let with = guessed(&trials, 400, 0.1, [0.09, 0.097]);
        assert!((2..25).contains(&with), "{with}");
    }

    #[test]
    fn another_link_is_measured_anew() {
        let trials = Trials::default();
        guessed(&trials, 100, 0.02, [0.02, 0.04]);
        assert!(!trials.next(0.02) && !trials.next(0.03));
        assert!(guessed(&trials, 20, 0.2, [0.18, 0.06]) >= 18);
        assert!(guessed(&trials, 20, 0.02, [0.02, 0.04]) <= 4);
    }
}
