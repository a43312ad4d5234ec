//! How many bytes may be on the way, learnt from how long frames take: a pure state machine.
//!
//! The window follows TCP Vegas (Brakmo and Peterson 1995). A frame that takes longer than the
//! fastest one has queued: of the `load` bytes on the way with it, `load · fastest / taken` fill
//! the link and the rest waits in front of it. The window is what fills the link, and a frame or an
//! eighth more.
//!
//! Vegas is only as good as its fastest frame, and links change under a living connection. A frame
//! that has the link to itself cannot queue, so what it takes is what the link takes, whatever was
//! faster before: prompts are bursts, and each begins with such a frame. A long upload makes room
//! for one: it lets the link run dry when the fastest frame is old, or when frames are late
//! although hardly any are on the way.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The window before anything is known of the link, and the one to begin with when it has changed.
const INITIAL: f64 = 64.0 * 1024.0;
/// More than any link needs on which splitting pays.
const MAX: f64 = 16.0 * 1024.0 * 1024.0;
/// What may queue beyond a frame, as a share of what is on the way: a fat link's jitter.
const TOLERANCE: f64 = 0.125;
/// Frames of which the least delayed one is believed: an acknowledgement may itself be late.
const RECENT: usize = 4;
/// An upload whose fastest frame is older lets the link run dry once; that costs a round trip.
const FASTEST_KEPT: Duration = Duration::from_secs(4);
/// Late frames in a row at the least window that say that the link has changed.
const LATE_FRAMES: u32 = 5;

/// The window, in bytes.
#[derive(Debug)]
pub(super) struct Window {
    bytes: f64,
    frame: f64,
    slow_start: bool,
    fastest: Option<(Duration, Instant)>,
    /// Load and time of the last frames.
    recent: VecDeque<(f64, f64)>,
    late: u32,
    /// Nothing is sent until nothing is on the way.
    draining: bool,
}

impl Window {
    /// For a link of which nothing is known; `frame` is about how large a frame gets, in bytes.
    pub(super) fn new(frame: usize) -> Self {
        let frame = frame as f64;
        Self {
            bytes: INITIAL.max(2.0 * frame),
            frame,
            slow_start: true,
            fastest: None,
            recent: VecDeque::with_capacity(RECENT),
            late: 0,
            draining: false,
        }
    }

    /// How many bytes may be on the way.
    pub(super) fn bytes(&self) -> f64 {
        self.bytes
    }

    /// Whether `bytes` may join `in_flight`. A frame always fits an empty link.
    pub(super) fn admits(&self, in_flight: usize, bytes: usize) -> bool {
        in_flight == 0 || (!self.draining && (in_flight + bytes) as f64 <= self.bytes)
    }

    /// Takes note of a frame that is sent while `in_flight` bytes are on the way.
    pub(super) fn sent(&mut self, in_flight: usize) {
        if in_flight == 0 {
            self.draining = false;
        }
    }

    /// Learns from a frame of `bytes` that arrived: `load` bytes were on the way when it was sent,
    /// it included, and its acknowledgement came after `taken`.
    pub(super) fn acknowledged(
        &mut self,
        bytes: usize,
        load: usize,
        taken: Duration,
        now: Instant,
    ) {
        let (bytes, load_bytes) = (bytes as f64, load as f64);
        let fastest = self.fastest(bytes >= load_bytes, taken, now);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        let taken = taken.as_secs_f64().max(1e-6);
        self.recent.push_back((load_bytes, taken));

        let (queued, tolerated) = self.least_queued(fastest);
        if queued > tolerated {
            self.slow_start = false;
            self.late += 1;
            // Not below what leaves the link: that is as fast as a window can close.
            let closed = self.filling(fastest).max(self.bytes - bytes);
            self.bytes = self.bytes.min(closed);
        } else {
            self.late = 0;
            let own = load_bytes * (1.0 - fastest / taken);
            self.open(bytes, load_bytes, own, tolerated);
        }
        self.bytes = self.bytes.clamp(2.0 * self.frame, MAX);
        let stuck = self.late >= LATE_FRAMES && self.bytes < 3.0 * self.frame;
        let old =
            matches!(self.fastest, Some((_, since)) if now.duration_since(since) > FASTEST_KEPT);
        if stuck || old {
            self.draining = true;
            self.late = 0;
        }
    }

    /// The fastest frame's time, which a frame that was `alone` sets anew.
    fn fastest(&mut self, alone: bool, taken: Duration, now: Instant) -> f64 {
        let before = self.fastest.map(|(fastest, _)| fastest);
        if before.is_none_or(|fastest| alone || taken <= fastest) {
            self.fastest = Some((taken, now));
        }
        if alone && before.is_some_and(|fastest| taken > fastest) {
            self.slow_start = true;
            self.recent.clear();
            self.bytes = self.bytes.max(INITIAL);
        }
        let fastest = self.fastest.map_or(taken, |(fastest, _)| fastest);
        fastest.as_secs_f64().max(1e-6)
    }

    /// What queued before the frame that queued least, and what may.
    fn least_queued(&self, fastest: f64) -> (f64, f64) {
        self.recent
            .iter()
            .map(|&(load, taken)| {
                let queued = load * (1.0 - fastest / taken);
                (queued, self.frame.max(TOLERANCE * load))
            })
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .unwrap_or_default()
    }

    /// The window that fills the link, and the queue that is meant to be.
    fn filling(&self, fastest: f64) -> f64 {
        let fill = self
            .recent
            .iter()
            .map(|&(load, taken)| load * fastest / taken)
            .fold(0.0, f64::max);
        fill * (1.0 + TOLERANCE) + 1.5 * self.frame
    }

    /// Doubles a round trip until something queues, then grows by a frame or an eighth. Only if
    /// what was on the way had nearly filled the window, which may have grown since.
    fn open(&mut self, bytes: f64, load: f64, queued: f64, tolerated: f64) {
        if queued > 0.5 * tolerated {
            return;
        }
        if self.slow_start {
            if 2.0 * load >= self.bytes {
                self.bytes += bytes;
            }
        } else if load + 2.0 * self.frame > self.bytes {
            self.bytes += bytes * (self.frame / self.bytes).max(TOLERANCE);
        }
    }
}

#[cfg(test)]
#[path = "simulations.rs"]
mod simulations;
