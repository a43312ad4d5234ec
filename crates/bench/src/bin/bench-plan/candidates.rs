//! Ways to deploy the pair.

use serde::{Deserialize, Serialize};
use std::fmt;
use tandem_planner::{Candidate, Problem};

/// Settings of an edge, as configurations write them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Layers on the edge.
    pub(crate) split: usize,
    /// Types of their weights.
    pub(crate) weights: String,
    /// Type of their keys and values.
    pub(crate) kv: String,
    /// How rows are written.
    pub(crate) codec: String,
}

impl Settings {
    pub(crate) fn new(split: usize, weights: &str, kv: &str, codec: &str) -> Self {
        Self {
            split,
            weights: weights.to_owned(),
            kv: kv.to_owned(),
            codec: codec.to_owned(),
        }
    }

    /// All layers in the cloud.
    pub(crate) fn cloud_only() -> Self {
        Self::new(0, "f32", "f32", "f32")
    }

    /// As the planner knows it.
    pub(crate) fn candidate(&self, problem: &Problem) -> Option<Candidate> {
        let names = (self.weights.as_str(), self.kv.as_str(), self.codec.as_str());
        Candidate::named(problem, self.split, names)
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.split {
            0 => f.write_str("0"),
            split => write!(f, "{split} {} kv {} {}", self.weights, self.kv, self.codec),
        }
    }
}

/// The list: shallow to deep, in 4 and 8 bits, by a large, a middle and a small codec; some with keys and
/// values in 8 bits; nothing on the edge. Spread, so that the first some are a picture of all.
pub(crate) fn listed() -> Vec<Settings> {
    let mut all = vec![Settings::cloud_only()];
    for codec in ["balanced", "bf16", "economy"] {
        for (split, weights) in [
            (6, "int4:64"),
            (10, "int8"),
            (16, "int4:64"),
            (3, "int8"),
            (6, "int8"),
            (10, "int4:64"),
            (12, "int4:64"),
            (4, "int4:64"),
            (4, "int8"),
            (8, "int8"),
            (13, "int4:64"),
            (8, "int4:64"),
        ] {
            all.push(Settings::new(split, weights, "f32", codec));
        }
    }
    for (split, weights, codec) in [
        (6, "int8", "high"),
        (10, "int8", "high"),
        (12, "int8", "balanced"),
        (6, "int4:64", "economy"),
        (10, "int8", "economy"),
    ] {
        all.push(Settings::new(split, weights, "int8", codec));
    }
    all
}
