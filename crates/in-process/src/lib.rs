//! For the tests of the parts between an edge and its cloud: a cloud in the process of the test, in milliseconds.
//!
//! A [`LocalCloud`] is cloud-service's own, with a tiny model of `tests/fixtures`, on an engine that [`Faults`] can
//! stop, fail or have panic. A [`Cable`] leads to it without sockets, and can be cut. [`client`] is an edge's side of
//! the split API at the other end, or of several. What must come of it all is what [`WholeModel`] says, which is the same model in one
//! piece. With the feature `clock` there is a [`StoppedClock`], which moves only when it is told to.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail where it does"
)]

mod cable;
mod client;
#[cfg(feature = "clock")]
mod clock;
mod cloud;
mod faults;
mod model;

pub use cable::Cable;
pub use client::{ClientOptions, client, client_of_many};
#[cfg(feature = "clock")]
pub use clock::StoppedClock;
pub use cloud::LocalCloud;
pub use faults::{Faults, Held};
pub use model::{MODEL, WholeModel, demanding, model_directory};
