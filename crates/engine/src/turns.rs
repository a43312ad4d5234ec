//! Turns by start-time fair queueing (Goyal, Vin and Cheng, 1996): of those that wait, the owner whose rows began
//! earliest is next, where each of its rows takes one unit of a time of their own. Who comes back, or comes first,
//! begins at the present: nobody saves up turns, and what somebody ran too much is not forgotten while others wait.

use crate::scheduler::{OwnerNumber, SessionNumber};
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
    /// Its sessions that wait.
    sessions: VecDeque<SessionNumber>,
}

impl Turns {
    /// Puts a session behind the others of its owner.
    pub(crate) fn push(&mut self, session: SessionNumber) {
        let owner = self.owners.entry(session.owner).or_default();
        if owner.sessions.is_empty() {
            owner.begins = owner.begins.max(self.now);
            self.order.insert((owner.begins, session.owner));
        }
        owner.sessions.push_back(session);
    }

    /// Takes the session whose turn it is.
    pub(crate) fn next(&mut self) -> Option<SessionNumber> {
        let &(begins, number) = self.order.first()?;
        self.now = begins;
        let owner = self.owners.get_mut(&number)?;
        let session = owner.sessions.pop_front();
        if owner.sessions.is_empty() {
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
            if owner.sessions.is_empty() {
                self.order.remove(&(owner.begins, session.owner));
            }
        }
        // An owner that does not wait and owes nothing begins at the present, as one that is not known does.
        if self.owners.len() > 2 * self.order.len() + REMEMBERED || self.order.is_empty() {
            let now = self.now;
            let nobody_waits = self.order.is_empty();
            self.owners.retain(|_, owner| {
                !owner.sessions.is_empty() || (owner.begins > now && !nobody_waits)
            });
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
    fn nothing_is_kept_of_sessions_that_are_closed() {
        let mut turns = Turns::default();
        for number in 0..10 {
            turns.push(session(number, number % 3));
        }
        for number in 0..10 {
            turns.remove(session(number, number % 3));
        }
        assert!(turns.is_empty());
        assert!(turns.owners.is_empty());
        assert_eq!(turns.next(), None);
    }
}
