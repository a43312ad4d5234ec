//! The bones of a server, the same for edge and cloud, so that they behave alike where a person who runs
//! them can see it.
//!
//! [`arguments`] has the flags of every server, and [`serve`](serve::serve) starts what every server has, in the order in which it depends on each other, and ends it:
//! the log, metrics, traces by their [`collector`], the data port and the [`admin`] port. [`health`] says what
//! is ready, [`engine_config`] how sessions share its engine, [`watchdog`] watches that engine, [`drain`] ends it all within a
//! deadline, and [`exit`] says why a program ends.

pub mod admin;
pub mod arguments;
pub mod collector;
pub mod drain;
pub mod engine_config;
pub mod exit;
pub mod health;
pub mod serve;
pub mod watchdog;
