//! Grouped-query attention (arXiv 2305.13245) in loops of ours, over keys and values in plain memory.

mod number_formats;
mod packed;
mod softmax;
mod tile;
mod vectors;

#[cfg(test)]
mod tests;

pub(crate) use packed::{Attending, attend};
pub(crate) use softmax::LANES;
