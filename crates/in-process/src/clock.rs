//! Time that a test moves.

use std::sync::mpsc;
use std::time::Duration;

/// How often everybody has a turn: more often than a message is handed on between its sender and whom it concerns.
const ROUNDS: usize = 100;

/// tokio's clock, stopped. Needs a runtime of one thread.
///
/// A clock that is only paused goes on by itself where the runtime has nothing to do, which is also when it waits for
/// an engine's thread. So a task that blocks is under way as long as this is, beside which it does not.
#[derive(Debug)]
pub struct StoppedClock {
    _blocks: mpsc::Sender<()>,
}

impl StoppedClock {
    /// Stops it.
    pub fn stop() -> Self {
        let (blocks, ends) = mpsc::channel();
        tokio::task::spawn_blocking(move || ends.recv());
        tokio::time::pause();
        Self { _blocks: blocks }
    }

    /// Moves it on, once all that can be done without has been done, and has those go on that waited for it.
    pub async fn advance(&self, by: Duration) {
        everybody_goes_on().await;
        tokio::time::advance(by).await;
        everybody_goes_on().await;
    }
}

async fn everybody_goes_on() {
    for _ in 0..ROUNDS {
        tokio::task::yield_now().await;
    }
}

impl Drop for StoppedClock {
    fn drop(&mut self) {
        tokio::time::resume();
    }
}
