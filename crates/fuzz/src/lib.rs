//! What must hold of everything that reads foreign bytes, whatever the bytes are.
//!
//! A [`Target`] takes any bytes and panics when a property does not hold. `tests/edited_seeds.rs` runs each for seconds,
//! with the committed seeds and with edits of them; `libfuzzer/`, a workspace of its own that `scripts/fuzz` builds, runs
//! each for as long as one likes and is guided by coverage.
//!
//! To add a target: a module in `targets`, a line in [`TARGETS`], a file in `libfuzzer/src/bin`, and seeds in
//! `seeds/NAME`. An input that has failed once stays as a seed.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a target fails by panicking"
)]

mod edit;
mod input;
mod panics;
mod scratch;
mod seeds;
mod target;
mod targets;

pub use edit::{Edit, apply};
pub use seeds::{Seed, seeds, write_seeds};
pub use target::{SeedFiles, TARGETS, Target};
