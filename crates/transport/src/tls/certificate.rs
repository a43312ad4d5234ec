//! A client's certificate: whose it is, and until when it is good.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::material::ServerTls;
use crate::reload::Reloaded;

/// The longest that a certificate goes unchecked: a machine's clock may be set.
const CHECKED_EVERY: Duration = Duration::from_secs(60);

/// What a client has shown, and one of a server's authorities has signed.
#[derive(Clone)]
pub(super) struct ClientCertificate {
    /// Whose it is, whole.
    pub(super) name: Arc<str>,
    /// It, and those between it and its authority.
    chain: Vec<CertificateDer<'static>>,
    /// When the first of them ends.
    ends: Option<SystemTime>,
}

impl ClientCertificate {
    /// Of the certificates of a handshake; `None` where none was shown.
    pub(super) fn of(chain: &[CertificateDer<'static>]) -> Option<Self> {
        let first = chain.first()?;
        Some(Self {
            name: name_in(first).into(),
            chain: chain.to_vec(),
            ends: chain.iter().filter_map(|link| end_of(link)).min(),
        })
    }

    /// Resolves when it is good no longer: it has ended, was revoked, or its authority is trusted no more.
    pub(super) async fn until_withdrawn(self, tls: Reloaded<ServerTls>) {
        let mut changes = tls.changes();
        loop {
            let current = changes.borrow_and_update().clone();
            if let Err(error) = current.check(&self.chain) {
                tracing::info!(%error, "a client's certificate is good no longer");
                return;
            }
            let left = self
                .ends
                .and_then(|ends| ends.duration_since(SystemTime::now()).ok());
            let again = left.map_or(CHECKED_EVERY, |left| {
                left.saturating_add(Duration::from_secs(1))
                    .min(CHECKED_EVERY)
            });
            // An error says that nothing changes any more, which cannot be: `tls` is held here.
            let _ = tokio::time::timeout(again, changes.changed()).await;
        }
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientCertificate")
            .field(&self.name)
            .finish()
    }
}

/// The subject's common name, or else the first DNS name or URI. A certificate without one is known by its
/// digest, so that no two of them are one peer.
fn name_in(certificate: &[u8]) -> String {
    let unnamed = || format!("unnamed {}", blake3::hash(certificate).to_hex());
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return unnamed();
    };
    let common = parsed
        .subject()
        .iter_common_name()
        .find_map(|name| name.as_str().ok());
    let alternatives = parsed.subject_alternative_name().ok().flatten();
    let alternative = alternatives.and_then(|extension| {
        let mut names = extension.value.general_names.iter();
        names.find_map(|name| match *name {
            GeneralName::DNSName(name) | GeneralName::URI(name) => Some(name),
            _ => None,
        })
    });
    let name = common.filter(|name| !name.is_empty()).or(alternative);
    name.map_or_else(unnamed, str::to_owned)
}

fn end_of(certificate: &[u8]) -> Option<SystemTime> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}
