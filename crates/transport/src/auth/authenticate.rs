//! The check in front of every service of a data port.

use std::sync::Arc;

use tandem_shape::Reason;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::{Code, Request, Status};

use super::peer::Peer;
use super::standing::Standing;
use super::tokens::{TokenDigest, Tokens};
use crate::reload::Reloaded;
use crate::tls::ConnectionInfo;
use tandem_status::failure;
use tandem_telemetry::metrics::Metric;

/// Refuses requests without a good token, where tokens are asked for, and of certificates whose name is not
/// listed, where names are, and tells the services who makes the others. Put it on a server by
/// `tonic::service::InterceptorLayer`.
#[derive(Debug, Clone)]
pub struct Authenticate {
    tokens: Option<Reloaded<Tokens>>,
    /// The names that certificates may have; none: any.
    names: Arc<[String]>,
    refused: Metric,
}

impl Authenticate {
    /// Asks for one of `tokens`, if any; `refused` counts by cause: `missing`, `unknown` or `certificate`.
    pub fn new(tokens: Option<Reloaded<Tokens>>, refused: Metric) -> Self {
        Self {
            tokens,
            names: [].into(),
            refused,
        }
    }

    /// Takes certificates of these names alone, unless there are none.
    pub fn with_names(self, names: impl Into<Arc<[String]>>) -> Self {
        Self {
            names: names.into(),
            ..self
        }
    }

    fn check_name(&self, peer: &Peer) -> Result<(), Refusal> {
        let is_listed = || {
            let name = peer.certificate.as_deref()?;
            self.names.iter().find(|listed| *listed == name)
        };
        if self.names.is_empty() || is_listed().is_some() {
            return Ok(());
        }
        Err(Refusal {
            cause: "certificate",
            code: Code::PermissionDenied,
            reason: Reason::Certificate,
            message: "the certificate's name is none that this server takes",
        })
    }

    fn check_token(&self, metadata: &MetadataMap) -> Result<Option<Standing>, Refusal> {
        let Some(tokens) = &self.tokens else {
            return Ok(None);
        };
        let refusal = |cause, message| Refusal {
            cause,
            code: Code::Unauthenticated,
            reason: Reason::Token,
            message,
        };
        let token = bearer(metadata).ok_or_else(|| {
            refusal(
                "missing",
                "this server asks for a token: authorization: Bearer …",
            )
        })?;
        let digest = TokenDigest::of(token);
        let owner = tokens.current().owner_of(&digest);
        let owner =
            owner.ok_or_else(|| refusal("unknown", "the token is none of this server's"))?;
        Ok(Some(Standing::new(tokens.clone(), digest, owner)))
    }
}

/// Why a request is refused.
struct Refusal {
    cause: &'static str,
    code: Code,
    reason: Reason,
    message: &'static str,
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
        let checked = self.check_name(&peer);
        let checked = checked.and_then(|()| self.check_token(request.metadata()));
        let standing = checked.map_err(|refusal| {
            tracing::debug!(%peer, cause = refusal.cause, "refused");
            self.refused.counter(&[refusal.cause]).increment(1);
            failure(refusal.code, refusal.reason, refusal.message)
        })?;
        if let Some(standing) = standing {
            peer.token = Some(standing.owner());
            // Nothing behind this has any use for it, and it cannot get into a log from there.
            request.metadata_mut().remove("authorization");
            request.extensions_mut().insert(standing);
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
