//! cloud-service: the back layers of a split model and the sampler, behind gRPC.
//!
//! The way of a row: [`service`] takes the stream and gives it a task, [`stream`] is that task and
//! owns the session, which outlives it for a while by its [lease](leases), [`open`] decides whether it may begin and [`admission`] finds room for it,
//! [`intake`] checks each message of rows, [`session_memory`] says what they take, the engine runs them, and the
//! sampled token goes back down the stream. [`prefixes`] is what a session may begin with, [`answer_trace`] what a trace
//! says of it. [`cloud`] is what all streams share;
//! [`serve`] starts and ends it all.

pub mod admission;
pub mod answer_trace;
pub mod back_profile;
pub mod cli;
pub mod cloud;
pub mod config;
mod constraints;
pub mod intake;
pub mod leases;
pub mod metrics;
pub mod open;
pub mod prefixes;
mod run;
pub mod serve;
pub mod service;
pub mod session_memory;
pub mod session_metrics;
pub mod stream;
