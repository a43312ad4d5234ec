//! Which codec the link allows: a pure state machine.
//!
//! A smaller codec costs quality, a larger one time, and only where the link is slow. So rows are
//! written by the best codec whose transmission takes no more than a share of all else that a token
//! takes, edge, cloud and round trip; or, with a deadline, by the best with which a token meets it.
//! Where none does, by the floor.
//!
//! Down at once: when the rate, taken for as high as it may be, does not carry what is sent now. Up
//! slowly: when the rate, taken for as low as it may be, has carried more with a margin for some
//! rows, and some seconds after the last change, more of them each time that going up did not last.
//! What lies between the bounds changes nothing, so jitter does not either.

use crate::link_estimate::{LinkEstimate, Rate};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tandem_codec::Codec;

/// Bytes of a decode row besides its frame, and of the token that answers it: gRPC, HTTP/2, TCP/IP.
const AROUND_FRAME: usize = 100;
/// Tokens of which the median is what a token takes besides the link's bytes.
const RECENT: usize = 16;
/// What is taken for it before there was one: a slow pair, so that only clear cases count.
const UNKNOWN_TOKEN: f64 = 0.25;
/// Of what is allowed, what a better codec may take.
const UP_MARGIN: f64 = 0.75;
/// Of a deadline, what a token may take with a better codec, before that margin.
const UP_DEADLINE: f64 = 0.95;
/// Steps in a row on which a better codec must be allowed.
const UP_STEPS: u32 = 8;
/// After a change the next one up waits for so long: at first and at most.
const DWELL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(160));
/// Going up has lasted when it was not taken back for so long.
const LASTING: Duration = Duration::from_secs(60);
/// Between probes: at first and at most.
const PROBE_INTERVAL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// How far a probe stands out of the noise.
const PROBE_TO_NOISE: f64 = 4.0;
/// The largest probe, in bytes.
const MAX_PROBE: f64 = 16_384.0;

/// What is asked of the link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// A row's transmission takes at most this share of the rest of a token's time.
    Share(f64),
    /// A token takes no longer than this.
    Deadline(Duration),
}

/// Chooses between codecs.
#[derive(Debug, Clone)]
pub struct Adaptation {
    /// The best first.
    rungs: Vec<Rung>,
    /// The one in use.
    at: usize,
    target: Target,
    /// Seconds that the last tokens were computed for, on both sides.
    computed: VecDeque<f64>,
    changed: Option<(Instant, Direction)>,
    dwell: Duration,
    /// Steps in a row on which a better codec was allowed.
    allowed_steps: u32,
    probed: Option<Instant>,
    probe_interval: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Rung {
    codec: Codec,
    /// Bytes of a frame of one row.
    frame: f64,
    learnt: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Down,
    Up,
}

/// A change of codec.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Switch {
    /// The codec until now.
    pub from: Codec,
    /// The codec from now on.
    pub to: Codec,
    /// Why.
    pub reason: &'static str,
    /// What the link was taken for.
    pub rate: Rate,
    /// Its round trip.
    pub round_trip: Duration,
}

/// The codecs from `best` down to `floor`, by their size. Those between are only such that nothing
/// smaller is better: neither `int8` nor `tabq`.
pub fn rungs(best: Codec, floor: Codec) -> Vec<Codec> {
    let between = [Codec::Bf16, Codec::High, Codec::Balanced, Codec::Economy];
    let inside = between.into_iter().filter(|codec| {
        codec.typical_bits() < best.typical_bits() && codec.typical_bits() > floor.typical_bits()
    });
    let mut rungs: Vec<Codec> = std::iter::once(best).chain(inside).collect();
    if floor != best {
        rungs.push(floor);
    }
    rungs
}

impl Adaptation {
    /// Begins with `best`, for rows of `hidden` values. Never goes below `floor`.
    pub fn new(best: Codec, floor: Codec, hidden: usize, target: Target) -> Self {
        let rung = |codec: Codec| Rung {
            codec,
            frame: codec.typical_bits() * hidden as f64 / 8.0,
            learnt: false,
        };
        Self {
            rungs: rungs(best, floor).into_iter().map(rung).collect(),
            at: 0,
            target,
            computed: VecDeque::with_capacity(RECENT),
            changed: None,
            dwell: DWELL.0,
            allowed_steps: 0,
            probed: None,
            probe_interval: PROBE_INTERVAL.0,
        }
    }

    /// All codecs that may be used, the best first.
    pub fn codecs(&self) -> impl Iterator<Item = Codec> {
        self.rungs.iter().map(|rung| rung.codec)
    }

    /// The codec in use.
    pub fn codec(&self) -> Codec {
        self.rungs[self.at].codec
    }

    /// What a decode row with a frame of `frame` bytes puts on the link, its answer included.
    pub fn row_bytes(frame: usize) -> usize {
        frame + AROUND_FRAME
    }

    /// A row was written in a frame of `bytes`.
    pub fn row_written(&mut self, codec: Codec, bytes: usize) {
        let bytes = bytes as f64;
        if let Some(rung) = self.rungs.iter_mut().find(|rung| rung.codec == codec) {
            rung.frame = if rung.learnt {
                rung.frame + (bytes - rung.frame) / 8.0
            } else {
                bytes
            };
            rung.learnt = true;
        }
    }

    /// Edge and cloud computed a token for `time`, waiting for their engines included.
    pub fn token_computed(&mut self, time: Duration) {
        if self.computed.len() == RECENT {
            self.computed.pop_front();
        }
        self.computed.push_back(time.as_secs_f64());
    }

    /// Looks at the link before a step, and changes the codec if it must or may.
    pub fn step(&mut self, link: &LinkEstimate, now: Instant) -> Option<Switch> {
        let (rate, round_trip) = (link.rate(now)?, link.round_trip()?);
        let allowed = self.allowed(round_trip, 1.0);
        // What a deadline leaves is a small difference, and the round trip is in it.
        let doubt = match self.target {
            Target::Share(_) => 0.0,
            Target::Deadline(_) => link.noise(),
        };
        let too_slow = self.time(self.at, rate.at_most) > allowed + doubt && link.is_settled();
        let (to, direction, reason) = if too_slow && self.at + 1 < self.rungs.len() {
            let fits = |&rung: &usize| self.time(rung, rate.likely) <= allowed;
            let smaller = self.at + 1..self.rungs.len();
            match smaller.clone().find(fits) {
                Some(to) => (to, Direction::Down, "the link does not carry more in time"),
                None => (
                    smaller.end - 1,
                    Direction::Down,
                    "the link does not even carry this in time",
                ),
            }
        } else {
            let margin = self.up_allowed(round_trip);
            let better = (0..self.at).find(|&rung| self.time(rung, rate.at_least) <= margin);
            self.allowed_steps = match better {
                Some(_) => self.allowed_steps + 1,
                None => 0,
            };
            let to = better.filter(|_| self.allowed_steps >= UP_STEPS && self.may_rise(now))?;
            (to, Direction::Up, "the link carries more in time")
        };
        let from = self.codec();
        self.change(to, direction, now);
        Some(Switch {
            from,
            to: self.codec(),
            reason,
            rate,
            round_trip,
        })
    }

    /// How many bytes would tell whether a better codec is allowed, where rows are too small to:
    /// they should have the link to themselves. Asked for every few seconds at most, and not where
    /// they would hold a row up for long.
    pub fn probe(&mut self, link: &LinkEstimate, now: Instant) -> Option<usize> {
        let (rate, round_trip) = (link.rate(now)?, link.round_trip()?);
        let since = self.probed.map(|at| now.duration_since(at));
        if since.is_some_and(|since| since < self.probe_interval) || !self.may_rise(now) {
            return None;
        }
        let allowed = self.up_allowed(round_trip);
        // At worst it holds a row up for as long as the rest of a token takes.
        let most = MAX_PROBE.min(rate.at_least * self.rest(round_trip));
        let undecided = |&rung: &usize| {
            self.time(rung, rate.at_most) <= allowed && self.time(rung, rate.at_least) > allowed
        };
        let bytes = (0..self.at).filter(undecided).find_map(|rung| {
            let needed = self.bytes(rung) / allowed;
            let bytes = (PROBE_TO_NOISE * link.noise() * needed).min(most);
            (bytes >= 2.0 * self.bytes(self.at)).then_some(bytes)
        })?;
        self.probe_interval = match since {
            Some(_) => (2 * self.probe_interval).min(PROBE_INTERVAL.1),
            None => PROBE_INTERVAL.0,
        };
        self.probed = Some(now);
        Some(bytes.ceil() as usize)
    }

    fn change(&mut self, to: usize, direction: Direction, now: Instant) {
        if let Some((at, before)) = self.changed {
            let lasted = now.duration_since(at) >= LASTING;
            self.dwell = match (before, direction, lasted) {
                (Direction::Up, Direction::Down, false) => (2 * self.dwell).min(DWELL.1),
                (_, _, true) => DWELL.0,
                _ => self.dwell,
            };
        }
        self.at = to;
        self.changed = Some((now, direction));
        self.allowed_steps = 0;
        self.probed = None;
    }

    fn may_rise(&self, now: Instant) -> bool {
        self.changed
            .is_none_or(|(at, _)| now.duration_since(at) >= self.dwell)
    }

    fn bytes(&self, rung: usize) -> f64 {
        self.rungs[rung].frame + AROUND_FRAME as f64
    }

    /// Seconds that a row of a rung is transmitted for.
    fn time(&self, rung: usize, rate: f64) -> f64 {
        self.bytes(rung) / rate
    }

    /// Seconds of a token besides its row's transmission.
    fn rest(&self, round_trip: Duration) -> f64 {
        let mut sorted: Vec<f64> = self.computed.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let computed = sorted.get(sorted.len() / 2).copied();
        computed.unwrap_or(UNKNOWN_TOKEN) + round_trip.as_secs_f64()
    }

    /// Seconds that a row's transmission may take; below 0 where no row is small enough.
    fn allowed(&self, round_trip: Duration, of_deadline: f64) -> f64 {
        let rest = self.rest(round_trip);
        match self.target {
            Target::Share(share) => share * rest,
            Target::Deadline(deadline) => of_deadline * deadline.as_secs_f64() - rest,
        }
    }

    /// Seconds that a better codec's row may take.
    fn up_allowed(&self, round_trip: Duration) -> f64 {
        UP_MARGIN * self.allowed(round_trip, UP_DEADLINE)
    }
}

#[cfg(test)]
#[path = "adaptation/simulations.rs"]
mod simulations;
