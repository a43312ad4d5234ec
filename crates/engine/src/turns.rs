//! Turns by start-time fair queueing (Goyal, Vin and Cheng, 1996): of those that wait, the owner whose rows began
//! earliest is next, where each of its rows takes one unit of a time of their own. Who comes back, or comes first,
//! begins at the present: nobody saves up turns, and what somebody ran too much is not forgotten while others wait.

use crate::scheduler::{OwnerNumber, SessionNumber};
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Owners that may be remembered beyond twice as many as wait.
const REMEMBERED: usize = 64;

/// Sessions that wait for their turn.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// The beginning of the rows whose turn it was last.
    now: u64,
    /// Those of whose sessions any wait, by the beginning of their next rows.
    order: BTreeSet<(u64, OwnerNumber)>,
    owners: HashMap<OwnerNumber, Owner>,
}

#[derive(Debug, Default)]
struct Owner {
    /// When its next rows begin.
    begins: u64,
    /// Its sessions that wait, in their order.
    sessions: VecDeque<SessionNumber>,
    /// Those of them that go before these, each to its end: of answers that have had other sessions before, the most first,
    /// and of those with as many the earliest. Taking turns, all of them would take as long as the last one has to.
    moved: BTreeSet<(Reverse<u32>, SessionNumber)>,
}

impl Owner {
    fn waits(&self) -> bool {
        !self.sessions.is_empty() || !self.moved.is_empty()
    }
}

impl Turns {
    /// Puts a session behind the others of its owner.
    pub(crate) fn push(&mut self, session: SessionNumber) {
        self.owner(session).sessions.push_back(session);
    }

    /// Puts a session before those others of its owner whose answers have had fewer sessions before.
    pub(crate) fn push_by_moves(&mut self, session: SessionNumber) {
        let key = (Reverse(session.moved), session);
        self.owner(session).moved.insert(key);
    }

    /// The owner of a session that will wait.
    fn owner(&mut self, session: SessionNumber) -> &mut Owner {
        let owner = self.owners.entry(session.owner).or_default();
        if !owner.waits() {
            owner.begins = owner.begins.max(self.now);
            self.order.insert((owner.begins, session.owner));
        }
        owner
    }

    /// Takes the session whose turn it is.
    pub(crate) fn next(&mut self) -> Option<SessionNumber> {
        let &(begins, number) = self.order.first()?;
        self.now = begins;
        let owner = self.owners.get_mut(&number)?;
        let moved = owner.moved.pop_first().map(|(_, session)| session);
        let session = moved.or_else(|| owner.sessions.pop_front());
        if !owner.waits() {
            self.order.pop_first();
        }
        session
    }

    /// Rows of an owner run.
    pub(crate) fn ran(&mut self, number: OwnerNumber, rows: usize) {
        let Some(owner) = self.owners.get_mut(&number) else {
            return;
        };
        let waits = self.order.remove(&(owner.begins, number));
        owner.begins = owner.begins.saturating_add(rows as u64);
        if waits {
            self.order.insert((owner.begins, number));
        }
    }

    /// Forgets a session that is closed.
    pub(crate) fn remove(&mut self, session: SessionNumber) {
        if let Some(owner) = self.owners.get_mut(&session.owner) {
            owner.sessions.retain(|&waits| waits != session);
            owner.moved.remove(&(Reverse(session.moved), session));
            if !owner.waits() {
                self.order.remove(&(owner.begins, session.owner));
            }
        }
        // An owner that does not wait and owes nothing begins at the present, as one that is not known does.
        if self.owners.len() > 2 * self.order.len() + REMEMBERED || self.order.is_empty() {
            let now = self.now;
            let nobody_waits = self.order.is_empty();
            self.owners
                .retain(|_, owner| owner.waits() || (owner.begins > now && !nobody_waits));
        }
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: u64, owner: u64) -> SessionNumber {
        SessionNumber {
            number,
            owner: OwnerNumber(owner),
            moved: 0,
        }
    }

    #[test]
    fn who_ran_much_waits_until_the_others_have_had_as_much() {
        let mut turns = Turns::default();
        let (one, two) = (session(1, 1), session(2, 2));
        turns.push(two);
        turns.push(one);
        assert_eq!(turns.next(), Some(one));
        turns.ran(one.owner, 96);
        turns.push(one);
        for _ in 0..3 {
            assert_eq!(turns.next(), Some(two));
            turns.ran(two.owner, 32);
            turns.push(two);
        }
        assert_eq!(turns.next(), Some(one));
    }

    #[test]
    fn who_was_alone_owes_nothing() {
        let mut turns = Turns::default();
        let (one, two) = (session(1, 1), session(2, 2));
        for _ in 0..1000 {
            turns.push(one);
            assert_eq!(turns.next(), Some(one));
            turns.ran(one.owner, 128);
        }
        turns.push(one);
        turns.push(two);
        let mut first_of_one = 0;
        while turns.next() != Some(one) {
            turns.ran(two.owner, 32);
            turns.push(two);
            first_of_one += 1;
        }
        assert!(first_of_one <= 5, "{first_of_one} turns of the other");
    }

    /// One session after the other, each with more rows than a turn has, beside somebody who always waits.
    #[test]
    fn what_a_closed_session_ran_counts_for_the_next() {
        let mut turns = Turns::default();
        let other = session(1, 1);
        turns.push(other);
        let mut ran = [0, 0];
        for number in 2..500 {
            let new = session(number, 2);
            turns.push(new);
            let mut left = 256;
            while left > 0 {
                let next = turns.next().unwrap();
                turns.ran(next.owner, 128);
                if next == new {
                    left -= 128;
                    ran[1] += 128;
                    if left > 0 {
                        turns.push(new);
                    }
                } else {
                    ran[0] += 128;
                    turns.push(other);
                }
            }
            turns.remove(new);
        }
        let [one, two] = ran.map(f64::from);
        assert!((one / two - 1.0).abs() < 0.02, "{one} and {two} rows");
    }

    #[test]
    fn what_was_computed_before_goes_first_and_to_its_end() {
        let mut turns = Turns::default();
        let again = |number, moved| SessionNumber {
            moved,
            ..session(number, 1)
        };
        turns.push(session(1, 1));
        for moved in [again(2, 1), again(3, 1), again(4, 2)] {
            turns.push_by_moves(moved);
        }
        // Another owner has as many turns nevertheless.
        turns.push(session(9, 2));
        let mut order = Vec::new();
        let mut left = [2; 10];
        while let Some(next) = turns.next() {
            turns.ran(next.owner, 1);
            order.push(next.number);
            left[next.number as usize] -= 1;
            match (left[next.number as usize], next.moved) {
                (0, _) => {}
                (_, 0) => turns.push(next),
                _ => turns.push_by_moves(next),
            }
        }
        let of_one: Vec<u64> = order.iter().copied().filter(|&n| n != 9).collect();
        assert_eq!(of_one, [4, 4, 2, 2, 3, 3, 1, 1]);
        assert!(order[..4].contains(&9), "{order:?}");
    }

    #[test]
    fn nothing_is_kept_of_sessions_that_are_closed() {
        let mut turns = Turns::default();
        let all = (0..10).map(|number| SessionNumber {
            moved: u32::from(number % 2 == 0),
            ..session(number, number % 3)
        });
        for session in all.clone() {
            if session.moved > 0 {
                turns.push_by_moves(session);
            } else {
                turns.push(session);
            }
        }
        for session in all {
            turns.remove(session);
        }
        assert!(turns.is_empty());
        assert!(turns.owners.is_empty());
        assert_eq!(turns.next(), None);
    }
}
