//! A connection's time for its first call: somebody who only connects, or never gets past the check of
//! tokens, has a place for that long and no longer.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use tokio::time::Sleep;

use super::places::Place;

/// Whether a call has been accepted on a connection; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Called(Arc<AtomicBool>);

impl Called {
    /// A call is accepted: the connection may stay.
    pub fn accept(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_accepted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The place of a connection, with the time that it has for its first call.
#[derive(Debug)]
pub struct FirstCall {
    place: Place,
    called: Called,
    /// Until a call is accepted.
    waiting: Option<Pin<Box<Sleep>>>,
    is_late: bool,
}

impl FirstCall {
    /// The time begins. Needs a tokio runtime.
    pub fn new(place: Place) -> Self {
        let within = place.first_call_within();
        Self {
            place,
            called: Called::default(),
            waiting: Some(Box::pin(tokio::time::sleep(within))),
            is_late: false,
        }
    }

    /// What calls say that they are there to.
    pub fn called(&self) -> Called {
        self.called.clone()
    }

    /// Wakes the task when the time is up.
    ///
    /// # Errors
    /// It is, and no call has been accepted.
    pub fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(waiting) = &mut self.waiting else {
            return Ok(());
        };
        if self.called.is_accepted() {
            self.waiting = None;
            return Ok(());
        }
        if !self.is_late {
            if waiting.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            self.is_late = true;
            self.place.made_no_call();
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "no call was accepted in time",
        ))
    }
}
