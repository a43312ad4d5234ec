//! What a split costs in memory, time and quality, and the search for the best one.
//!
//! ```text
//! profiles    what was measured of edge, cloud, codecs        ┐
//! link        round trip and rates, as quantiles              ├─► estimate   what one candidate costs
//! sensitivity what precision costs in quality                 ┘       │
//! problem     workload, limits, objective ─────────────────────────► search ─► the best, the front,
//!                                                                              what binds
//! ```
//!
//! Pure arithmetic: nothing here measures, waits or reads a file, and a plan for the same problem is
//! the same plan. The formulae are those of arXiv 2511.04002, made explicit for grouped-query attention
//! and for a pair whose halves work at the same time; [`estimate`](mod@estimate) and `pipeline` have them.

mod breakdown;
mod candidate;
mod curve;
mod drafts;
mod edge_only;
pub mod estimate;
mod link;
mod pipeline;
mod problem;
mod profiles;
mod ranking;
mod search;
mod sensitivity;
mod sharing;
mod step_times;

pub use breakdown::{Breakdown, LossTerms, MemoryTerms, TokenTerms, breakdown};
pub use candidate::Candidate;
pub use curve::{Curve, InvalidCurve};
pub use drafts::{DraftProfile, DraftStart, Drafted, drafted};
pub use edge_only::EdgeOnly;
pub use estimate::{Estimate, estimate};
pub use link::{Link, LinkProfile, Quantiles, rayleigh_outage_rate};
pub use problem::{
    Constraints, Objective, Problem, Space, UnknownObjective, WeightChoice, Workload,
};
pub use profiles::{CloudProfile, CodecCost, CodecOption, EdgeProfile, KvOption, WeightOption};
pub use search::{Binding, Constraint, Outcome, Plan, Shortfall, search};
pub use sensitivity::{
    CodecSensitivity, CutSensitivity, KvSensitivity, Sensitivity, TypeSensitivity,
};
pub use sharing::{Sharing, sharing};
pub use step_times::{AttentionTimes, FitError, LayerTimes, StepSample};
