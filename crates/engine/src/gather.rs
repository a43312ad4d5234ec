//! How long a step waits for sessions whose rows are on their way.
//!
//! The sessions of a step get their tokens together and come again within a moment of each other, those that
//! are near within a fraction of a step. A step that begins with the first of them leaves the others to the
//! next one, and soon two halves take turns, where a step of all would take hardly longer than that of a half. So
//! a step waits for the sessions of the last: for those that have lately come in so short a time that it pays, and
//! no longer than that.

use crate::scheduler::SessionNumber;
use std::collections::HashMap;
use std::time::Duration;

/// The longest wait, of what the last step took.
const MOST: f64 = 0.2;
/// How much longer a session is waited for than it took lately.
const MARGIN: f64 = 1.5;
/// How much of what a session took is made up for by one that was quicker.
const FORGETS: f64 = 0.25;

/// Knows how long sessions take from their token to the next row.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    trips: HashMap<SessionNumber, Duration>,
}

impl Gather {
    /// A session has come so long behind its token. One that is late is not waited for until it has been quick
    /// several times.
    pub(crate) fn came(&mut self, key: SessionNumber, trip: Duration) {
        let known = self.trips.entry(key).or_insert(trip);
        *known = if trip > *known {
            trip
        } else {
            known.mul_f64(1.0 - FORGETS) + trip.mul_f64(FORGETS)
        };
    }

    /// How long a session is waited for behind a step that took so long; none where it is too far away.
    pub(crate) fn wait(&self, key: SessionNumber, took: Duration) -> Option<Duration> {
        let wait = self.trips.get(&key)?.mul_f64(MARGIN);
        (wait <= took.mul_f64(MOST)).then_some(wait)
    }

    /// A session has been closed.
    pub(crate) fn forget(&mut self, key: SessionNumber) {
        self.trips.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::OwnerNumber;

    const STEP: Duration = Duration::from_millis(80);

    fn key(number: u64) -> SessionNumber {
        SessionNumber {
            number,
            owner: OwnerNumber::default(),
            moved: 0,
        }
    }

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn who_is_near_is_waited_for_a_little_longer_than_it_takes() {
        let mut gather = Gather::default();
        assert_eq!(gather.wait(key(1), STEP), None);
        gather.came(key(1), millis(2));
        gather.came(key(2), millis(20));
        assert_eq!(gather.wait(key(1), STEP), Some(millis(3)));
        assert_eq!(gather.wait(key(1), millis(10)), None);
        assert_eq!(gather.wait(key(2), STEP), None);
        gather.forget(key(1));
        assert_eq!(gather.wait(key(1), STEP), None);
    }

    #[test]
    fn who_is_late_is_waited_for_again_once_it_has_been_quick_several_times() {
        let mut gather = Gather::default();
        gather.came(key(1), millis(2));
        gather.came(key(1), millis(40));
        let mut quick = 0;
        while gather.wait(key(1), STEP).is_none() {
            gather.came(key(1), millis(2));
            quick += 1;
        }
        assert!((3..10).contains(&quick), "{quick}");
    }
}
