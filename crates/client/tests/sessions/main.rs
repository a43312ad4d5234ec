//! Sessions, answers and kept conversations with a cloud in this process. Whatever happens on the way, the tokens are
//! those of the model in one piece.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the helpers of tests fail as tests do"
)]

mod asking;
mod beginnings;
mod drafts;
mod losses;
mod pool;
mod random;
mod refusals;
mod resumes;
mod several;
mod turns;
mod untrue;
