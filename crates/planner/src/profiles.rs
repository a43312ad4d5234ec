//! What was measured of an edge, a cloud and the codecs between them.

use crate::step_times::{AttentionTimes, LayerTimes};
use serde::{Deserialize, Serialize};

/// What an edge can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeProfile {
    /// Layers of the whole model.
    pub layers: usize,
    /// Types its weights can be held in, from the smallest to the largest.
    pub weights: Vec<WeightOption>,
    /// Types its keys and values can be held in.
    pub kv: Vec<KvOption>,
    /// Positions that room for keys and values is made for at once.
    pub kv_positions: usize,
    /// Seconds of norm, head and sampling for one row; `None` where the edge has no head.
    pub head_seconds: Option<f64>,
    /// Bytes resident before a layer is loaded: libtorch, tokenizer, runtime.
    pub base_bytes: u64,
    /// Bytes that a chunk of prompt rows needs while it computes.
    pub chunk_bytes: u64,
}

/// A type that weights can be held in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightOption {
    /// Its name, such as int4:64.
    pub name: String,
    /// Bytes of one layer, scales and zero points included.
    pub layer_bytes: u64,
    /// What steps take.
    pub times: LayerTimes,
    /// What each layer costs in quality when it alone is held so: nats of Kullback-Leibler divergence.
    pub layer_kl: Vec<f64>,
    /// Whether that is an upper bound, because it was not measured on this model.
    #[serde(default)]
    pub kl_is_bound: bool,
}

/// A type that keys and values can be held in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KvOption {
    /// Its name, such as int8.
    pub name: String,
    /// Bytes of one position of one layer.
    pub layer_position_bytes: u64,
    /// What attention adds.
    pub attention: AttentionTimes,
    /// What holding a layer's so costs in quality, in nats.
    pub layer_kl: f64,
    /// Whether that is an upper bound, because it was not measured on this model.
    #[serde(default)]
    pub kl_is_bound: bool,
}

/// What a cloud does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CloudProfile {
    /// The lowest split it serves.
    pub first_layer: usize,
    /// The most positions of a session.
    pub max_context: usize,
    /// What steps take, the head's part left out.
    pub times: LayerTimes,
    /// What attention adds.
    pub attention: AttentionTimes,
    /// Seconds of norm, head and sampling for one row.
    pub head_seconds: f64,
    /// Seconds that a step waits for those of other sessions.
    pub queue_seconds: f64,
    /// Sessions that make an answer at present.
    #[serde(default)]
    pub running: usize,
    /// Rows of one session that it runs at once, at most.
    pub merged_rows: usize,
}

/// A codec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodecOption {
    /// Its name.
    pub name: String,
    /// What it costs at each split, from 1 to one below the number of layers.
    pub cuts: Vec<CodecCost>,
}

/// What a codec costs at one split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CodecCost {
    /// Bytes of a row that goes alone.
    pub decode_bytes: f64,
    /// Bytes of a row among a prompt's.
    pub prefill_bytes: f64,
    /// Seconds to encode a row.
    pub encode_seconds: f64,
    /// Seconds to decode a row.
    pub decode_seconds: f64,
    /// What it costs in quality: nats of Kullback-Leibler divergence.
    pub kl: f64,
    /// Whether that is an upper bound, because it was not measured at this cut.
    #[serde(default)]
    pub kl_is_bound: bool,
}

impl CodecOption {
    /// What it costs at a split above 0.
    pub fn at(&self, split: usize) -> Option<&CodecCost> {
        self.cuts.get(split.checked_sub(1)?)
    }
}
