//! What a link is: its rate, its delay, its queue.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::{Index, IndexMut};
use std::str::FromStr;
use std::time::Duration;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// The queue of a modest router, in bytes.
pub const DEFAULT_QUEUE: usize = 64 * 1024;

/// One Ethernet frame's worth of TCP payload: the unit in which connections take turns.
pub const SEGMENT: usize = 1_448;

/// The most that is read from a sender at once.
pub(super) const LARGEST_PIECE: usize = 64 * 1024;

/// The way bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the connecting side (the edge) to the target (the cloud).
    Up,
    /// From the target back to the connecting side.
    Down,
}

impl Direction {
    /// Both, in a fixed order.
    pub const ALL: [Self; 2] = [Self::Up, Self::Down];

    /// The other one.
    pub fn reverse(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

/// One value for each [`Direction`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Both<T> {
    /// The value for [`Direction::Up`].
    pub up: T,
    /// The value for [`Direction::Down`].
    pub down: T,
}

impl<T> Index<Direction> for Both<T> {
    type Output = T;

    fn index(&self, direction: Direction) -> &T {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }
}

impl<T> IndexMut<Direction> for Both<T> {
    fn index_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}

/// Payload bits per second, never zero. What TCP/IP and the frames below add is not charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(NonZeroU64);

impl Rate {
    /// `None` for zero.
    pub fn from_bits_per_second(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits).map(Self)
    }

    /// Thousands of bits a second. Panics on zero.
    pub fn kbit(kilobits: u64) -> Self {
        Self::from_bits_per_second(kilobits * 1_000).expect("a rate above zero")
    }

    /// Millions of bits a second. Panics on zero.
    pub fn mbit(megabits: u64) -> Self {
        Self::kbit(megabits * 1_000)
    }

    /// The plain number.
    pub fn bits_per_second(self) -> u64 {
        self.0.get()
    }

    /// How long `bytes` occupy the link.
    pub fn time_for(self, bytes: usize) -> Duration {
        let nanos = bytes as u128 * 8 * NANOS_PER_SECOND / u128::from(self.0.get());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many bytes pass within `time`, rounded down.
    pub fn bytes_in(self, time: Duration) -> usize {
        let bytes = time.as_nanos() * u128::from(self.0.get()) / (8 * NANOS_PER_SECOND);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0.get();
        for (unit, scale) in [
            ("Gbit", 1_000_000_000),
            ("Mbit", 1_000_000),
            ("kbit", 1_000),
        ] {
            if bits.is_multiple_of(scale) {
                return write!(f, "{}{unit}", bits / scale);
            }
        }
        write!(f, "{bits}bit")
    }
}

impl FromStr for Rate {
    type Err = String;

    /// Reads `10Mbit`, `2.5Mbit`, `64kbit/s`, `1Gbit`, `300bit`; units in any case.
    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is not a rate such as 10Mbit, 64kbit or 1Gbit");
        let lower = text.trim().to_ascii_lowercase();
        let lower = lower.strip_suffix("/s").unwrap_or(&lower);
        let number = lower.strip_suffix("bit").ok_or_else(refuse)?;
        let (number, scale) = match number.chars().last() {
            Some('k') => (&number[..number.len() - 1], 1e3),
            Some('m') => (&number[..number.len() - 1], 1e6),
            Some('g') => (&number[..number.len() - 1], 1e9),
            _ => (number, 1.0),
        };
        let bits = number.trim().parse::<f64>().map_err(|_| refuse())? * scale;
        if !(1.0..=1e15).contains(&bits) {
            return Err(refuse());
        }
        Self::from_bits_per_second(bits.round() as u64).ok_or_else(refuse)
    }
}

/// One direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectionProfile {
    /// One-way propagation delay: half of a symmetric round trip.
    pub delay: Duration,
    /// `None` transmits at once.
    pub rate: Option<Rate>,
    /// Bytes that may wait for transmission. Once it is full the link stops reading from its
    /// senders (it loses nothing). Without a rate nothing ever waits.
    pub queue: usize,
}

impl DirectionProfile {
    /// A delay and a rate with the [default queue](DEFAULT_QUEUE).
    pub fn new(delay: Duration, rate: Option<Rate>) -> Self {
        Self {
            delay,
            rate,
            queue: DEFAULT_QUEUE,
        }
    }

    /// Longest wait of a byte that finds the queue full.
    pub fn queue_time(&self) -> Duration {
        self.rate
            .map_or(Duration::ZERO, |rate| rate.time_for(self.queue))
    }

    /// Bytes that are read from a sender at once: a segment, or what passes in 250 µs on a link
    /// so fast that waking a thread for each segment would take a core.
    pub(super) fn piece(&self) -> usize {
        let most = (self.queue / 4).clamp(SEGMENT, LARGEST_PIECE);
        self.rate.map_or(LARGEST_PIECE, |rate| {
            rate.bytes_in(Duration::from_micros(250))
                .clamp(SEGMENT, most)
        })
    }

    /// Bytes of one connection that may be inside the proxy: what the queue and the delay line
    /// hold when the link is busy, and a receiver's buffer. A receiver that stops reading
    /// therefore stops its sender.
    pub(super) fn window(&self) -> usize {
        const RECEIVER: usize = 64 * 1024;
        const UNLIMITED: usize = 4 * 1024 * 1024;
        self.rate.map_or(UNLIMITED, |rate| {
            rate.bytes_in(self.delay)
                .saturating_add(self.queue + RECEIVER)
        })
    }
}

/// Both directions of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkProfile {
    /// From the connecting side to the target.
    pub up: DirectionProfile,
    /// From the target to the connecting side.
    pub down: DirectionProfile,
    /// Whether a new connection costs its round trip, as TCP's handshake does. The kernel
    /// completes the local handshake at once, so the link holds the first bytes back instead.
    pub handshake: bool,
}

impl LinkProfile {
    /// The same rate both ways and half of `round_trip` each way.
    pub fn new(round_trip: Duration, rate: Option<Rate>) -> Self {
        let direction = DirectionProfile::new(round_trip / 2, rate);
        Self {
            up: direction,
            down: direction,
            handshake: true,
        }
    }

    /// Counts, but neither delays nor limits.
    pub fn unshaped() -> Self {
        Self::new(Duration::ZERO, None)
    }

    /// The same link with `bytes` of queue each way.
    pub fn with_queue(mut self, bytes: usize) -> Self {
        self.up.queue = bytes;
        self.down.queue = bytes;
        self
    }

    /// Propagation there and back.
    pub fn round_trip(&self) -> Duration {
        self.up.delay + self.down.delay
    }
}

impl Index<Direction> for LinkProfile {
    type Output = DirectionProfile;

    fn index(&self, direction: Direction) -> &DirectionProfile {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_as_people_write_them() {
        for (text, bits) in [
            ("10Mbit", 10_000_000),
            ("10mbit/s", 10_000_000),
            ("2.5Mbit", 2_500_000),
            ("64kbit", 64_000),
            ("1Gbit", 1_000_000_000),
            ("300bit", 300),
        ] {
            assert_eq!(text.parse::<Rate>().unwrap().bits_per_second(), bits);
        }
        for text in [
            "", "10", "0Mbit", "-1Mbit", "Mbit", "NaNbit", "infbit", "10MB",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        assert_eq!(Rate::mbit(10).to_string(), "10Mbit");
        assert_eq!(Rate::kbit(64).to_string(), "64kbit");
    }

    #[test]
    fn time_and_bytes_are_inverse() {
        let rate = Rate::mbit(10);
        assert_eq!(rate.time_for(1_250_000), Duration::from_secs(1));
        assert_eq!(rate.bytes_in(Duration::from_millis(80)), 100_000);
    }
}
