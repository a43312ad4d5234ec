//! What the link to the cloud is like, learnt from what crosses it: a pure state machine.
//!
//! ```text
//! time on the link = round trip + bytes ÷ rate ± jitter
//! ```
//!
//! The round trip comes from pings that have the link to themselves; what a message takes beyond it
//! is its transmission. A small message on a fat link takes less than the jitter, and says only
//! that the rate is at least so much; so the rate is known between two bounds, and only what both
//! agree on should be acted upon. A round trip that changes looks like a rate that does, until the
//! next ping: a message that took another time than expected asks for one at once.
//!
//! Everything is a quantile of the last few: four late messages in a row say nothing, five of six
//! do.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Pings that are believed, and other messages.
const PINGS: usize = 9;
const TRANSFERS: usize = 6;
/// Transfers before anything is said of the rate.
const ENOUGH: usize = 3;
/// What threads, timers and two servers add to a quiet link, at least, in seconds.
const MIN_NOISE: f64 = 0.002;
/// What is left of the noise with each ping that sees none.
const NOISE_KEPT: f64 = 0.95;
/// A proof of the rate is believed for so long.
const PROOF_KEPT: Duration = Duration::from_secs(60);
/// Between pings of a link that does as expected.
const PING_INTERVAL: Duration = Duration::from_secs(3);
/// Between pings of one that does not.
const SURPRISED_INTERVAL: Duration = Duration::from_millis(50);
/// A ping that is not answered is given up after this.
const PING_LOST: Duration = Duration::from_secs(10);

/// What is known of a link. Its owner says what was measured when, and asks.
#[derive(Debug, Clone, Default)]
pub struct LinkEstimate {
    /// Seconds that pings took, the oldest first.
    pings: VecDeque<f64>,
    transfers: VecDeque<Transfer>,
    /// The last large message that had the link to itself.
    proof: Option<(Transfer, Instant)>,
    last_ping: Option<Instant>,
    ping_out: bool,
    surprised: bool,
    /// How the last ping differed from those before.
    odd_ping: Option<Odd>,
    /// Seconds. Some pings are alike by chance, so it falls slowly.
    noise: f64,
}

/// How a ping differs from those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Odd {
    Longer,
    Shorter,
}

/// A message that crossed the link.
#[derive(Debug, Clone, Copy)]
struct Transfer {
    bytes: f64,
    /// Bytes on the way when it was sent, its own included.
    load: f64,
    /// Seconds until the answer, without what the other end computed.
    taken: f64,
}

/// How fast bytes go up, in bytes a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// It is at least this.
    pub at_least: f64,
    /// Most likely it is this; `at_least` where nothing queued long enough to tell.
    pub likely: f64,
    /// It is at most this; infinite where nothing queued long enough to tell.
    pub at_most: f64,
}

impl LinkEstimate {
    /// Whether the round trip should be measured now, if the link is idle: a few bytes every few
    /// seconds, thrice at first, and at once when a message took another time than expected.
    pub fn ping_due(&self, now: Instant) -> bool {
        let Some(last) = self.last_ping else {
            return true;
        };
        let since = now.duration_since(last);
        match self.ping_out {
            true => since > PING_LOST,
            false if self.pings.len() < ENOUGH => true,
            false if self.surprised => since >= SURPRISED_INTERVAL,
            false => since >= PING_INTERVAL,
        }
    }

    /// Whether a ping is on its way.
    pub fn is_pinging(&self) -> bool {
        self.ping_out
    }

    /// A ping goes up.
    pub fn ping_sent(&mut self, now: Instant) {
        self.last_ping = Some(now);
        self.ping_out = true;
    }

    /// A ping of a few bytes came back after `taken`.
    pub fn ping_returned(&mut self, taken: Duration) {
        let taken = taken.as_secs_f64();
        self.ping_out = false;
        let odd = self.odd(taken);
        // Two in a row that differ alike from all before: the link has changed, and they begin anew.
        if odd.is_some() && odd == self.odd_ping {
            self.pings.drain(..self.pings.len() - 1);
        }
        push(&mut self.pings, PINGS, taken);
        if odd.is_none() {
            let noise = noise(&sorted(self.pings.iter().copied()));
            self.noise = noise.max(NOISE_KEPT * self.noise);
        }
        self.surprised = odd.is_some();
        self.odd_ping = odd;
    }

    /// A message of `bytes` that had the link to itself was answered after `taken`, without what
    /// the other end computed.
    pub fn row_taken(&mut self, bytes: usize, taken: Duration) {
        self.transferred(Transfer::new(bytes, bytes, taken));
    }

    /// A large message was acknowledged after `taken`: a prompt's frame or a padded ping. `load`
    /// bytes were on the way when it was sent, its own included.
    pub fn bulk_taken(&mut self, bytes: usize, load: usize, taken: Duration, now: Instant) {
        let transfer = Transfer::new(bytes, load, taken);
        if load <= bytes {
            self.proof = Some((transfer, now));
        }
        self.transferred(transfer);
    }

    /// A padded ping came back: [`LinkEstimate::bulk_taken`], and the next ping may go.
    pub fn probe_returned(&mut self, bytes: usize, taken: Duration, now: Instant) {
        self.ping_out = false;
        self.bulk_taken(bytes, bytes, taken, now);
    }

    /// The round trip: the lower median of the last pings.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip_seconds().map(Duration::from_secs_f64)
    }

    /// How far a time on the link may be from another for no reason, in seconds.
    pub fn noise(&self) -> f64 {
        self.noise.max(MIN_NOISE)
    }

    /// Whether the round trip is none that is just changing.
    pub fn is_settled(&self) -> bool {
        self.pings.len() >= ENOUGH && self.odd_ping.is_none()
    }

    /// How fast bytes go up, once the round trip is known and a few messages have crossed.
    pub fn rate(&self, now: Instant) -> Option<Rate> {
        let measured = self.measured_rate()?;
        let at_least = self.proven_rate(now).map_or(measured.at_least, |proven| {
            measured.at_least.max(proven.min(measured.at_most))
        });
        Some(Rate {
            at_least,
            likely: measured.likely.clamp(at_least, measured.at_most),
            at_most: measured.at_most,
        })
    }

    fn round_trip_seconds(&self) -> Option<f64> {
        let sorted = sorted(self.pings.iter().copied());
        sorted.get(sorted.len().checked_sub(1)? / 2).copied()
    }

    /// Whether a ping lies outside of what the last ones were.
    fn odd(&self, ping: f64) -> Option<Odd> {
        let mut before = self.pings.iter().copied();
        // The last one is no measure if it was odd itself.
        if self.odd_ping.is_some() {
            before.next_back();
        }
        let sorted = sorted(before);
        let (least, noise) = (*sorted.first()?, noise(&sorted));
        let most = sorted[upper(sorted.len())];
        match noise {
            noise if ping > most + noise => Some(Odd::Longer),
            noise if ping < least - noise => Some(Odd::Shorter),
            _ => None,
        }
    }

    /// What the last messages say: each that a byte took some time between two bounds.
    fn measured_rate(&self) -> Option<Rate> {
        let round_trip = self.round_trip_seconds()?;
        if self.transfers.len() < ENOUGH {
            return None;
        }
        let noise = self.noise();
        let of = |time: fn(&Transfer, f64, f64) -> f64| {
            sorted(self.transfers.iter().map(|t| time(t, round_trip, noise)))
        };
        let (low, middle, high) = (
            of(Transfer::least_byte_time),
            of(|transfer, round_trip, _| transfer.byte_time(round_trip)),
            of(Transfer::most_byte_time),
        );
        let at_least = 1.0 / high[upper(high.len())];
        let at_most = 1.0 / low[low.len() / 4];
        Some(Rate {
            at_least,
            likely: if at_most.is_finite() {
                (1.0 / middle[middle.len() / 2]).clamp(at_least, at_most)
            } else {
                at_least
            },
            at_most,
        })
    }

    fn proven_rate(&self, now: Instant) -> Option<f64> {
        let (transfer, at) = self.proof?;
        let round_trip = self.round_trip_seconds()?;
        let believed = now.duration_since(at) < PROOF_KEPT;
        believed.then(|| 1.0 / transfer.most_byte_time(round_trip, self.noise()))
    }

    fn transferred(&mut self, transfer: Transfer) {
        self.surprised |= self.surprises(&transfer);
        push(&mut self.transfers, TRANSFERS, transfer);
        let contradicted = match (self.measured_rate(), self.round_trip_seconds(), self.proof) {
            (Some(rate), Some(round_trip), Some((proof, _))) => {
                rate.at_most * proof.most_byte_time(round_trip, self.noise()) < 0.7
            }
            _ => false,
        };
        if contradicted {
            self.proof = None;
        }
    }

    /// Whether a message took another time than the last ones.
    fn surprises(&self, transfer: &Transfer) -> bool {
        let (Some(round_trip), Some(rate)) = (self.round_trip_seconds(), self.measured_rate())
        else {
            return false;
        };
        let noise = self.noise();
        // The noise is in the rate.
        transfer.taken > round_trip + transfer.load / rate.at_least
            || transfer.taken < round_trip - noise
    }
}

impl Transfer {
    fn new(bytes: usize, load: usize, taken: Duration) -> Self {
        Self {
            bytes: bytes.max(1) as f64,
            load: load.max(bytes).max(1) as f64,
            taken: taken.as_secs_f64(),
        }
    }

    /// Seconds a byte. What was on the way before it had left the link in part.
    fn byte_time(&self, round_trip: f64) -> f64 {
        (self.taken - round_trip).max(0.0) / self.load
    }

    fn least_byte_time(&self, round_trip: f64, noise: f64) -> f64 {
        (self.taken - round_trip - noise).max(0.0) / self.load
    }

    fn most_byte_time(&self, round_trip: f64, noise: f64) -> f64 {
        ((self.taken - round_trip).max(0.0) + noise) / self.bytes
    }
}

fn push<T>(recent: &mut VecDeque<T>, most: usize, new: T) {
    if recent.len() == most {
        recent.pop_front();
    }
    recent.push_back(new);
}

/// Of so many sorted values the last but one, of three the last.
fn upper(count: usize) -> usize {
    count.saturating_sub(1 + count / 4)
}

/// What sorted pings differ by, the largest of four or five left out.
fn noise(pings: &[f64]) -> f64 {
    let spread = match (pings.first(), pings.len()) {
        (Some(least), count) => pings[upper(count)] - least,
        (None, _) => 0.0,
    };
    spread.max(MIN_NOISE)
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
#[path = "link_estimate/tests.rs"]
mod tests;
