//! How much of a prompt may be on its way to the cloud.
//!
//! All sessions share one connection, and what has been handed to it cannot be overtaken: with a
//! prompt of megabytes in the socket, every other session's next token would wait for all of it.
//! So prefill frames wait here until the link has room: the bytes that are sent and not yet
//! acknowledged stay at about the bandwidth-delay product and one frame. Decode rows never wait.
//! The [`window`] learns that product from how long frames take.

mod window;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use window::Window;

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

/// Bytes that arrived.
#[derive(Debug, Clone, Copy)]
pub struct Acknowledged {
    /// How many.
    pub bytes: usize,
    /// Bytes on the way when they were sent, these included.
    pub load: usize,
    /// From sending to the acknowledgement.
    pub taken: Duration,
}

#[derive(Debug)]
struct State {
    in_flight: usize,
    window: Window,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    bytes: usize,
    grant: oneshot::Sender<Permit>,
}

impl Uplink {
    /// An idle link; `frame` is about how large a frame gets, in bytes.
    pub fn new(frame: usize) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                in_flight: 0,
                window: Window::new(frame),
                waiting: VecDeque::new(),
            })),
        }
    }

    /// Waits until `bytes` may be sent. First come, first served.
    pub async fn acquire(&self, bytes: usize) -> Option<Permit> {
        let granted = {
            let mut state = self.lock();
            if state.waiting.is_empty() && state.window.admits(state.in_flight, bytes) {
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
        (state.in_flight, state.window.bytes() as usize)
    }

    fn permit(&self, state: &mut State, bytes: usize) -> Permit {
        state.window.sent(state.in_flight);
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
            && state.window.admits(state.in_flight, next.bytes)
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
    /// The bytes have arrived: the time they took sets the window, and is returned.
    pub fn acknowledge(self) -> Acknowledged {
        let now = Instant::now();
        let taken = now.duration_since(self.sent);
        let mut state = self.uplink.lock();
        state.window.acknowledged(self.bytes, self.load, taken, now);
        drop(state);
        Acknowledged {
            bytes: self.bytes,
            load: self.load,
            taken,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.uplink.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 16 << 10;

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
