//! Measures a model through the engine that serves it: what is evaluated is what is served.
//!
//! [`perplexity`], [`compare`], [`generations`], [`task`], [`calibrate`], [`task`] and [`bench`] are the commands.
//! [`pipeline`] drives both engine halves in one process with the codec between them, frames encoded
//! and decoded as on the wire; [`score`] turns logits into a
//! perplexity.

pub mod bench;
pub mod bench_rows;
pub mod bench_run;
pub mod calibrate;
pub mod cli;
pub mod compare;
pub mod cut;
pub mod divergence;
pub mod error;
pub mod generations;
pub mod perplexity;
pub mod pipeline;
pub mod precision;
pub mod prompts;
pub mod score;
pub mod sensitivity;
pub mod summary;
pub mod task;

pub use error::EvalError;
