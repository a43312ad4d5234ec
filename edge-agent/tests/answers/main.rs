//! Answers, from a prompt's ids to streamed text, with a cloud in this process.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the helpers of tests fail as tests do"
)]

mod asking;
mod endings;
mod losses;
mod text;
mod turns;
