//! TLS and tokens on both connections of a pair, with the real servers.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;
use tandem_tests::paths::default_model;
use tandem_tests::process::{Binary, Pair, PairOptions, Server, ServerOptions};
use tempfile::TempDir;

const EDGES_TOKEN: &str = "3d5a1f7c9b2e4860a1c3e5f708192a3b";
const NEW_TOKEN: &str = "77e0d1c2b3a4958687766554433221ff";
const CLIENTS_TOKEN: &str = "c0ffee00112233445566778899aabbcc";

/// An authority, and a folder of what it has signed.
struct Trust {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Trust {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let own = params.self_signed(&key).unwrap();
        fs::write(folder.path().join("ca.pem"), own.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self { folder, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Signs a certificate for a server or client on this machine.
    fn sign(&self, name: &str) {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        self.text(&format!("{name}.pem"), &signed.pem());
        self.text(&format!("{name}.key"), &key.serialize_pem());
    }

    /// Two flags that name a certificate and its key.
    fn shown(&self, flags: [&str; 2], name: &str) -> [String; 4] {
        let file = |end: &str| self.path(&format!("{name}.{end}")).display().to_string();
        [flags[0].into(), file("pem"), flags[1].into(), file("key")]
    }

    fn flag(&self, flag: &str, name: &str) -> [String; 2] {
        [flag.to_owned(), self.path(name).display().to_string()]
    }
}

/// A pair that asks for everything it can ask for.
async fn start(trust: &Trust) -> (Server, Server) {
    for name in ["cloud", "edge-7", "edge-front"] {
        trust.sign(name);
    }
    trust.text("cloud-tokens", &format!("edge-7: {EDGES_TOKEN}\n"));
    trust.text("cloud-token", EDGES_TOKEN);
    trust.text("edge-tokens", &format!("app: {CLIENTS_TOKEN}\n"));
    trust.text("client-token", CLIENTS_TOKEN);
    let options = ServerOptions::default()
        .args(trust.shown(["--tls-certificate", "--tls-key"], "cloud"))
        .args(trust.flag("--tls-client-ca", "ca.pem"))
        .args(trust.flag("--auth-tokens", "cloud-tokens"));
    let cloud = Server::cloud(&default_model(), options).await.unwrap();
    let options = ServerOptions::default()
        .args(trust.flag("--cloud-ca", "ca.pem"))
        .args(trust.shown(["--cloud-certificate", "--cloud-key"], "edge-7"))
        .args(trust.flag("--cloud-token", "cloud-token"))
        .args(trust.shown(["--tls-certificate", "--tls-key"], "edge-front"))
        .args(trust.flag("--auth-tokens", "edge-tokens"));
    let edge = Server::edge(&default_model(), &https(&cloud), 10, options)
        .await
        .unwrap();
    (cloud, edge)
}

fn https(server: &Server) -> String {
    format!("https://{}", server.address())
}

/// `edge-agent ask` with these options.
fn ask(edge: &str, options: &[String]) -> Output {
    Command::new(Binary::EdgeAgent.path())
        .args([
            "ask",
            "--edge",
            edge,
            "--temperature",
            "0",
            "--max-tokens",
            "12",
        ])
        .args(options)
        .arg("Why is the sky blue?")
        .output()
        .unwrap()
}

fn refusal(edge: &str, options: &[String]) -> String {
    let asked = ask(edge, options);
    assert!(!asked.status.success());
    String::from_utf8_lossy(&asked.stderr).into_owned()
}

#[tokio::test]
async fn a_pair_with_tls_and_tokens_answers_what_a_plain_one_does_and_nobody_else() {
    let plain = Pair::start(&default_model(), 10, PairOptions::default())
        .await
        .unwrap();
    let expected = ask(&plain.edge.url(), &[]);
    assert!(expected.status.success(), "{expected:?}");
    drop(plain);

    let (trust, others) = (Trust::new("ours"), Trust::new("others"));
    let (cloud, edge) = start(&trust).await;
    let ca = trust.flag("--ca", "ca.pem");
    let token = trust.flag("--token-file", "client-token");
    let own = [ca.clone(), token.clone()].concat();
    let answer = ask(&https(&edge), &own);
    assert!(answer.status.success(), "{answer:?}");
    assert_eq!(answer.stdout, expected.stdout);

    let said = refusal(&https(&edge), &ca);
    assert!(said.contains("this server asks for a token"), "{said}");
    let theirs = others.text("token", "a-token-of-nobody-here");
    let theirs = ["--token-file".to_owned(), theirs.display().to_string()];
    let said = refusal(&https(&edge), &[ca, theirs].concat());
    assert!(said.contains("none of this server's"), "{said}");
    let said = refusal(&https(&edge), &others.flag("--ca", "ca.pem"));
    assert!(said.contains("not signed by an authority"), "{said}");
    // A client's certificate is asked for by the cloud alone.
    let said = refusal(&https(&cloud), &own);
    assert!(said.contains("asks for a client certificate"), "{said}");

    let log = cloud.log();
    assert!(
        log.contains("certificate edge-7, token edge-7"),
        "the session's peer is logged"
    );
    for log in [log, edge.log()] {
        for secret in [EDGES_TOKEN, CLIENTS_TOKEN, "PRIVATE KEY"] {
            assert!(!log.contains(secret), "a log has a secret");
        }
    }
}

#[tokio::test]
async fn tokens_and_certificates_change_while_the_pair_runs() {
    let trust = Trust::new("ours");
    let (cloud, edge) = start(&trust).await;
    let own = [
        trust.flag("--ca", "ca.pem"),
        trust.flag("--token-file", "client-token"),
    ]
    .concat();
    let reloaded = async |server: &Server, what: &str, outcome: &str| {
        let labels = [("what", what), ("outcome", outcome)];
        let name = if std::ptr::eq(server, &cloud) {
            "tandem_cloud_reloads_total"
        } else {
            "tandem_edge_reloads_total"
        };
        let waited = server.wait_metrics(Duration::from_secs(20), |metrics| {
            metrics.sum_with(name, &labels) >= 1.0
        });
        waited.await.unwrap();
    };

    // The cloud takes another token: an edge that still shows the old one is refused.
    trust.text("cloud-tokens", &format!("edge-7: {NEW_TOKEN}\n"));
    reloaded(&cloud, "tokens", "done").await;
    let said = refusal(&https(&edge), &own);
    assert!(said.contains("the cloud refuses this edge"), "{said}");
    trust.text("cloud-token", NEW_TOKEN);
    reloaded(&edge, "cloud_token", "done").await;
    let answer = ask(&https(&edge), &own);
    assert!(answer.status.success(), "{answer:?}");

    // A broken certificate is not taken, a good one is.
    trust.text("edge-front.pem", "no certificate");
    reloaded(&edge, "tls", "failed").await;
    assert!(ask(&https(&edge), &own).status.success());
    trust.sign("edge-front");
    reloaded(&edge, "tls", "done").await;
    assert!(ask(&https(&edge), &own).status.success());
}

#[tokio::test]
async fn a_file_that_is_no_key_stops_the_start_and_is_named() {
    let trust = Trust::new("ours");
    trust.sign("cloud");
    trust.text("cloud.key", "no key");
    let options =
        ServerOptions::default().args(trust.shown(["--tls-certificate", "--tls-key"], "cloud"));
    let error = Server::cloud(&default_model(), options).await.unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("cloud.key: has no private key"), "{error}");
}
