//! One direction of a link: a transmitter that all connections share, behind a bounded queue.
//!
//! The queue is kept as a time, not as a list: `busy_until` is when the transmitter will have
//! sent all it has accepted, so that what lies between now and then is what waits. Every piece
//! gets its times when it is accepted, by arithmetic; a thread that wakes late delays nothing
//! behind it.

use std::collections::VecDeque;
use std::time::Duration;

use super::profile::DirectionProfile;

/// Times are the [link clock](super::clock::LinkClock)'s.
#[derive(Debug, Default)]
pub(super) struct Wire {
    busy_until: Duration,
    /// Connections with one piece in hand, in the order they came: each waits for its turn, so
    /// a full queue is shared piece by piece.
    pub(super) turns: VecDeque<u64>,
}

impl Wire {
    /// `None` if `bytes` fit the queue now, otherwise how long until they do. An empty queue
    /// takes a piece of any size.
    pub(super) fn full_for(
        &self,
        profile: &DirectionProfile,
        now: Duration,
        bytes: usize,
    ) -> Option<Duration> {
        let rate = profile.rate?;
        let waiting = self.busy_until.saturating_sub(now);
        let allowed = rate.time_for(profile.queue.saturating_sub(bytes));
        Some(waiting.saturating_sub(allowed)).filter(|wait| !wait.is_zero())
    }

    /// Accepts `bytes` that have been there since `ready`; returns when they arrive at the far
    /// end.
    pub(super) fn transmit(
        &mut self,
        profile: &DirectionProfile,
        ready: Duration,
        bytes: usize,
    ) -> Duration {
        let time = profile
            .rate
            .map_or(Duration::ZERO, |rate| rate.time_for(bytes));
        self.busy_until = self.busy_until.max(ready) + time;
        self.busy_until + profile.delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Rate;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn pieces_queue_behind_each_other_and_delay_pipelines() {
        // 8 Mbit/s: a byte a microsecond.
        let profile = DirectionProfile {
            queue: 3_000,
            ..DirectionProfile::new(40 * MS, Some(Rate::mbit(8)))
        };
        let mut wire = Wire::default();
        assert_eq!(wire.transmit(&profile, MS, 1_000), 42 * MS);
        assert_eq!(wire.transmit(&profile, MS, 1_000), 43 * MS);
        assert_eq!(wire.full_for(&profile, MS, 1_000), None);
        assert_eq!(wire.transmit(&profile, MS, 1_000), 44 * MS);
        assert_eq!(wire.full_for(&profile, MS, 1_000), Some(MS));
        assert_eq!(wire.full_for(&profile, 2 * MS, 1_000), None);
        // Idle time is not saved up.
        assert_eq!(wire.transmit(&profile, 100 * MS, 1_000), 141 * MS);
    }

    #[test]
    fn a_piece_larger_than_the_queue_passes_alone() {
        let profile = DirectionProfile {
            queue: 100,
            ..DirectionProfile::new(Duration::ZERO, Some(Rate::mbit(8)))
        };
        let mut wire = Wire::default();
        assert_eq!(wire.full_for(&profile, MS, 1_000), None);
        wire.transmit(&profile, MS, 1_000);
        assert_eq!(wire.full_for(&profile, MS, 1_000), Some(MS));
    }

    #[test]
    fn without_a_rate_only_the_delay_counts() {
        let profile = DirectionProfile::new(10 * MS, None);
        let mut wire = Wire::default();
        assert_eq!(wire.transmit(&profile, MS, 1 << 30), 11 * MS);
        assert_eq!(wire.full_for(&profile, MS, 1 << 30), None);
    }
}
