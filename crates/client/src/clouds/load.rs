//! How busy a cloud is, as far as this edge knows, and which of several is asked next.

use rand::seq::{IteratorRandom as _, SliceRandom as _};
use std::time::{Duration, Instant};
use tandem_proto::v1;

/// What is left of what a token took with each later one.
const KEPT: f64 = 0.9;

/// A cloud that has the beginning of a prompt may be so much busier than another one.
const WORTH: f64 = 2.0;

/// How long what a cloud said of it is believed.
const BELIEVED: Duration = Duration::from_secs(10);

/// How busy a cloud is: what it said last, and what this edge has there.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Load {
    said: Option<Said>,
    /// Answers of this edge that it makes.
    own: u32,
    /// What a token took there lately, in seconds; none where none is known.
    token: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Said {
    /// Answers of other edges.
    others: u32,
    /// Whether it had no room for another one.
    full: bool,
    at: Instant,
}

/// A cloud that may be chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    /// How busy it is.
    pub(crate) load: Load,
    /// How many tokens of the prompt it has.
    pub(crate) held: usize,
}

impl Load {
    /// The cloud said how busy it is. Of the answers that this edge has there, it had not begun with so many.
    pub(crate) fn said(&mut self, load: &v1::BackLoad, not_begun: u32) {
        let own = self.own.saturating_sub(not_begun);
        self.said = Some(Said {
            others: load.running_sessions.saturating_sub(own),
            full: load.running_sessions >= load.max_sessions,
            at: Instant::now(),
        });
    }

    /// An answer of this edge begins there.
    pub(crate) fn begins(&mut self) {
        self.own += 1;
    }

    /// One has ended.
    pub(crate) fn ended(&mut self) {
        self.own -= 1;
    }

    /// A token came that took so long there, queueing included.
    pub(crate) fn token(&mut self, taken: Duration) {
        let taken = taken.as_secs_f64();
        self.token = Some(match self.token {
            Some(before) => KEPT * before + (1.0 - KEPT) * taken,
            None => taken,
        });
    }

    /// Answers that it makes, as far as is known.
    pub(crate) fn answers(&self) -> u32 {
        let said = self.said.filter(|said| said.at.elapsed() < BELIEVED);
        said.map_or(0, |said| said.others) + self.own
    }

    /// Whether it has no room, and about how long its answers would take for a token each with another one, where a token
    /// takes `otherwise` of which nothing is known.
    fn rank(&self, otherwise: f64) -> (bool, f64) {
        let said = self.said.filter(|said| said.at.elapsed() < BELIEVED);
        let answers = f64::from(self.answers() + 1);
        let full = said.is_some_and(|said| said.full);
        (full, answers * self.token.unwrap_or(otherwise))
    }
}

/// The better of two candidates chosen at random, unless the one that has most of the prompt is hardly busier. `None`
/// where there are none.
pub(crate) fn choose(candidates: &[Candidate], random: &mut impl rand::Rng) -> Option<usize> {
    let known = candidates.iter().filter_map(|c| c.load.token);
    let otherwise = known.reduce(f64::min).unwrap_or(1.0);
    let rank = |at: usize| candidates[at].load.rank(otherwise);
    let better = |a: usize, b: usize| {
        let order = rank(a).0.cmp(&rank(b).0);
        match order.then(rank(a).1.total_cmp(&rank(b).1)) {
            std::cmp::Ordering::Greater => b,
            _ => a,
        }
    };
    let mut two = (0..candidates.len()).sample(random, 2);
    // Whoever is asked first wins where both are as busy.
    two.shuffle(random);
    let chosen = two.into_iter().reduce(better)?;
    let holder = (0..candidates.len())
        .filter(|&at| candidates[at].held > candidates[chosen].held)
        .max_by_key(|&at| candidates[at].held);
    Some(match holder {
        Some(holder) if !rank(holder).0 && rank(holder).1 <= WORTH * rank(chosen).1 => holder,
        _ => chosen,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    fn busy(running: u32) -> v1::BackLoad {
        v1::BackLoad {
            running_sessions: running,
            max_sessions: 8,
            ..v1::BackLoad::default()
        }
    }

    fn candidate(running: u32, millis: u64, held: usize) -> Candidate {
        let mut load = Load::default();
        load.said(&busy(running), 0);
        load.token(Duration::from_millis(millis));
        Candidate { load, held }
    }

    /// How often each of the candidates is chosen, of a hundred times.
    fn chosen(candidates: &[Candidate]) -> Vec<usize> {
        let mut random = StdRng::seed_from_u64(1);
        let mut times = vec![0; candidates.len()];
        for _ in 0..100 {
            times[choose(candidates, &mut random).unwrap()] += 1;
        }
        times
    }

    #[test]
    fn who_is_less_busy_is_chosen() {
        assert_eq!(choose(&[], &mut StdRng::seed_from_u64(1)), None);
        assert_eq!(chosen(&[candidate(3, 10, 0)]), [100]);
        assert_eq!(
            chosen(&[candidate(3, 10, 0), candidate(1, 10, 0)]),
            [0, 100]
        );
        // The busier one is twice as fast and more.
        assert_eq!(
            chosen(&[candidate(3, 10, 0), candidate(1, 30, 0)]),
            [100, 0]
        );
        assert_eq!(chosen(&[candidate(8, 1, 0), candidate(7, 30, 0)]), [0, 100]);
    }

    #[test]
    fn the_busiest_of_three_is_never_chosen_and_the_others_are() {
        let times = chosen(&[
            candidate(1, 10, 0),
            candidate(2, 10, 0),
            candidate(3, 10, 0),
        ]);
        assert_eq!(times[2], 0);
        assert!(times[0] > 50 && times[1] > 15, "{times:?}");
    }

    #[test]
    fn what_this_edge_has_there_counts_once() {
        let mut first = candidate(1, 10, 0);
        let second = candidate(2, 10, 0);
        first.load.begins();
        first.load.begins();
        assert_eq!(chosen(&[first, second]), [0, 100]);
        // One of them had begun.
        first.load.said(&busy(1), 1);
        assert_eq!(first.load.rank(1.0).1, 3.0 * 0.01);
        first.load.ended();
        assert_eq!(chosen(&[first, second]), [100, 0]);
    }

    #[test]
    fn a_cloud_of_which_nothing_is_known_is_taken_for_as_fast_as_the_fastest() {
        let unknown = Candidate {
            load: Load::default(),
            held: 0,
        };
        assert_eq!(chosen(&[candidate(1, 10, 0), unknown]), [0, 100]);
    }

    #[test]
    fn who_has_the_beginning_of_the_prompt_may_be_busier() {
        assert_eq!(
            chosen(&[candidate(1, 10, 64), candidate(0, 10, 0)]),
            [100, 0]
        );
        assert_eq!(
            chosen(&[candidate(3, 10, 64), candidate(0, 10, 0)]),
            [0, 100]
        );
        assert_eq!(
            chosen(&[candidate(8, 10, 64), candidate(7, 10, 0)]),
            [0, 100]
        );
    }
}
