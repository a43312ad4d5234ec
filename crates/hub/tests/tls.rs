//! A hub behind TLS, trusted by the machine's certificate authorities and no others.

// In helpers beside the tests too.
#![allow(clippy::unwrap_used)]

mod hub_server;

use hub_server::{HubServer, SINGLE, id};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tandem_hub::Wanted;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Takes TLS connections and passes their bytes on to a server without TLS. Returns its address.
async fn front(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>, behind: &str) -> String {
    let key = PrivateKeyDer::Pkcs8(certificate.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = behind.strip_prefix("http://").unwrap().to_owned();
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                // Whoever does not trust the certificate hangs up.
                if let Ok(mut open) = acceptor.accept(connection).await {
                    let mut plain = TcpStream::connect(behind).await.unwrap();
                    _ = tokio::io::copy_bidirectional(&mut open, &mut plain).await;
                }
            });
        }
    });
    format!("https://localhost:{port}")
}

fn fetched_by_a_process(endpoint: &str, roots: &Path) -> String {
    let cache = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "as_a_process_of_its_own",
            "--ignored",
            "--nocapture",
        ])
        .env_clear()
        .env("HF_ENDPOINT", endpoint)
        .env("HF_HUB_CACHE", cache.path())
        .env("SSL_CERT_FILE", roots)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_hub_is_trusted_by_the_machines_authorities_only() {
    let server = HubServer::start(SINGLE);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let certificate = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (ours, other) = (certificate(), certificate());
    let (endpoint, store) = runtime.block_on(async {
        let endpoint = front(&ours, &server.endpoint).await;
        (endpoint, front(&ours, server.store()).await)
    });
    let folder = tempfile::tempdir().unwrap();
    let roots = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let trusting = roots("ours.pem", ours.cert.pem());

    let said = fetched_by_a_process(&endpoint, &trusting);
    assert!(
        said.contains("redirects from https to http: refused"),
        "{said}"
    );
    server.change(|hub| hub.store = Some(store));
    let said = fetched_by_a_process(&endpoint, &trusting);
    assert!(said.contains("fetched 3 files"), "{said}");
    let said = fetched_by_a_process(&endpoint, &roots("other.pem", other.cert.pem()));
    assert!(said.contains("cannot trust https://localhost"), "{said}");
    let said = fetched_by_a_process(&endpoint, &roots("none.pem", String::new()));
    assert!(said.contains("no certificate authorities"), "{said}");
}

#[test]
#[ignore = "a_hub_is_trusted_by_the_machines_authorities_only runs it"]
fn as_a_process_of_its_own() {
    match tandem_hub::fetch(&id("o/n"), Wanted::All, &mut |_| {}) {
        Ok(snapshot) => {
            let files = std::fs::read_dir(snapshot.directory).unwrap().count();
            println!("fetched {files} files");
        }
        Err(error) => println!("{error}"),
    }
}
