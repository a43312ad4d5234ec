mod withdrawn;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::InterceptorLayer;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::{HealthReporter, health_reporter};

use super::*;
use crate::auth::{AuthSettings, Authenticate, Bearer, EndWithToken};
use crate::connections::{ConnectionMetrics, ConnectionsConfig, Places};
use crate::grpc::{self, TransportConfig};
use crate::reload::MaterialError;
use tandem_config::{ByteSize, Violations};
use tandem_status::reason;
use tandem_telemetry::metrics::{Kind, Label, Metric, Unit};

const COUNTED: Metric = Metric {
    name: "tandem_test_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[Label {
        name: "what",
        values: &[],
    }],
    help: "Of the tests.",
};

/// An authority and the files that it signs.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self { folder, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Signs a certificate for a name, changed as a test needs it, and writes `name.pem` and
    /// `name.key`.
    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn server(&self, name: &str) -> TlsSettings {
        TlsSettings {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
            ..TlsSettings::default()
        }
    }

    fn client(&self) -> ClientTlsSettings {
        ClientTlsSettings {
            ca: self.ca(),
            server_name: "localhost".to_owned(),
            ..ClientTlsSettings::default()
        }
    }

    fn client_with(&self, name: &str) -> ClientTlsSettings {
        ClientTlsSettings {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
            ..self.client()
        }
    }
}

fn expired(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2020, 1, 2);
}

fn transport() -> TransportConfig {
    TransportConfig {
        keepalive_interval: Duration::from_secs(20).into(),
        keepalive_timeout: Duration::from_secs(10).into(),
        max_connection_age: Duration::ZERO.into(),
        stream_window: ByteSize::mib(4),
        connection_window: ByteSize::mib(16),
        max_message: ByteSize::mib(4),
        connections: ConnectionsConfig::default(),
    }
}

fn places() -> Places {
    let metrics = ConnectionMetrics {
        open: COUNTED,
        closed: COUNTED,
    };
    Places::new(ConnectionsConfig::default(), metrics)
}

/// A server of health alone.
struct Server {
    address: SocketAddr,
    tls: Option<crate::reload::Reloaded<ServerTls>>,
    tokens: Option<crate::reload::Reloaded<crate::auth::Tokens>>,
    health: HealthReporter,
    _serving: AbortOnDropHandle<Result<(), tonic::transport::Error>>,
}

impl Server {
    async fn start(tls: &TlsSettings, auth: &AuthSettings) -> Self {
        let names = tls.client_names.as_slice();
        let tls = server_config(tls, COUNTED).await.unwrap();
        let tokens = auth.tokens(COUNTED).await.unwrap();
        let listener = grpc::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (health, service) = health_reporter();
        let serving = grpc::server_builder(&transport())
            .layer((
                InterceptorLayer::new(Authenticate::new(tokens.clone(), COUNTED).with_names(names)),
                EndWithToken,
            ))
            .add_service(service)
            .serve_with_incoming(incoming(listener, tls.clone(), places(), COUNTED));
        Self {
            address,
            tls,
            tokens,
            health,
            _serving: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    async fn with_tls(tls: &TlsSettings) -> Self {
        Self::start(tls, &AuthSettings::default()).await
    }

    async fn channel(&self, tls: &ClientTlsSettings) -> Channel {
        let config = client_config(tls, "cloud_tls", COUNTED).await.unwrap();
        let address = format!("https://{}", self.address);
        grpc::endpoint(&address, &transport(), Duration::from_secs(10))
            .unwrap()
            .connect_with_connector_lazy(Connector::new(config, &tls.server_name))
    }

    async fn ask(&self, tls: &ClientTlsSettings) -> Result<(), Status> {
        check(&mut HealthClient::new(self.channel(tls).await)).await
    }

    /// Why a client with these files is not served.
    async fn refusal(&self, tls: &ClientTlsSettings) -> String {
        let status = self.ask(tls).await.unwrap_err();
        let mut error: &dyn std::error::Error = &status;
        while let Some(source) = error.source() {
            error = source;
        }
        error.to_string()
    }
}

async fn check(client: &mut HealthClient<Channel>) -> Result<(), Status> {
    client
        .check(HealthCheckRequest::default())
        .await
        .map(|_| ())
}

#[tokio::test]
async fn both_ends_trust_whom_their_authority_signed() {
    let authority = Authority::new("ours");
    authority.sign("cloud", |_| {});
    authority.sign("edge", |_| {});
    let server = Server::with_tls(&authority.server("cloud")).await;
    server.ask(&authority.client()).await.unwrap();

    let mutual = TlsSettings {
        client_ca: authority.ca(),
        ..authority.server("cloud")
    };
    let server = Server::with_tls(&mutual).await;
    server.ask(&authority.client_with("edge")).await.unwrap();
}

#[tokio::test]
async fn each_failure_says_which_it_is() {
    let (authority, other) = (Authority::new("ours"), Authority::new("theirs"));
    authority.sign("cloud", |_| {});
    authority.sign("old", expired);
    authority.sign("old-edge", expired);
    other.sign("stranger", |_| {});
    let server = Server::with_tls(&authority.server("cloud")).await;

    let said = server.refusal(&other.client()).await;
    assert_eq!(
        said,
        "the server's certificate is not signed by an authority that is trusted here"
    );
    let misnamed = ClientTlsSettings {
        server_name: "cloud.example".to_owned(),
        ..authority.client()
    };
    let said = server.refusal(&misnamed).await;
    assert!(
        said.contains("localhost") && said.ends_with("not for cloud.example"),
        "{said}"
    );

    let server = Server::with_tls(&authority.server("old")).await;
    let said = server.refusal(&authority.client()).await;
    assert_eq!(said, "the server's certificate has expired");

    let mutual = TlsSettings {
        client_ca: authority.ca(),
        ..authority.server("cloud")
    };
    let server = Server::with_tls(&mutual).await;
    for (client, why) in [
        (
            authority.client(),
            "the server asks for a client certificate, and none is configured here",
        ),
        (
            authority.client_with("old-edge"),
            "the server says that our certificate has expired",
        ),
        (
            ClientTlsSettings {
                ca: authority.ca(),
                ..other.client_with("stranger")
            },
            "the server does not trust the authority of our certificate",
        ),
    ] {
        assert_eq!(server.refusal(&client).await, why);
    }

    let plain = Server::with_tls(&TlsSettings::default()).await;
    let said = plain.refusal(&authority.client()).await;
    assert_eq!(
        said,
        "the server does not speak TLS at this port: write http:// for one without"
    );
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections() {
    let authority = Authority::new("ours");
    authority.sign("cloud", |_| {});
    let server = Server::with_tls(&authority.server("cloud")).await;
    let mut old = HealthClient::new(server.channel(&authority.client()).await);
    let watched = old.watch(HealthCheckRequest::default()).await;
    let mut watched = watched.unwrap().into_inner();
    watched.message().await.unwrap().unwrap();

    authority.sign("cloud", |params| {
        params.subject_alt_names = CertificateParams::new(["new.example".to_owned()])
            .unwrap()
            .subject_alt_names;
    });
    server.tls.as_ref().unwrap().refresh().await;
    let renamed = ClientTlsSettings {
        server_name: "new.example".to_owned(),
        ..authority.client()
    };
    server.ask(&renamed).await.unwrap();
    assert!(server.ask(&authority.client()).await.is_err());

    // The stream that was open goes on.
    let stopped = ServingStatus::NotServing;
    server.health.set_service_status("", stopped).await;
    watched.message().await.unwrap().unwrap();

    // A key that is not the certificate's changes nothing.
    std::fs::copy(authority.ca(), authority.path("cloud.pem")).unwrap();
    server.tls.as_ref().unwrap().refresh().await;
    server.ask(&renamed).await.unwrap();
}

#[tokio::test]
async fn a_client_takes_new_authorities_when_it_connects() {
    let (authority, other) = (Authority::new("ours"), Authority::new("theirs"));
    authority.sign("cloud", |_| {});
    let server = Server::with_tls(&authority.server("cloud")).await;
    let mut client = HealthClient::new(server.channel(&other.client()).await);
    assert!(check(&mut client).await.is_err());
    std::fs::copy(authority.ca(), other.ca()).unwrap();
    check(&mut client).await.unwrap();
}

#[tokio::test]
async fn silent_clients_stop_nobody() {
    let authority = Authority::new("ours");
    authority.sign("cloud", |_| {});
    let server = Server::with_tls(&authority.server("cloud")).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    let client = authority.client();
    let asked = server.ask(&client);
    let answered = tokio::time::timeout(Duration::from_secs(5), asked).await;
    answered.unwrap().unwrap();
}

#[tokio::test]
async fn a_silent_client_is_let_go() {
    use tokio::io::AsyncReadExt as _;
    let authority = Authority::new("ours");
    authority.sign("cloud", |_| {});
    let server = Server::with_tls(&authority.server("cloud")).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    // Connected before time flies: paused time passes whenever nothing else happens.
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let ended = silent.read(&mut [0]).await;
    assert!(matches!(ended, Ok(0)) || ended.is_err());
    assert!(
        began.elapsed() >= Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn tokens_are_asked_for_checked_and_replaced() {
    let authority = Authority::new("ours");
    authority.sign("cloud", |_| {});
    let auth = AuthSettings {
        tokens: authority.path("tokens"),
    };
    std::fs::write(&auth.tokens, "edge: the-first-token-there-was\n").unwrap();
    let server = Server::start(&authority.server("cloud"), &auth).await;
    let shown = authority.path("token");
    let ask = async |token: &str| -> Result<(), Status> {
        let file = match token {
            "" => Path::new(""),
            token => {
                std::fs::write(&shown, token).unwrap();
                &shown
            }
        };
        let bearer = Bearer::load(file, "cloud_token", COUNTED).await.unwrap();
        let channel = server.channel(&authority.client()).await;
        let mut client = HealthClient::with_interceptor(channel, bearer);
        client
            .check(HealthCheckRequest::default())
            .await
            .map(|_| ())
    };
    ask("the-first-token-there-was").await.unwrap();
    for (token, why) in [
        ("", "this server asks for a token: authorization: Bearer …"),
        (
            "some-other-token-there-is",
            "the token is none of this server's",
        ),
    ] {
        let status = ask(token).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(reason(&status).as_deref(), Some("TOKEN"));
        assert_eq!(status.message(), why);
    }

    let both = "edge: the-first-token-there-was\nedge: the-second-token-there-is\n";
    std::fs::write(&auth.tokens, both).unwrap();
    server.tokens.as_ref().unwrap().refresh().await;
    ask("the-first-token-there-was").await.unwrap();
    ask("the-second-token-there-is").await.unwrap();

    std::fs::write(&auth.tokens, "edge: the-second-token-there-is\n").unwrap();
    server.tokens.as_ref().unwrap().refresh().await;
    assert!(ask("the-first-token-there-was").await.is_err());
    std::fs::write(&auth.tokens, "").unwrap();
    server.tokens.as_ref().unwrap().refresh().await;
    ask("the-second-token-there-is").await.unwrap();
}

/// HTTP/2 for whoever speaks it, HTTP/1.1 for clients that speak nothing else.
#[tokio::test]
async fn clients_of_either_http_are_spoken_to() {
    let authority = Authority::new("ours");
    authority.sign("cloud", |_| {});
    let server = Server::with_tls(&authority.server("cloud")).await;
    let config = client_config(&authority.client(), "cloud_tls", COUNTED)
        .await
        .unwrap();
    for (offered, spoken) in [
        (vec![&b"http/1.1"[..]], &b"http/1.1"[..]),
        (vec![b"http/1.1", b"h2"], b"h2"),
    ] {
        let mut config = (*config.current()).clone();
        config.alpn_protocols = offered.into_iter().map(<[u8]>::to_vec).collect();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let stream = TcpStream::connect(server.address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let connected = connector.connect(name, stream).await.unwrap();
        assert_eq!(connected.get_ref().1.alpn_protocol(), Some(spoken));
    }
}

#[tokio::test]
async fn a_connection_has_its_certificates_name() {
    use futures_util::StreamExt as _;
    use tonic::transport::server::Connected as _;
    let authority = Authority::new("ours");
    authority.sign("cloud", |_| {});
    authority.sign("edge-7", |_| {});
    let mutual = TlsSettings {
        client_ca: authority.ca(),
        ..authority.server("cloud")
    };
    let tls = server_config(&mutual, COUNTED).await.unwrap();
    let listener = grpc::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut connections = incoming(listener, tls, places(), COUNTED);
    let settings = authority.client_with("edge-7");
    let config = client_config(&settings, "cloud_tls", COUNTED)
        .await
        .unwrap();
    let mut connector = Connector::new(config, "localhost");
    let connected = tower::Service::call(
        &mut connector,
        format!("https://{address}").parse().unwrap(),
    );
    let (connected, accepted) = tokio::join!(connected, connections.next());
    let _client = connected.unwrap();
    let accepted: io::Result<Connection> = accepted.unwrap();
    let info = accepted.unwrap().connect_info();
    assert_eq!(info.certificate.as_deref(), Some("edge-7"));
    assert!(
        info.address
            .is_some_and(|address| address.ip().is_loopback())
    );
}

#[tokio::test]
async fn keys_of_every_kind_are_read_and_bad_files_are_named() {
    let authority = Authority::new("ours");
    authority.sign("cloud", |_| {});
    authority.sign("other", |_| {});
    let load = async |settings: TlsSettings| -> Result<(), MaterialError> {
        server_config(&settings, COUNTED).await.map(|_| ())
    };
    // As `openssl ecparam -genkey` and `openssl genrsa -traditional` write them.
    for (certificate, key) in [("sec1.pem", "sec1.key"), ("pkcs1.pem", "pkcs1.key")] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tls/keys");
        let settings = TlsSettings {
            certificate: folder.join(certificate),
            key: folder.join(key),
            ..TlsSettings::default()
        };
        load(settings).await.unwrap();
    }
    let good = authority.server("cloud");
    let bad = [
        (
            TlsSettings {
                key: authority.path("other.key"),
                ..good.clone()
            },
            "other.key: is not the key of the certificate in",
        ),
        (
            TlsSettings {
                key: authority.ca(),
                ..good.clone()
            },
            "ca.pem: has no private key in PEM",
        ),
        (
            TlsSettings {
                certificate: authority.path("cloud.key"),
                ..good.clone()
            },
            "cloud.key: has no certificate in PEM",
        ),
        (
            TlsSettings {
                client_ca: authority.path("absent"),
                ..good
            },
            "absent: No such file",
        ),
    ];
    for (settings, why) in bad {
        let error = load(settings).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(!error.contains("BEGIN"), "{error}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let of = |tls: TlsSettings| -> Vec<String> {
        let found = Violations::of(&tls);
        found.iter().map(|v| v.path.to_string()).collect()
    };
    assert_eq!(of(TlsSettings::default()), [""; 0]);
    let certificate = PathBuf::from("a");
    let alone = TlsSettings {
        certificate,
        ..TlsSettings::default()
    };
    assert_eq!(of(alone), ["key"]);
    let ca = TlsSettings {
        client_ca: PathBuf::from("a"),
        ..TlsSettings::default()
    };
    assert_eq!(of(ca), ["client_ca"]);
    let names = TlsSettings {
        client_crl: PathBuf::from("a"),
        client_names: vec!["a".to_owned()],
        ..TlsSettings::default()
    };
    assert_eq!(of(names), ["client_crl", "client_names"]);
    let client = ClientTlsSettings {
        key: PathBuf::from("a"),
        server_name: "a b".to_owned(),
        ..ClientTlsSettings::default()
    };
    let found = Violations::of(&client);
    let paths: Vec<String> = found.iter().map(|v| v.path.to_string()).collect();
    assert_eq!(paths, ["certificate", "server_name"]);
}
