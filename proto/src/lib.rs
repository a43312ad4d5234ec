//! The wire types of Tandem, generated from `proto/tandem/v1/*.proto`, and nothing else.
//!
//! `docs/protocol.md` says what the messages mean and in what order they may come.

/// Version 1 of the protocol.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("tandem.v1");

    /// The encoded file descriptors, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/tandem.v1.bin"));
}

/// Bytes that a message takes once encoded.
pub fn encoded_len(message: &impl prost::Message) -> usize {
    message.encoded_len()
}
