//! Certificates for clouds on this machine.

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::PathBuf;
use tempfile::TempDir;

/// A folder with an authority's certificate, and one that it has signed.
#[derive(Debug)]
pub(crate) struct Trust(TempDir);

impl Trust {
    /// Makes both.
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut authority = CertificateParams::new([])?;
        authority
            .distinguished_name
            .push(DnType::CommonName, "chaos");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate()?;
        let own = authority.self_signed(&authority_key)?;
        std::fs::write(folder.path().join("ca.pem"), own.pem())?;
        let issuer = Issuer::new(authority, authority_key);

        let mut cloud = CertificateParams::new(["127.0.0.1".to_owned()])?;
        cloud.distinguished_name.push(DnType::CommonName, "cloud");
        let key = KeyPair::generate()?;
        let signed = cloud.signed_by(&key, &issuer)?;
        std::fs::write(folder.path().join("cloud.pem"), signed.pem())?;
        std::fs::write(folder.path().join("cloud.key"), key.serialize_pem())?;
        Ok(Self(folder))
    }

    /// What a cloud shows.
    pub(crate) fn flags_of_cloud(&self) -> [PathBuf; 4] {
        let file = |name: &str| self.0.path().join(name);
        [
            "--tls-certificate".into(),
            file("cloud.pem"),
            "--tls-key".into(),
            file("cloud.key"),
        ]
    }

    /// What an edge trusts.
    pub(crate) fn flags_of_edge(&self) -> [PathBuf; 2] {
        ["--cloud-ca".into(), self.0.path().join("ca.pem")]
    }
}
