//! Segments of Llama-style models through libtorch: the only crate of Tandem that calls it.
//!
//! A model is a Hugging Face directory. [`ModelConfig`] reads its `config.json` and refuses by
//! name what it asks for and this crate does not do; [`Checkpoint`] finds its tensors, one file or
//! many, without reading them; [`Segment`] loads a range of layers and runs rows through them:
//!
//! ```text
//! tokens ─ embed ─► rows [n, hidden] f32 ─ forward ─► rows ─ … ─ forward ─► rows ─ logits ─► [n, vocabulary]
//!          mapped                          layers 0..l        layers l..L           norm, head
//! ```
//!
//! The residual stream is f32 whatever type the weights have, so rows mean the same on both sides
//! of a split.
//!
//! libtorch keeps its gradient mode and its pool of workers by thread: give every segment to one
//! thread and hold [`no_grad`]'s guard there.

mod attention;
mod checkpoint;
mod device;
mod elementwise;
mod embedding;
mod error;
mod fingerprint;
mod gemm;
mod kinds;
mod kv_cache;
mod layer;
mod linear;
mod matrices;
mod mlp;
mod norm;
mod package;
mod plain_layer;
mod quantise;
mod rope;
mod segment;
mod workers;

pub use checkpoint::{Checkpoint, StoredTensor};
pub use device::open_device;
pub use embedding::Embedding;
pub use error::{ModelError, Result};
pub use fingerprint::{identity, weights_fingerprint};
pub use kv_cache::KvCache;
pub use package::prepare::{EmbeddingType, Preparation};
pub use package::{FileEntry, Layers, Manifest, Package, Source};
pub use segment::Segment;
pub use tch::{Device, Tensor};

/// Switches gradients off on this thread while the guard lives.
pub fn no_grad() -> tch::NoGradGuard {
    tch::no_grad_guard()
}

/// Sets the number of threads that what this thread calls for is computed on, by libtorch too, whose
/// default ignores a container's quota.
pub fn set_threads(threads: usize) {
    workers::set_threads(threads);
    tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX).max(1));
}

/// The version of the libtorch that this was built for, or `unknown`.
pub fn libtorch_version() -> &'static str {
    option_env!("TANDEM_LIBTORCH_VERSION").unwrap_or("unknown")
}

/// Copies a tensor's values out, row by row.
///
/// # Errors
/// When it is not f32.
pub fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    if let Some(values) = gemm::floats(tensor) {
        return Ok(values.to_vec());
    }
    let mut values = vec![0.0; tensor.numel()];
    tensor
        .f_to_device(Device::Cpu)?
        .f_contiguous()?
        .f_copy_data(&mut values, tensor.numel())?;
    Ok(values)
}
