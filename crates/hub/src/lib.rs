//! Brings a model that is named by a hub id to this machine: into the cache that Hugging Face's own
//! tools use, and as the directory that Tandem loads.
//!
//! ```text
//! HubId ── which commit? ──► Listing ── which files? ──► Selection ──► Download each ──► Snapshot
//!          one request,      kept beside the cache:      the index     resumed, verified,
//!          or the cache      a commit never changes      names shards  then named
//! ```
//!
//! [`fetch`] is the whole of it. A side that needs a part of the layers says so by the names of its
//! tensors ([`Wanted::Tensors`]), and only the shards with such tensors are brought. `.tandem-shards.json`
//! in the snapshot then has the SHA-256 of all, also of those that were not.
//!
//! The hub is not trusted with this machine: paths, sizes, counts and redirections are checked, and no
//! file has its name before its hash is right. It is trusted with the token, which no other host gets.

mod attempts;
mod cache;
mod cached;
mod client;
mod content_hash;
mod download;
mod error;
mod fetch;
mod hub_id;
mod listing;
mod progress;
mod repo_path;
mod repository;
mod selection;
mod settings;

pub use error::HubError;
pub use fetch::{Snapshot, fetch, fetch_with};
pub use hub_id::{HubId, HubIdError};
pub use progress::{OnProgress, Progress};
pub use selection::{IsWanted, Wanted};
pub use settings::{Settings, Token};
