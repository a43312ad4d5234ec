//! Configuration: one typed tree from layers of YAML.
//!
//! A binary ships a commented YAML file with every default and embeds it; a user's file overrides
//! keys of it, and flags override both. The merged tree becomes a `serde` type with
//! `deny_unknown_fields`, and [`Validate`] checks its ranges. Every error names the key's dotted
//! path and the layer that set it, for a file with the line, and all of them come at once:
//!
//! ```text
//! cloud.yaml:12: limits.max_sessions: is 0, must be at least 1
//! ```
//!
//! YAML itself stays behind this crate: no other code names the library that parses it.

pub mod address;
mod auto_count;
mod auto_duration;
mod byte_size;
mod error;
mod flag_help;
mod human_duration;
mod layers;
mod line;
mod path;
mod token_count;
mod validate;

pub use auto_count::{AutoCount, AutoCountError};
pub use auto_duration::AutoDuration;
pub use byte_size::{ByteSize, ByteSizeError};
pub use error::{ConfigError, Misfit, Origin};
pub use flag_help::with_defaults;
pub use human_duration::{HumanDuration, HumanDurationError};
pub use layers::{Layers, load};
pub use path::FieldPath;
pub use token_count::{TokenCountError, parse_token_count, token_count};
pub use validate::{Validate, Violation, Violations};
