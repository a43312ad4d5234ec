//! The split API as docs/protocol.md specifies it, spoken by hand with a cloud in this process, mostly at split 0, where
//! rows are ids.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the helpers of tests fail as tests do"
)]

mod by_hand;
mod drafts;
mod endings;
mod faults;
mod leases;
mod refusals;
mod room;
mod rows;
mod time;
