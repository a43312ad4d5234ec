//! How much of a prompt may be on its way to the cloud.
//!
//! All sessions share one connection, and what has been handed to it cannot be overtaken: with a
//! prompt of megabytes in the socket, every other session's next token would wait for all of it.
//! So prefill frames wait here until the link has room: the bytes that are sent and not yet
//! acknowledged stay at about the bandwidth-delay product and one frame. Decode rows never wait.
//!
//! The window follows TCP Vegas (Brakmo and Peterson 1995): a frame that takes longer than the
//! fastest one has queued behind others, and `window · (1 − fastest / taken)` bytes are what queues.
//! It doubles each round trip until something queues, and then moves by a frame a round trip.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The window before anything is known of the link: on a slow one it queues for a moment, on a
/// fast one it grows within a few round trips.
const INITIAL_WINDOW: f64 = 64.0 * 1024.0;
/// More than any link needs on which splitting pays.
const MAX_WINDOW: f64 = 16.0 * 1024.0 * 1024.0;
/// How long the fastest frame is remembered: links change.
const FASTEST_KEPT: Duration = Duration::from_secs(30);

/// The way up, shared by all sessions of a connection.
#[derive(Debug, Clone)]
pub struct Uplink {
    state: Arc<Mutex<State>>,
}

/// Bytes that may be sent, and are on their way until acknowledged or dropped.
#[derive(Debug)]
pub struct Permit {
    uplink: Uplink,
    bytes: usize,
    sent: Instant,
    /// Bytes on the way when this was sent, these included.
    load: usize,
}

#[derive(Debug)]
struct State {
    in_flight: usize,
    window: f64,
    frame: f64,
    slow_start: bool,
    fastest: Fastest,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    bytes: usize,
    grant: oneshot::Sender<Permit>,
}

/// The fastest of the last frames, by two halves of the time it is remembered.
#[derive(Debug)]
struct Fastest {
    current: Duration,
    previous: Duration,
    since: Instant,
}

impl Uplink {
    /// An idle link; `frame` is about how large a frame gets, in bytes.
    pub fn new(frame: usize) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                in_flight: 0,
                window: INITIAL_WINDOW.max(2.0 * frame as f64),
                frame: frame as f64,
                slow_start: true,
                fastest: Fastest::new(Instant::now()),
                waiting: VecDeque::new(),
            })),
        }
    }

    /// Waits until `bytes` may be sent. First come, first served.
    pub async fn acquire(&self, bytes: usize) -> Option<Permit> {
        let granted = {
            let mut state = self.lock();
            if state.waiting.is_empty() && state.has_room(bytes) {
                return Some(self.permit(&mut state, bytes));
            }
            let (grant, granted) = oneshot::channel();
            state.waiting.push_back(Waiting { bytes, grant });
            granted
        };
        granted.await.ok()
    }

    /// Bytes on the way, and how many may be.
    pub fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.in_flight, state.window as usize)
    }

    fn permit(&self, state: &mut State, bytes: usize) -> Permit {
        state.in_flight += bytes;
        Permit {
            uplink: self.clone(),
            bytes,
            sent: Instant::now(),
            load: state.in_flight,
        }
    }

    fn release(&self, bytes: usize) {
        // Granted permits may be dropped at once by those who no longer wait; that comes back
        // here, and must not find the lock held.
        let mut unclaimed = Vec::new();
        let mut state = self.lock();
        state.in_flight -= bytes;
        while let Some(next) = state.waiting.front()
            && state.has_room(next.bytes)
            && let Some(next) = state.waiting.pop_front()
        {
            let permit = self.permit(&mut state, next.bytes);
            if let Err(permit) = next.grant.send(permit) {
                unclaimed.push(permit);
            }
        }
        drop(state);
        drop(unclaimed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The bytes have arrived: the time they took sets the window.
    pub fn acknowledge(self) {
        let now = Instant::now();
        let taken = now.duration_since(self.sent);
        self.uplink.lock().learn(self.bytes, self.load, taken, now);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.uplink.release(self.bytes);
    }
}

impl State {
    /// A frame always fits an empty link.
    fn has_room(&self, bytes: usize) -> bool {
        self.in_flight == 0 || (self.in_flight + bytes) as f64 <= self.window
    }

    fn learn(&mut self, bytes: usize, load: usize, taken: Duration, now: Instant) {
        let fastest = self.fastest.update(taken, now);
        let share = 1.0 - fastest.as_secs_f64() / taken.as_secs_f64().max(1e-6);
        let queued = load as f64 * share;
        let limited = load as f64 + self.frame > self.window;
        if queued > self.frame {
            self.slow_start = false;
            // By half of what is too much, so that a link that has slowed down is met within a few
            // frames, and a single late one is not mistaken for it.
            self.window -= 0.5 * (queued - self.frame);
        } else if limited && self.slow_start {
            self.window += bytes as f64;
        } else if limited && queued < 0.5 * self.frame {
            self.window += self.frame * bytes as f64 / self.window;
        }
        self.window = self.window.clamp(2.0 * self.frame, MAX_WINDOW);
    }
}

impl Fastest {
    fn new(now: Instant) -> Self {
        Self {
            current: Duration::MAX,
            previous: Duration::MAX,
            since: now,
        }
    }

    fn update(&mut self, taken: Duration, now: Instant) -> Duration {
        if now.duration_since(self.since) > FASTEST_KEPT / 2 {
            (self.previous, self.current, self.since) = (self.current, Duration::MAX, now);
        }
        self.current = self.current.min(taken);
        self.current.min(self.previous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 16 << 10;

    /// Sends frames over a link of `rate` bytes a second and `delay` each way, always one ready,
    /// and returns the highest and the last number of bytes on the way and the utilisation.
    fn simulate(rate: f64, delay: f64, frames: usize) -> (usize, f64) {
        let uplink = Uplink::new(FRAME);
        let start = Instant::now();
        let mut state = uplink.lock();
        let (mut now, mut link_free, mut in_flight) = (0.0f64, 0.0f64, VecDeque::new());
        let (mut sent, mut load, mut last_loads) = (0, 0usize, Vec::new());
        while sent < frames {
            while load == 0 || (load + FRAME) as f64 <= state.window {
                load += FRAME;
                link_free = now.max(link_free) + FRAME as f64 / rate;
                in_flight.push_back((now, link_free + 2.0 * delay, load));
                sent += 1;
            }
            let Some((sent_at, acknowledged, then)) = in_flight.pop_front() else {
                break;
            };
            now = acknowledged;
            load -= FRAME;
            let taken = Duration::from_secs_f64(now - sent_at);
            state.learn(FRAME, then, taken, start + Duration::from_secs_f64(now));
            if sent > frames / 2 {
                last_loads.push(then);
            }
        }
        let utilisation = sent as f64 * FRAME as f64 / rate / now;
        (last_loads.into_iter().max().unwrap_or(0), utilisation)
    }

    #[test]
    fn a_long_fat_link_is_filled() {
        // 10 Mbit/s, 80 ms: 100 kB of bandwidth-delay product.
        let (_, utilisation) = simulate(1.25e6, 0.04, 400);
        assert!(utilisation > 0.9, "{utilisation}");
    }

    #[test]
    fn a_slow_link_holds_little_more_than_it_must() {
        // 1 Mbit/s, 20 ms: 2.5 kB of bandwidth-delay product.
        let (load, utilisation) = simulate(125e3, 0.01, 100);
        assert!(load <= 4 * FRAME, "{load}");
        assert!(utilisation > 0.9, "{utilisation}");
    }

    #[tokio::test]
    async fn who_comes_first_is_served_first_and_who_leaves_takes_nothing() {
        let uplink = Uplink::new(FRAME);
        let (_, window) = uplink.load();
        let first = uplink.acquire(window).await.unwrap();
        let mut second = Box::pin(uplink.acquire(FRAME));
        let mut third = Box::pin(uplink.acquire(FRAME));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(second);
        drop(first);
        assert!(third.await.is_some());
        assert_eq!(uplink.load().0, 0);
    }
}
