//! Where codec and model meet, once: what is evaluated is what is served.
//!
//! ```text
//! Front   token ids ─► embed, layers 0..l ─► encode ─► frames
//! Back    frames ─► decode ─► layers l..L, head ─► sample ─► token id
//! ```
//!
//! Both are a [`Half`] that an [`Engine`] drives on a thread of its own; tandem-eval drives them
//! directly. [`Ledger`] is the cloud's book-keeping of a session as `docs/protocol.md` specifies
//! it, [`sampler`] chooses tokens. Nothing here knows gRPC.

mod back;
mod constraint;
mod engine;
mod engine_step;
mod error;
mod frames;
mod front;
mod gather;
mod half;
mod kv_budget;
mod layers;
mod ledger;
mod model_files;
mod named_page;
mod numerics;
mod parallel;
mod profiles;
mod pulse;
mod run;
pub mod sampler;
mod scheduler;
mod standing;
mod step_budget;
mod step_timer;
mod turns;

pub use back::{
    Back, BackOpen, BackOutput, BackSession, BackStep, MERGED_ROWS, RowsInput, RowsStep, Want,
};
pub use constraint::{Constraint, ConstraintError, TokenMask};
pub use engine::{Completed, Engine, EngineOptions, EngineSession, Pending, StartError};
pub use engine_step::EngineStep;
pub use error::EngineError;
pub use frames::FrameCodec;
pub use front::{Frame, Front, FrontOpen, FrontOutput, FrontSession, FrontStep};
pub use half::{Half, Outcome, Turn};
pub use kv_budget::{KvBudget, KvSizes, Reservation, Room};
pub use layers::Layers;
pub use ledger::{Ledger, LedgerError, RowsVerdict};
pub use model_files::{Compute, ModelFiles, OpenError, PackagePlan};
pub use named_page::{KeptPage, NamedPage, PageKey, PageName};
pub use numerics::Numerics;
pub use profiles::{Profiles, ProfilesError};
pub use pulse::{Ended, Pulse};
pub use run::{FinishReason, RunRequest, RunToken};
pub use scheduler::{OwnerNumber, Priority, SessionNumber};
pub use standing::Standing;
pub use step_timer::{StepTime, TimedSteps, time_back, time_front, time_head};
