//! The check in front of every service of a data port.

use tandem_shape::Reason;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::{Code, Request, Status};

use super::peer::Peer;
use super::tokens::Tokens;
use crate::reload::Reloaded;
use crate::tls::ConnectionInfo;
use tandem_status::failure;
use tandem_telemetry::metrics::Metric;

/// Refuses requests without a good token, where tokens are asked for, and tells the services who
/// makes the others. Put it on a server by `tonic::service::InterceptorLayer`.
#[derive(Debug, Clone)]
pub struct Authenticate {
    tokens: Option<Reloaded<Tokens>>,
    refused: Metric,
}

impl Authenticate {
    /// Asks for one of `tokens`, if any; `refused` counts by cause: `missing` or `unknown`.
    pub fn new(tokens: Option<Reloaded<Tokens>>, refused: Metric) -> Self {
        Self { tokens, refused }
    }
}

impl Interceptor for Authenticate {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let connection = request.extensions().get::<ConnectionInfo>().cloned();
        let connection = connection.as_ref();
        let mut peer = Peer {
            certificate: connection.and_then(|connection| connection.certificate.clone()),
            token: None,
            address: connection
                .and_then(|connection| connection.address)
                .map(|address| address.ip().to_canonical()),
        };
        if let Some(tokens) = &self.tokens {
            let found = match bearer(request.metadata()) {
                None => Err((
                    "missing",
                    "this server asks for a token: authorization: Bearer …",
                )),
                Some(token) => tokens
                    .current()
                    .owner(token)
                    .ok_or(("unknown", "the token is none of this server's")),
            };
            let owner = found.map_err(|(cause, message)| {
                tracing::debug!(%peer, cause, "refused");
                self.refused.counter(&[cause]).increment(1);
                failure(Code::Unauthenticated, Reason::Token, message)
            })?;
            peer.token = Some(owner);
            // Nothing behind this has any use for it, and it cannot get into a log from there.
            request.metadata_mut().remove("authorization");
        }
        if let Some(connection) = connection {
            connection.called.accept();
        }
        request.extensions_mut().insert(peer);
        Ok(request)
    }
}

/// The scheme's case does not matter (RFC 9110, 11.1).
fn bearer(metadata: &MetadataMap) -> Option<&[u8]> {
    let value = metadata.get("authorization")?.as_encoded_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii())
}
