//! What was measured of this edge, as it is kept between starts.

use serde::{Deserialize, Serialize};
use tandem_engine::StepTime;
use tandem_planner::StepSample;

/// What figures hold for: they are refused when any of it has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The processor's model, and how many there are.
    pub processor: String,
    /// By whose loops the layers run.
    #[serde(default)]
    pub backend: String,
    /// Where the layers run.
    pub device: String,
    /// Threads that compute.
    pub threads: usize,
    /// The version of libtorch.
    pub libtorch: String,
    /// The version of this program.
    pub version: String,
    /// The model's weights.
    pub weights_fingerprint: String,
    /// The codec profiles beside the model: cut and fingerprint.
    pub profiles: Vec<(usize, String)>,
    /// Types of weights that were to be measured.
    pub weights: Vec<String>,
    /// Types of keys and values that were to be measured.
    pub kv: Vec<String>,
    /// Rows of a chunk.
    pub chunk_rows: usize,
    /// About how large a frame gets, in bytes.
    pub frame_bytes: usize,
}

impl Identity {
    /// The file that figures are kept in between starts: one for each set of types that was to be
    /// measured, so that to ask what another would cost does not forget the last.
    pub fn file(&self) -> String {
        let types = format!("{:?} {:?}", self.weights, self.kv);
        format!("edge-profile-{:08x}.json", crc32c::crc32c(types.as_bytes()))
    }
}

/// Figures of an edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredEdge {
    /// What they hold for.
    pub identity: Identity,
    /// Layers of the whole model.
    pub layers: usize,
    /// One a type of weights.
    pub weights: Vec<MeasuredWeights>,
    /// One a type of keys and values.
    pub kv: Vec<MeasuredKv>,
    /// Seconds of norm, head and sampling for one row; none of a package, which has no head.
    pub head_seconds: Option<f64>,
    /// Bytes resident before a layer is loaded.
    pub base_bytes: u64,
    /// One a codec.
    pub codecs: Vec<MeasuredCodec>,
}

/// Figures of a type of weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredWeights {
    /// Its name.
    pub name: String,
    /// Bytes of a layer.
    pub layer_bytes: u64,
    /// Steps at position 0.
    pub steps: Vec<StepSample>,
}

/// Figures of a type of keys and values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredKv {
    /// Its name.
    pub name: String,
    /// Bytes of a position of a layer.
    pub layer_position_bytes: u64,
    /// Steps at several positions, with weights of the first type.
    pub steps: Vec<StepSample>,
}

/// Figures of a codec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredCodec {
    /// Its name.
    pub name: String,
    /// At each cut, from that behind the first layer on.
    pub cuts: Vec<MeasuredCut>,
}

/// Figures of a codec at one cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredCut {
    /// Bytes of a row alone in its frame.
    pub decode_bytes: f64,
    /// Bytes of a row among a prompt's.
    pub prefill_bytes: f64,
    /// Seconds to encode a row.
    pub encode_seconds: f64,
    /// Seconds to decode a row, on this machine.
    pub decode_seconds: f64,
    /// The calibrated profile that was used.
    pub profile: Option<String>,
}

/// The planner's form of an engine's figure.
pub fn sample(step: &StepTime) -> StepSample {
    StepSample {
        layers: step.layers,
        rows: step.rows,
        position: step.position,
        seconds: step.seconds,
    }
}
