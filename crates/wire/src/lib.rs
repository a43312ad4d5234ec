//! Between the wire's messages and the engine's types, for both servers: sampling parameters,
//! tokens, model descriptions, sizes, and the one mapping from errors to gRPC statuses.

mod description;
mod sampling;
mod size;
mod status;

pub use description::{bytes, description, fingerprint, held_layers, identity};
pub use sampling::{finish_name, finish_reason, parameters, token_logprobs};
pub use size::{GRPC_PREFIX_BYTES, message_bytes, token_id_bytes};
pub use status::{engine_status, ledger_status, parameter_status};

/// The version of the split protocol that this build speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// The largest padding of a Ping, in bytes.
pub const MAX_PING_PADDING: usize = 64 << 10;

/// The most rows of a message behind each of which a token is wanted: a known one, and drafts.
pub const MAX_DRAFT_ROWS: usize = 32;
