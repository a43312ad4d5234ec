//! Segments of Llama-style models: the only crate of Tandem that calls libtorch.
//!
//! A model is a Hugging Face directory, its shape a [`tandem_shape::ModelConfig`]. [`Checkpoint`] finds its
//! tensors, one file or many, without reading them; [`Segment`] loads a range of layers and runs rows
//! through them:
//!
//! ```text
//! tokens ─ embed ─► rows [n, hidden] f32 ─ forward ─► rows ─ … ─ forward ─► rows ─ logits ─► [n, vocabulary]
//!          mapped                          layers 0..l        layers l..L           norm, head
//! ```
//!
//! The residual stream is f32 whatever type the weights have, so rows mean the same on both sides
//! of a split. Who does the arithmetic is a [backend](tandem_shape::BackendName)'s business.
//!
//! Threads are kept by thread, libtorch's gradient mode too: give every segment to one thread, and hold a
//! [`ComputeThread`] there.

mod attention;
mod backend;
mod checkpoint;
mod decoder_layer;
mod elementwise;
mod embedding;
mod error;
mod fingerprint;
mod gemm;
mod kv_cache;
mod matrices;
mod package;
mod prefetch;
mod quantise;
mod rope;
mod segment;
mod simd;
mod stretch;
mod threads;
mod workers;

pub use checkpoint::model_file::ModelFile;
pub use checkpoint::{Checkpoint, FloatType, StoredTensor};
pub use embedding::Embedding;
pub use error::{ModelError, Result};
pub use fingerprint::{identity, weights_fingerprint};
pub use kv_cache::{KvCache, KvMemory, KvPage, PAGE_POSITIONS};
pub use package::prepare::{EmbeddingType, Preparation};
pub use package::{FileEntry, Layers, Manifest, Package, Source};
pub use segment::Segment;
pub use stretch::SessionRows;
pub use threads::{ComputeThread, set_threads, threads};
pub use workers::for_each;

/// The revision of our own arithmetic: one more with every change to the bits that rows, frames or draws come to, so that
/// nobody takes the results of two revisions for the same.
pub const ARITHMETIC_REVISION: u32 = 1;

/// The version of the libtorch that this was built for, `unknown`, or `none` without libtorch.
pub fn libtorch_version() -> &'static str {
    if cfg!(feature = "torch") {
        option_env!("TANDEM_LIBTORCH_VERSION").unwrap_or("unknown")
    } else {
        "none"
    }
}
