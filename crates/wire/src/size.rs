//! How many bytes messages take, for the metrics of both servers.

use tandem_proto::v1::Rows;

/// gRPC's prefix of every message: a flag and a length.
pub const GRPC_PREFIX_BYTES: usize = 5;

/// Bytes of a message on the stream, its prefix included, before HTTP/2 and TLS.
pub fn message_bytes(encoded: usize) -> u64 {
    (GRPC_PREFIX_BYTES + encoded) as u64
}

/// Of a Rows message: the bytes its token ids take.
pub fn token_id_bytes(rows: &Rows) -> u64 {
    if rows.token_ids.is_empty() {
        0
    } else {
        let ids: usize = rows.token_ids.iter().map(|&id| varint(u64::from(id))).sum();
        (1 + varint(ids as u64) + ids) as u64
    }
}

fn varint(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::codegen::Bytes;

    #[test]
    fn token_id_bytes_are_what_their_absence_saves() {
        let with = Rows {
            token_ids: vec![0, 1, 127, 128, 16_384, 49_151, u32::MAX],
            frame: Bytes::from_static(b"frame"),
            ..Rows::default()
        };
        let without = Rows {
            token_ids: Vec::new(),
            ..with.clone()
        };
        let length = |rows: &Rows| tandem_proto::encoded_len(rows);
        assert_eq!(
            token_id_bytes(&with),
            (length(&with) - length(&without)) as u64
        );
        assert_eq!(token_id_bytes(&without), 0);
    }
}
