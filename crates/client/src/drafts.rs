//! Drafts: tokens that are likely to come, whose rows go up with that of the last known one. The cloud says how many of
//! them are the answer's own. It draws the same tokens as without, so a draft changes when an answer is there, and never
//! what it is.
//!
//! The drafts are what followed where prompt or answer ended before as they do now, or where an earlier answer to the same
//! asker did, or what comes next in a passage that was being repeated until another token came, as where a name is changed;
//! or what a [smaller model](model) guesses, where there is one. How many of them are worth it follows from how
//! often such drafts are right and from what rows take, both as measured: a draft is worth its row as long as
//!
//! ```text
//! chance that it and all before it are right × (time of the round trip ÷ tokens that it brings) > time of a row more
//! ```
//!
//! which is where the tokens of a second begin to grow fewer. Where there is nothing to gain, there are no drafts.

mod acceptance;
mod earlier;
mod lookup;
pub(crate) mod model;
mod round_time;
mod trial;
mod worth;

pub(crate) use acceptance::Acceptance;
pub use acceptance::DraftStart;
pub(crate) use earlier::EarlierAnswers;
pub(crate) use round_time::RoundTimes;

use crate::metrics::DRAFTS;
use acceptance::{Basis, OfAnswer, Shares, Start};
use lookup::Lookup;
use model::Guesses;
use round_time::RoundTime;
use std::collections::VecDeque;
use trial::Stretch;
use worth::Worth;

/// Tokens of a passage that is being repeated.
const PASSAGE: usize = 4;

/// The drafts of one answer.
#[derive(Debug)]
pub(crate) struct Drafter {
    lookup: Lookup,
    /// Where the prompt begins. Before it are earlier answers.
    prompt: usize,
    acceptance: OfAnswer,
    /// What the end of the tokens repeats.
    repeated: Option<Place>,
    /// What goes on in the passage that was repeated last.
    passage: Option<Place>,
    /// What a smaller model guesses.
    guesses: Option<Guesses>,
    /// Tokens that are being measured with guesses or without.
    stretch: Option<Stretch>,
    /// What was sent and is not known yet.
    flight: Option<Flight>,
    /// Whether the round trip for the next token has begun.
    has_begun: bool,
}

/// Where what is to come may have been before.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The position of the next token.
    next: usize,
    basis: Basis,
}

/// A token that is likely to come.
#[derive(Debug, Clone, Copy)]
struct Draft {
    token: u32,
    basis: Basis,
}

/// Drafts on their way.
#[derive(Debug)]
struct Flight {
    /// Where all of them are from, if they are from one place.
    follows: Option<Followed>,
    /// Those that are not known yet.
    drafts: VecDeque<Draft>,
}

/// A place that is followed by several drafts.
#[derive(Debug, Clone, Copy)]
struct Followed {
    place: Place,
    /// Tokens that there were from there on when it began: they come over and over.
    period: usize,
    /// Drafts from there that were sent.
    drafts: usize,
}

/// What there is to be gained.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gain<'a> {
    /// What round trips take.
    pub(crate) times: &'a RoundTimes,
    /// Answers that share the cloud: a row more is one for each of them.
    pub(crate) answers: f64,
    /// The most drafts on their way.
    pub(crate) most: usize,
    /// The most of them in one message.
    pub(crate) message: usize,
}

impl Drafter {
    /// Of an answer to a prompt, which may say what `earlier` answers did, or what a smaller model guesses.
    pub(crate) fn new(
        earlier: &[u32],
        prompt: &[u32],
        acceptance: &Acceptance,
        guesses: Option<Guesses>,
    ) -> Self {
        let mut lookup = Lookup::default();
        let all = earlier.iter().chain(prompt);
        all.for_each(|&token| lookup.push(token));
        let mut drafter = Self {
            lookup,
            prompt: earlier.len(),
            acceptance: acceptance.of_answer(),
            repeated: None,
            passage: None,
            guesses,
            stretch: None,
            flight: None,
            has_begun: false,
        };
        drafter.look();
        drafter
    }

    /// Takes note of a token of the answer.
    pub(crate) fn push(&mut self, token: u32) {
        self.has_begun = false;
        for place in [self.repeated, self.passage].into_iter().flatten() {
            let there = self.lookup.at(place.next);
            // Where an earlier answer ends there was no draft.
            if there != Some(earlier::END) {
                self.acceptance.note(place.basis, there == Some(token));
            }
        }
        let guess = self.guesses.as_mut().and_then(|all| all.push(token));
        if let Some(guess) = guess {
            let basis = Basis::guessed(guess.chance);
            self.acceptance.note(basis, guess.token == token);
        }
        if let (Some(stretch), Some(guesses)) = (&mut self.stretch, &self.guesses)
            && stretch.push(guesses.has_caught_up())
        {
            self.stretch = None;
        }
        if let Some(mut flight) = self.flight.take()
            && let Some(draft) = flight.drafts.pop_front()
            && draft.token == token
        {
            let accepted = DRAFTS.counter(&["accepted", draft.basis.source()]);
            accepted.increment(1);
            self.flight = Some(flight).filter(|flight| !flight.drafts.is_empty());
        }
        if let Some(passage) = &mut self.passage {
            // Where another token came, the passage may go on behind it.
            passage.basis = match (self.lookup.at(passage.next) == Some(token), passage.basis) {
                (true, Basis::GoesOn(since)) => Basis::GoesOn(since + 1),
                _ => Basis::GoesOn(0),
            };
            passage.next += 1;
        }
        self.lookup.push(token);
        self.look();
    }

    /// Looks for what the end repeats.
    fn look(&mut self) {
        let found = self.lookup.longest();
        self.repeated = found.map(|found| Place {
            next: found.next,
            basis: if found.next < self.prompt {
                Basis::Earlier(found.length)
            } else {
                Basis::Repeats(found.length)
            },
        });
        match found {
            Some(found) if found.length >= PASSAGE && found.next >= self.prompt => {
                self.passage = Some(Place {
                    next: found.next,
                    basis: Basis::GoesOn(found.length),
                });
            }
            _ => {}
        }
    }

    /// The place from which drafts are most likely to be right.
    fn likeliest(&self, shares: &Shares) -> Option<Place> {
        let places = [self.passage, self.repeated].into_iter().flatten();
        places.max_by(|a, b| shares.of(a.basis).total_cmp(&shares.of(b.basis)))
    }

    /// That place, from its beginning.
    fn follow(&self, shares: &Shares) -> Option<Followed> {
        let place = self.likeliest(shares)?;
        Some(Followed {
            place,
            period: self.lookup.behind(place.next),
            drafts: 0,
        })
    }

    /// What the first draft of a round trip is that begins now.
    fn start(&self, shares: &Shares) -> Start {
        let sent = self
            .flight
            .as_ref()
            .and_then(|flight| flight.drafts.front());
        if let Some(draft) = sent {
            return Start::Draft(draft.basis);
        }
        match self.next(&[], self.follow(shares), shares) {
            Some((draft, _)) => Start::Draft(draft.basis),
            None if self.guesses.as_ref().is_some_and(|all| all.is_close(&[])) => Start::Guess,
            None => Start::Nothing,
        }
    }

    /// Drafts on their way.
    pub(crate) fn on_their_way(&self) -> usize {
        self.flight.as_ref().map_or(0, |flight| flight.drafts.len())
    }

    /// Nothing is on its way any more.
    pub(crate) fn lost(&mut self) {
        self.flight = None;
        if let Some(guesses) = &mut self.guesses {
            guesses.lost();
        }
    }

    /// Waits until there may be more drafts than there were; `None` where there will not, before a token is known.
    pub(crate) fn another(&self) -> Option<impl Future<Output = ()>> {
        self.guesses.as_ref()?.another()
    }

    /// The drafts of the next message, behind those that are on their way.
    pub(crate) fn draft(&mut self, gain: Gain<'_>) -> Vec<u32> {
        let Some(time) = gain.times.expected() else {
            return Vec::new();
        };
        if let Some(guesses) = &mut self.guesses {
            let stretch = self
                .stretch
                .get_or_insert_with(|| Stretch::begin(&gain.times.trials, time.first));
            guesses.round_trip(time.first, stretch.has_guesses());
        }
        let shares = self.acceptance.shares();
        if !self.has_begun {
            self.has_begun = true;
            self.acceptance.begin(self.start(&shares));
        }
        let mut worth = Worth::of(RoundTime {
            each: time.each * gain.answers.max(1.0),
            ..time
        });
        let sent = self.flight.iter().flat_map(|flight| &flight.drafts);
        for draft in sent {
            if !worth.has(shares.of(draft.basis)) {
                return Vec::new();
            }
        }
        let mut follows = match &self.flight {
            Some(flight) => flight.follows,
            None => self.follow(&shares),
        };
        let most = gain.most.saturating_sub(self.on_their_way());
        let mut drafts = Vec::new();
        let mut tokens = Vec::new();
        while drafts.len() < most.min(gain.message)
            && let Some((draft, behind)) = self.next(&tokens, follows, &shares)
            && worth.has(shares.of(draft.basis))
        {
            follows = behind;
            tokens.push(draft.token);
            drafts.push(draft);
        }
        // Each message is a step here and in the cloud.
        let waits =
            |guesses: &Guesses| drafts.len() < guesses.together() && guesses.is_close(&tokens);
        let waits = drafts.len() < most && self.guesses.as_ref().is_some_and(waits);
        if drafts.is_empty() || waits {
            return Vec::new();
        }
        for draft in &drafts {
            DRAFTS.counter(&["sent", draft.basis.source()]).increment(1);
            if let Some(guesses) = &mut self.guesses {
                guesses.give(draft.token);
            }
        }
        let flight = self.flight.get_or_insert_with(|| Flight {
            follows: None,
            drafts: VecDeque::new(),
        });
        flight.follows = follows;
        flight.drafts.extend(drafts);
        tokens
    }

    /// The likeliest of what may come behind these drafts, in the place that is followed and by the smaller model, and the
    /// place, as long as that says the same. A guess that will be there soon is waited for where it is the likelier one.
    fn next(
        &self,
        drafts: &[u32],
        follows: Option<Followed>,
        shares: &Shares,
    ) -> Option<(Draft, Option<Followed>)> {
        let repeated = follows.and_then(|followed| {
            let (place, number) = (followed.place, followed.drafts);
            let token = self.lookup.repeated(place.next, followed.period, number)?;
            Some(Draft {
                token,
                basis: place.basis.behind(number),
            })
        });
        let guesses = self.guesses.as_ref();
        let guess = guesses.and_then(|guesses| guesses.next(drafts));
        let guess = guess.map(|guess| Draft {
            token: guess.token,
            basis: Basis::guessed(guess.chance),
        });
        let is_close = guesses.is_some_and(|guesses| guesses.is_close(drafts));
        let share = |draft: &Draft| shares.of(draft.basis);
        let next = match (repeated, guess) {
            (Some(repeated), None) if is_close && share(&repeated) < shares.of_a_guess() => None,
            (repeated, guess) => {
                let both = [guess, repeated].into_iter().flatten();
                both.max_by(|a, b| share(a).total_cmp(&share(b)))
            }
        }?;
        let follows = follows.filter(|_| repeated.is_some_and(|own| own.token == next.token));
        let behind = follows.map(|followed| Followed {
            drafts: followed.drafts + 1,
            ..followed
        });
        Some((next, behind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn gain(times: &RoundTimes, most: usize, message: usize) -> Gain<'_> {
        Gain {
            times,
            answers: 1.0,
            most,
            message,
        }
    }

    fn times() -> RoundTimes {
        let times = RoundTimes::default();
        for rows in [1, 4, 2, 8, 1, 3, 6, 1, 9, 2] {
            let taken = Duration::from_millis(100 + 2 * (rows as u64 - 1));
            times.note(rows, taken);
        }
        times
    }

    /// A drafter of an answer that quotes the middle of its prompt.
    fn quoting(prompt: &[u32]) -> Drafter {
        let mut drafter = Drafter::new(&[], prompt, &Acceptance::default(), None);
        prompt[50..60].iter().for_each(|&token| drafter.push(token));
        drafter
    }

    fn prompt() -> Vec<u32> {
        (0..200).map(|at| at * 7 % 211).collect()
    }

    #[test]
    fn an_answer_that_quotes_is_drafted_and_one_that_does_not_is_not() {
        let (prompt, times) = (prompt(), times());
        assert_eq!(quoting(&prompt).draft(gain(&times, 8, 8)), prompt[60..68]);
        assert!(quoting(&prompt).draft(gain(&times, 0, 8)).is_empty());
        let nothing = RoundTimes::default();
        assert!(quoting(&prompt).draft(gain(&nothing, 8, 8)).is_empty());
        let mut says = Drafter::new(&[], &prompt, &Acceptance::default(), None);
        for at in 0..60 {
            // Each has been before, and something else came then.
            says.push(prompt[at * 3]);
        }
        assert!(says.draft(gain(&times, 8, 8)).is_empty());
    }

    #[test]
    fn drafts_go_on_behind_those_on_their_way() {
        let (prompt, times) = (prompt(), times());
        let mut drafter = quoting(&prompt);
        let three = gain(&times, 8, 3);
        assert_eq!(drafter.draft(three), prompt[60..63]);
        assert_eq!(drafter.draft(three), prompt[63..66]);
        assert_eq!(drafter.draft(three), prompt[66..68]);
        assert!(drafter.draft(three).is_empty());
        // As many as are known now may follow.
        prompt[60..62].iter().for_each(|&token| drafter.push(token));
        assert_eq!(drafter.draft(three), prompt[68..70]);
        // Behind a wrong one there is nothing on its way.
        drafter.push(299);
        assert_eq!(drafter.draft(three)[0], prompt[63]);
        let mut lost = quoting(&prompt);
        lost.draft(three);
        lost.lost();
        assert_eq!(lost.draft(three), prompt[60..63]);
    }

    #[test]
    fn drafts_go_on_where_they_were_no_longer_worth_it() {
        let (prompt, times) = (prompt(), times());
        let mut drafter = quoting(&prompt);
        let all = gain(&times, 99, 99);
        let first = drafter.draft(all);
        assert!((4..60).contains(&first.len()), "{first:?}");
        assert_eq!(first, prompt[60..60 + first.len()]);
        assert!(drafter.draft(all).is_empty());
        let known = first.len() - 2;
        first[..known].iter().for_each(|&token| drafter.push(token));
        let next = drafter.draft(all);
        let sent = 60 + first.len();
        assert!(!next.is_empty());
        assert_eq!(next, prompt[sent..sent + next.len()]);
    }

    #[test]
    fn what_comes_over_and_over_is_drafted_so() {
        let (prompt, times) = ([9, 1, 2, 3, 1, 2, 3, 1, 2, 3], times());
        let mut drafter = Drafter::new(&[], &prompt, &Acceptance::default(), None);
        let two = gain(&times, 7, 2);
        assert_eq!(drafter.draft(two), [1, 2]);
        assert_eq!(drafter.draft(two), [3, 1]);
        drafter.push(1);
        drafter.push(2);
        assert_eq!(drafter.draft(two), [2, 3]);
        assert_eq!(drafter.draft(two), [1, 2]);
    }

    #[test]
    fn a_passage_goes_on_behind_a_token_that_was_changed() {
        let (prompt, times) = (prompt(), times());
        let mut drafter = quoting(&prompt);
        // Each fifth token is another one; the first times it is not known that the passage goes on.
        for (at, &token) in prompt[60..100].iter().enumerate() {
            drafter.push(if at % 5 == 4 { 299 } else { token });
        }
        assert_eq!(drafter.draft(gain(&times, 3, 3)), prompt[100..103]);
    }

    #[test]
    fn where_others_share_the_cloud_there_are_fewer() {
        let (prompt, times) = (prompt(), times());
        let drafts = |answers: f64| {
            let all = Gain {
                answers,
                ..gain(&times, 31, 31)
            };
            quoting(&prompt).draft(all).len()
        };
        assert!(drafts(8.0) < drafts(1.0), "{} {}", drafts(8.0), drafts(1.0));
        assert_eq!(drafts(1000.0), 0);
    }

    #[test]
    fn an_answer_that_was_given_before_is_drafted_to_its_end() {
        let times = times();
        let answer: Vec<u32> = (500..560).collect();
        let earlier = [&answer[..], &[earlier::END], &[600, 601, earlier::END]].concat();
        let mut drafter = Drafter::new(&earlier, &prompt(), &Acceptance::default(), None);
        assert!(drafter.draft(gain(&times, 24, 8)).is_empty());
        answer[..20].iter().for_each(|&token| drafter.push(token));
        assert_eq!(drafter.draft(gain(&times, 24, 8)), answer[20..28]);
        answer[20..58].iter().for_each(|&token| drafter.push(token));
        // Behind its end nothing is known.
        assert_eq!(drafter.draft(gain(&times, 24, 8)), answer[58..]);
        drafter.push(answer[58]);
        drafter.push(answer[59]);
        assert!(drafter.draft(gain(&times, 24, 8)).is_empty());
    }
}
