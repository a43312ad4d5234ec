//! An edge's side of the split API: sessions with a cloud that runs the back layers. It knows neither text
//! nor who asks for answers.
//!
//! A [`SplitClient`] has what all sessions share: the front that runs here and the [`Clouds`] of this edge, with a
//! [`Link`] to each and a [`CodecChoice`] for it. A [`Session`] keeps both halves in step over its [`stream`], the [`uplink`] decides when a
//! frame may go, and the codec of each step is what [`adaptation`] makes of what [`link_estimate`] learns.
//! The [`SessionPool`] keeps sessions between the turns of a conversation, and [`fit`] says whether a cloud
//! fits this edge. What goes wrong is a [`SessionError`], which says itself whether it may be [tried
//! again](Retry). A [`Generation`] makes an answer of as many sessions as it takes, and what sessions may begin with is
//! in `prefixes`.

pub mod adaptation;
mod client;
mod clouds;
mod codec_choice;
mod drafts;
mod edge_ledger;
mod error;
pub mod fit;
mod generation;
mod link;
pub mod link_estimate;
pub mod metrics;
mod pool;
mod prefixes;
mod prompt_trace;
mod session;
mod session_codecs;
mod stream;
pub mod uplink;
mod usage;

pub use client::{FrontHalf, SessionLimits, SplitClient};
pub use clouds::{Clouds, DialError, Dialer, DialerConfig, ReachError, Standing, all_have_tls};
pub use codec_choice::CodecChoice;
pub use drafts::DraftStart;
pub use drafts::model::DraftModel;
pub use error::{CloudError, CloudStatus, Retry, SessionError};
pub use generation::{Asked, Generation, Kept, NextRows, ReplayTerms};
pub use link::{Cloud, CloudClient, Link};
pub use pool::{AllRunning, Asker, SessionPool, Turn};
pub use prompt_trace::PromptTrace;
pub use session::{PendingRows, Session};
pub use session_codecs::SessionCodecs;
pub use usage::{CodecUsage, Usage};
