//! PEM files made into rustls' configurations.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::settings::{ClientTlsSettings, TlsSettings};
use crate::reload::{Material, MaterialError, Reloaded};
use tandem_telemetry::metrics::Metric;

/// HTTP/2, which is all that gRPC is spoken over.
const ALPN: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// What a listener shakes hands with.
pub struct ServerTls {
    /// What it shows and asks for.
    pub(super) handshake: Arc<ServerConfig>,
    /// Who says which clients' certificates are good, where they are asked for.
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl ServerTls {
    /// Whether the certificate of an open connection is still good, with those between it and its authority.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) fn check(&self, chain: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        let (Some(clients), [certificate, between @ ..]) = (&self.clients, chain) else {
            return Ok(());
        };
        let checked = clients.verify_client_cert(certificate, between, UnixTime::now());
        checked.map(|_| ())
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("asks_clients", &self.clients.is_some())
            .finish_non_exhaustive()
    }
}

/// What a listener shakes hands with, `None` without TLS. `reloads` counts by `tls` and outcome.
///
/// # Errors
/// A file cannot be read or is not what it should be, or the key is another certificate's.
pub async fn server_config(
    settings: &TlsSettings,
    reloads: Metric,
) -> Result<Option<Reloaded<ServerTls>>, MaterialError> {
    if !settings.is_on() {
        return Ok(None);
    }
    let mut paths = vec![settings.certificate.clone(), settings.key.clone()];
    paths.extend(set(&settings.client_ca));
    paths.extend(set(&settings.client_crl));
    let parse = |files: &[Material<'_>]| match files {
        [certificate, key, clients @ ..] => server(certificate, key, clients),
        _ => Err(MaterialError::Refused("a file is missing".to_owned())),
    };
    Reloaded::load("tls", paths, reloads, parse).await.map(Some)
}

/// What a client shakes hands with. `reloads` counts by `what` and outcome.
///
/// # Errors
/// As for a server; or the system's authorities are wanted and there are none.
pub async fn client_config(
    settings: &ClientTlsSettings,
    what: &'static str,
    reloads: Metric,
) -> Result<Reloaded<ClientConfig>, MaterialError> {
    let paths = [&settings.ca, &settings.certificate, &settings.key];
    let paths: Vec<PathBuf> = paths.into_iter().filter_map(|path| set(path)).collect();
    let has_ca = set(&settings.ca).is_some();
    let parse = move |files: &[Material<'_>]| {
        let (ca, identity) = files.split_at(usize::from(has_ca));
        client(ca.first(), identity)
    };
    Reloaded::load(what, paths, reloads, parse).await
}

fn set(path: &Path) -> Option<PathBuf> {
    (!path.as_os_str().is_empty()).then(|| path.to_owned())
}

fn server(
    certificate: &Material<'_>,
    key: &Material<'_>,
    clients: &[Material<'_>],
) -> Result<ServerTls, MaterialError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| MaterialError::Refused(error.to_string()))?;
    let clients = match clients {
        [] => None,
        [authorities, revoked @ ..] => Some(verifier(authorities, revoked.first())?),
    };
    let builder = match &clients {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
    };
    let mut config = builder
        .with_single_cert(certificates(certificate)?, private_key(key)?)
        .map_err(|error| unfit(certificate, key, &error))?;
    // HTTP/1.1 for the clients of other APIs than gRPC; whoever speaks both gets HTTP/2.
    config.alpn_protocols = vec![ALPN.to_vec(), HTTP_1.to_vec()];
    Ok(ServerTls {
        handshake: Arc::new(config),
        clients,
    })
}

/// Who says which clients' certificates are good. With a list of revoked ones, those are not, and neither are
/// those of an authority that has no list there.
fn verifier(
    authorities_file: &Material<'_>,
    revoked: Option<&Material<'_>>,
) -> Result<Arc<dyn ClientCertVerifier>, MaterialError> {
    let roots = Arc::new(authorities(authorities_file)?);
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    if let Some(file) = revoked {
        builder = builder
            .with_crls(revocations(file)?)
            .only_check_end_entity_revocation();
    }
    builder.build().map_err(|error| {
        revoked
            .unwrap_or(authorities_file)
            .refused(error.to_string())
    })
}

fn revocations(
    file: &Material<'_>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, MaterialError> {
    let found: Result<Vec<_>, _> =
        CertificateRevocationListDer::pem_slice_iter(file.bytes).collect();
    let found = found.map_err(|error| file.refused(format!("is not PEM: {error}")))?;
    if found.is_empty() {
        Err(file.refused("has no list of revoked certificates in PEM (X509 CRL)"))
    } else {
        Ok(found)
    }
}

fn client(
    ca: Option<&Material<'_>>,
    identity: &[Material<'_>],
) -> Result<ClientConfig, MaterialError> {
    let roots = match ca {
        Some(file) => authorities(file)?,
        None => system_authorities()?,
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| MaterialError::Refused(error.to_string()))?
        .with_root_certificates(roots);
    let mut config = match identity {
        [certificate, key] => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|error| unfit(certificate, key, &error))?,
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(file: &Material<'_>) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(file.bytes).collect();
    let found = found.map_err(|error| file.refused(format!("is not PEM: {error}")))?;
    if found.is_empty() {
        Err(file.refused("has no certificate in PEM"))
    } else {
        Ok(found)
    }
}

/// PKCS#8, PKCS#1 or SEC1. The parser's words are left out: they may quote the file.
fn private_key(file: &Material<'_>) -> Result<PrivateKeyDer<'static>, MaterialError> {
    PrivateKeyDer::from_pem_slice(file.bytes).map_err(|_| {
        file.refused("has no private key in PEM (PKCS#8, PKCS#1 or SEC1, without a passphrase)")
    })
}

fn authorities(file: &Material<'_>) -> Result<RootCertStore, MaterialError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| file.refused(format!("has no usable authority: {error}")))?;
    }
    Ok(roots)
}

fn system_authorities() -> Result<RootCertStore, MaterialError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        Err(MaterialError::Refused(
            "this system has no certificate authorities: name the server's own".to_owned(),
        ))
    } else {
        Ok(roots)
    }
}

fn unfit(certificate: &Material<'_>, key: &Material<'_>, error: &rustls::Error) -> MaterialError {
    match error {
        rustls::Error::InconsistentKeys(_) => key.refused(format!(
            "is not the key of the certificate in {}",
            certificate.path.display()
        )),
        error => key.refused(format!("cannot be used: {error}")),
    }
}
