//! Tokens and certificates that are good no longer, and calls that were let through by them.

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams};
use tonic_health::pb::HealthCheckResponse;

use super::*;

impl Authority {
    /// Writes the list of the certificates that it has revoked, by their serial numbers.
    fn revoke(&self, serials: &[u64]) -> PathBuf {
        let revoked = |&serial: &u64| RevokedCertParams {
            serial_number: serial.into(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).unwrap();
        std::fs::write(self.path("revoked.pem"), list.pem().unwrap()).unwrap();
        self.path("revoked.pem")
    }

    /// A server that asks for certificates of its.
    fn mutual(&self, name: &str) -> TlsSettings {
        TlsSettings {
            client_ca: self.ca(),
            ..self.server(name)
        }
    }
}

/// A stream of a client's that has begun.
struct Watched(tonic::Streaming<HealthCheckResponse>);

impl Watched {
    async fn begin(channel: Channel, bearer: Bearer) -> Self {
        let mut client = HealthClient::with_interceptor(channel, bearer);
        let watched = client.watch(HealthCheckRequest::default()).await;
        let mut watched = watched.unwrap().into_inner();
        watched.message().await.unwrap().unwrap();
        Self(watched)
    }

    async fn of(server: &Server, client: &ClientTlsSettings) -> Self {
        Self::begin(server.channel(client).await, Bearer::default()).await
    }

    /// How it ends, without the client's doing.
    async fn end(&mut self) -> Status {
        let ended = tokio::time::timeout(Duration::from_secs(10), self.0.message());
        ended.await.unwrap().unwrap_err()
    }

    /// Holds that it goes on.
    async fn hears_of(&mut self, server: &Server) {
        let stopped = ServingStatus::NotServing;
        server.health.set_service_status("", stopped).await;
        self.0.message().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_token_that_is_taken_out_ends_its_calls_and_no_others() {
    let authority = Authority::new("ours");
    authority.sign("cloud", |_| {});
    let auth = AuthSettings {
        tokens: authority.path("tokens"),
    };
    let (gone, stays) = ("the-token-that-is-taken-out", "the-token-that-is-left-in");
    let write = async |server: Option<&Server>, lines: String| {
        std::fs::write(&auth.tokens, lines).unwrap();
        if let Some(server) = server {
            server.tokens.as_ref().unwrap().refresh().await;
        }
    };
    write(None, format!("a: {gone}\nb: {stays}\n")).await;
    let server = Server::start(&authority.server("cloud"), &auth).await;
    let watch = async |token: &str| {
        let file = authority.path("token");
        std::fs::write(&file, token).unwrap();
        let bearer = Bearer::load(&file, "cloud_token", COUNTED).await.unwrap();
        Watched::begin(server.channel(&authority.client()).await, bearer).await
    };
    let (mut ends, mut goes_on) = (watch(gone).await, watch(stays).await);
    write(Some(&server), format!("b: {stays}\n")).await;
    let status = ends.end().await;
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(reason(&status).as_deref(), Some("TOKEN"));
    goes_on.hears_of(&server).await;
    // The same token of somebody else.
    write(Some(&server), format!("c: {stays}\n")).await;
    assert_eq!(goes_on.end().await.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_certificate_that_expires_ends_its_connection() {
    let authority = Authority::new("ours");
    authority.sign("cloud", |_| {});
    authority.sign("edge", |params| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        params.not_after = date_time_ymd(1970, 1, 1) + now.unwrap() + Duration::from_secs(2);
    });
    let server = Server::with_tls(&authority.mutual("cloud")).await;
    let edge = authority.client_with("edge");
    Watched::of(&server, &edge).await.end().await;
    assert_eq!(
        server.refusal(&edge).await,
        "the server says that our certificate has expired"
    );
}

#[tokio::test]
async fn a_revoked_certificate_ends_its_connection_and_no_other() {
    let authority = Authority::new("ours");
    authority.sign("cloud", |_| {});
    for (name, serial) in [("edge-7", 7_u64), ("edge-8", 8)] {
        authority.sign(name, |params| params.serial_number = Some(serial.into()));
    }
    let mutual = TlsSettings {
        client_crl: authority.revoke(&[]),
        ..authority.mutual("cloud")
    };
    let server = Server::with_tls(&mutual).await;
    let [gone, stays] = ["edge-7", "edge-8"].map(|name| authority.client_with(name));
    let mut ends = Watched::of(&server, &gone).await;
    let mut goes_on = Watched::of(&server, &stays).await;
    authority.revoke(&[7]);
    server.tls.as_ref().unwrap().refresh().await;
    ends.end().await;
    assert_eq!(
        server.refusal(&gone).await,
        "the server says that our certificate is revoked"
    );
    goes_on.hears_of(&server).await;
    server.ask(&stays).await.unwrap();
}

#[tokio::test]
async fn an_authority_that_is_trusted_no_more_takes_its_clients_along() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    ours.sign("cloud", |_| {});
    theirs.sign("edge", |_| {});
    let both = [ours.ca(), theirs.ca()].map(|file| std::fs::read_to_string(file).unwrap());
    let mutual = TlsSettings {
        client_ca: ours.path("both.pem"),
        ..ours.server("cloud")
    };
    std::fs::write(&mutual.client_ca, both.concat()).unwrap();
    let server = Server::with_tls(&mutual).await;
    let edge = ClientTlsSettings {
        ca: ours.ca(),
        ..theirs.client_with("edge")
    };
    let mut watched = Watched::of(&server, &edge).await;
    std::fs::copy(ours.ca(), &mutual.client_ca).unwrap();
    server.tls.as_ref().unwrap().refresh().await;
    watched.end().await;
}

#[tokio::test]
async fn only_certificates_with_a_listed_name_are_served() {
    let authority = Authority::new("ours");
    for name in ["cloud", "edge-7", "edge-70"] {
        authority.sign(name, |_| {});
    }
    let mutual = TlsSettings {
        client_names: vec!["edge-7".to_owned()],
        ..authority.mutual("cloud")
    };
    let server = Server::with_tls(&mutual).await;
    server.ask(&authority.client_with("edge-7")).await.unwrap();
    let asked = server.ask(&authority.client_with("edge-70")).await;
    let status = asked.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(reason(&status).as_deref(), Some("CERTIFICATE"));
}
