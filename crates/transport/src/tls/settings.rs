//! The sections `tls` and `cloud_tls` of a configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustls::pki_types::ServerName;
use serde::Deserialize;

use tandem_config::{Validate, Violations};

/// The section `tls`: what a listener shows and asks for. PEM files; all empty for no TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// The certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities one of which must have signed a client's certificate; empty: clients need
    /// none.
    pub client_ca: PathBuf,
    /// Lists of certificates that these authorities have revoked; empty: none are asked.
    pub client_crl: PathBuf,
    /// The names that clients' certificates may have; empty: all that these authorities have signed.
    pub client_names: Vec<String>,
}

/// The section `cloud_tls`: what a client trusts and shows. PEM files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientTlsSettings {
    /// The authorities one of which must have signed the server's certificate; empty for the
    /// system's.
    pub ca: PathBuf,
    /// The certificate to show; empty for none.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The name that must be in the server's certificate; empty for the address's host.
    pub server_name: String,
}

impl TlsSettings {
    /// Whether there is TLS.
    pub fn is_on(&self) -> bool {
        is_set(&self.certificate)
    }
}

impl ClientTlsSettings {
    /// Whether anything is set.
    pub fn is_any_set(&self) -> bool {
        *self != Self::default()
    }
}

impl Validate for TlsSettings {
    fn validate(&self, at: &mut Violations) {
        check_pair(at, &self.certificate, &self.key);
        at.check(
            "client_ca",
            self.is_on() || !is_set(&self.client_ca),
            "is set without certificate and key, which TLS needs",
        );
        let asks = is_set(&self.client_ca);
        at.check(
            "client_crl",
            asks || !is_set(&self.client_crl),
            "is set without client_ca, whose certificates it is about",
        );
        at.check(
            "client_names",
            asks || self.client_names.is_empty(),
            "is set without client_ca, whose certificates have names",
        );
    }
}

impl Validate for ClientTlsSettings {
    fn validate(&self, at: &mut Violations) {
        check_pair(at, &self.certificate, &self.key);
        at.check(
            "server_name",
            self.server_name.is_empty() || ServerName::try_from(self.server_name.as_str()).is_ok(),
            format!(
                "is `{}`, must be a host's name or address",
                self.server_name
            ),
        );
    }
}

fn check_pair(at: &mut Violations, certificate: &Path, key: &Path) {
    at.check(
        "key",
        is_set(key) || !is_set(certificate),
        "is empty, must be the certificate's private key",
    );
    at.check(
        "certificate",
        is_set(certificate) || !is_set(key),
        "is empty, must be the key's certificate",
    );
}

fn is_set(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

/// Reports `listen` where others than this machine could reach it without TLS, unless that is what
/// is wanted.
pub fn check_listener(at: &mut Violations, listen: SocketAddr, tls: &TlsSettings, insecure: bool) {
    at.check(
        "listen",
        listen.ip().is_loopback() || tls.is_on() || insecure,
        format!(
            "is {listen}, which other machines can reach, without TLS: set tls.certificate and \
             tls.key, or insecure: true for a network you trust"
        ),
    );
}
