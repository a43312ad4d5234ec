//! What tandem-model promises, on the checkpoints of `tests/fixtures/models`: tiny, random, each
//! with the hidden states and logits that Hugging Face transformers computes for it.

// Failing loudly is what tests are for; clippy.toml exempts only functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fixture;
mod pipeline;
mod rewritten;

#[cfg(feature = "torch")]
mod against_torch;
mod backends;
#[cfg(feature = "torch")]
mod bf16;
mod damaged_checkpoints;
mod fingerprints;
mod integers;
mod keys_and_values;
mod memory;
mod mutations;
mod packages;
mod prefill_and_decode;
mod refusals;
mod sharded_checkpoints;
mod shared_pages;
mod splits;
mod truncation;
