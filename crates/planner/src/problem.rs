//! What is to be planned: for whom, within what, and what is best.

use crate::drafts::DraftProfile;
use crate::link::LinkProfile;
use crate::profiles::{CloudProfile, CodecOption, EdgeProfile};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::RangeInclusive;

/// Everything a plan depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// The edge.
    pub edge: EdgeProfile,
    /// The cloud.
    pub cloud: CloudProfile,
    /// The link between them.
    pub link: LinkProfile,
    /// The codecs.
    pub codecs: Vec<CodecOption>,
    /// What is asked of the pair.
    pub workload: Workload,
    /// What must hold.
    pub constraints: Constraints,
    /// What is best.
    pub objective: Objective,
    /// What may be chosen.
    pub space: Space,
    /// How many times longer steps of edge and cloud take that run at the same time: 1 on machines of their own;
    /// on one machine, threads of both ÷ processors where that is more.
    #[serde(default = "alone")]
    pub contention: f64,
    /// Plans whose objective is within this share of the best are as good; the next criterion decides.
    pub indifference: f64,
    /// With [`Objective::Balanced`]: how many times as long as the fastest candidate's a plan's token may take.
    #[serde(default = "default_slowdown")]
    pub slowdown: f64,
    /// How drafts of this edge's answers fare, where that is known. It is told of plans, and chooses none.
    #[serde(default)]
    pub drafts: Option<DraftProfile>,
}

/// What files say that do not say it.
fn alone() -> f64 {
    1.0
}

/// The factor of problems that were written without one.
fn default_slowdown() -> f64 {
    1.25
}

/// A typical request, and how it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub output_tokens: usize,
    /// Sessions that the edge holds at once.
    pub sessions: usize,
    /// Prompt tokens that the edge computes at once.
    pub chunk_rows: usize,
    /// About how large a frame of prompt rows gets, in bytes.
    pub frame_bytes: usize,
}

/// Limits; `None` sets none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Constraints {
    /// Bytes of memory on the edge.
    pub memory: Option<u64>,
    /// Seconds of a token, at every position of a session.
    pub token_deadline: Option<f64>,
    /// Seconds to the first token of the workload's prompt.
    pub first_token: Option<f64>,
    /// Positions that a session must have room for.
    pub min_context: usize,
    /// Nats of Kullback-Leibler divergence from the exact model.
    pub max_kl: Option<f64>,
    /// How often a link may be worse than what deadlines are checked against.
    pub outage: f64,
}

/// What makes a plan the best of those that hold the constraints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// The least compute seconds of the cloud among the candidates whose token takes at most
    /// [`Problem::slowdown`] times as long as that of the fastest one. The next criteria are the edge's
    /// memory, of which plans may differ as little, then the divergence, then the request's time.
    #[default]
    Balanced,
    /// The least compute seconds of the cloud for each token of an answer: what splitting is for, whatever
    /// a token then takes. The next criterion is the request's time.
    CloudSeconds,
    /// The least seconds of a whole request. The next criterion is the cloud's time.
    Latency,
    /// The least memory on the edge. The next criterion is the request's time.
    EdgeMemory,
    /// The least divergence. The next criterion is the request's time.
    Quality,
}

impl Objective {
    /// All, for help texts.
    pub const ALL: [Self; 5] = [
        Self::Balanced,
        Self::CloudSeconds,
        Self::Latency,
        Self::EdgeMemory,
        Self::Quality,
    ];

    /// Its name on command lines and in configs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Balanced => "balanced",
            Self::CloudSeconds => "cloud-seconds",
            Self::Latency => "latency",
            Self::EdgeMemory => "edge-memory",
            Self::Quality => "quality",
        }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no [`Objective`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an objective; balanced, cloud-seconds, latency, edge-memory and quality are")]
pub struct UnknownObjective(String);

impl std::str::FromStr for Objective {
    type Err = UnknownObjective;

    fn from_str(name: &str) -> Result<Self, UnknownObjective> {
        Self::ALL
            .into_iter()
            .find(|objective| objective.name() == name)
            .ok_or_else(|| UnknownObjective(name.to_owned()))
    }
}

/// What a plan may choose from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Space {
    /// Layers on the edge. Only those between the cloud's first layer and all but one are looked at.
    pub splits: RangeInclusive<usize>,
    /// Types of the weights.
    pub weights: WeightChoice,
    /// Types of keys and values, by their number in the edge's profile.
    pub kv: Vec<usize>,
    /// Codecs, by their number.
    pub codecs: Vec<usize>,
}

/// How the types of the edge's weights may be chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightChoice {
    /// Any one of these for all layers, by its number in the edge's profile; and, for each of them and
    /// the next larger one, the larger for the layers that gain most by it.
    Among(Vec<usize>),
    /// This one for each layer from the first on: a package's.
    Given(Vec<usize>),
}
