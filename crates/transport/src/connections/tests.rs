use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::InterceptorLayer;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::health_reporter;

use super::*;
use crate::auth::{AuthSettings, Authenticate};
use crate::grpc::{self, TransportConfig};
use crate::tls::plain_incoming;
use tandem_config::ByteSize;
use tandem_telemetry::metrics::{Kind, Label, Metric, Unit};

const COUNTED: Metric = Metric {
    name: "tandem_test_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[Label {
        name: "cause",
        values: &[],
    }],
    help: "Of the tests.",
};

const METRICS: ConnectionMetrics = ConnectionMetrics {
    open: COUNTED,
    closed: COUNTED,
};

/// What HTTP/2 begins with: the preface, and settings that change nothing.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
/// The error of a connection that asks for too much.
const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 11];

/// A server of health alone.
struct Server {
    address: SocketAddr,
    places: Places,
    _serving: AbortOnDropHandle<Result<(), tonic::transport::Error>>,
}

impl Server {
    async fn start(connections: ConnectionsConfig, auth: AuthSettings) -> Self {
        let transport = TransportConfig {
            keepalive_interval: Duration::from_secs(60).into(),
            keepalive_timeout: Duration::from_secs(60).into(),
            max_connection_age: Duration::ZERO.into(),
            stream_window: ByteSize::mib(4),
            connection_window: ByteSize::mib(16),
            max_message: ByteSize::mib(4),
            connections: connections.clone(),
        };
        let tokens = auth.tokens(COUNTED).await.unwrap();
        let listener = grpc::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let places = Places::new(connections, METRICS);
        let (_, health) = health_reporter();
        let serving = grpc::server_builder(&transport)
            .accept_http1(true)
            .layer(InterceptorLayer::new(Authenticate::new(tokens, COUNTED)))
            .add_service(health)
            .serve_with_incoming(plain_incoming(listener, places.clone()));
        Self {
            address,
            places,
            _serving: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    async fn with(connections: ConnectionsConfig) -> Self {
        Self::start(connections, AuthSettings::default()).await
    }

    async fn client(&self) -> HealthClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        HealthClient::new(endpoint.connect().await.unwrap())
    }

    /// A connection that speaks HTTP/2 by hand.
    async fn raw(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        stream
    }

    async fn has_open(&self, count: usize) {
        while self.places.open() != count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn connections(max: usize, first_call: Duration) -> ConnectionsConfig {
    ConnectionsConfig {
        max,
        per_address: 0,
        streams: 7,
        first_call: first_call.into(),
    }
}

async fn call(client: &mut HealthClient<Channel>) -> Result<(), tonic::Status> {
    let answer = client.check(HealthCheckRequest::default()).await;
    answer.map(|_| ())
}

/// Waits for the other end to close.
async fn closed(stream: &mut TcpStream) {
    let mut bytes = [0; 1024];
    while !matches!(stream.read(&mut bytes).await, Ok(0) | Err(_)) {}
}

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let id = id.to_be_bytes();
    [&length[1..], &[kind, flags], &id, payload].concat()
}

/// The payload of the first frame of a kind.
async fn payload_of(stream: &mut TcpStream, wanted: u8) -> Vec<u8> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == wanted {
            return payload;
        }
    }
}

#[tokio::test]
async fn a_connection_too_many_is_closed_and_the_others_go_on() {
    let server = Server::with(connections(2, Duration::from_secs(30))).await;
    let (mut first, mut second) = (server.client().await, server.client().await);
    call(&mut first).await.unwrap();
    call(&mut second).await.unwrap();
    closed(&mut TcpStream::connect(server.address).await.unwrap()).await;
    call(&mut first).await.unwrap();
    drop(second);
    server.has_open(1).await;
    call(&mut server.client().await).await.unwrap();
}

#[tokio::test]
async fn whoever_never_calls_is_let_go_and_whoever_has_called_may_be_silent() {
    let soon = Duration::from_millis(300);
    let server = Server::with(connections(9, soon)).await;
    let mut caller = server.client().await;
    call(&mut caller).await.unwrap();
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut speaker = server.raw().await;
    let closing = async { tokio::join!(closed(&mut silent), closed(&mut speaker)) };
    tokio::time::timeout(Duration::from_secs(10), closing)
        .await
        .unwrap();
    server.has_open(1).await;
    call(&mut caller).await.unwrap();
    assert_eq!(server.places.open(), 1);
}

#[tokio::test]
async fn a_call_that_is_refused_keeps_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let auth = AuthSettings {
        tokens: folder.path().join("tokens"),
    };
    std::fs::write(&auth.tokens, "edge: 0123456789abcdef\n").unwrap();
    let server = Server::start(connections(9, Duration::from_millis(300)), auth).await;
    let mut client = server.client().await;
    assert_eq!(
        call(&mut client).await.unwrap_err().code(),
        tonic::Code::Unauthenticated
    );
    server.has_open(0).await;
}

#[tokio::test]
async fn a_connection_is_told_how_many_calls_and_headers_it_may_have() {
    let server = Server::with(connections(9, Duration::from_secs(30))).await;
    let settings = payload_of(&mut server.raw().await, SETTINGS).await;
    let setting = |id: u16| {
        let mut all = settings.chunks(6);
        let found = all.find(|setting| setting[..2] == id.to_be_bytes())?;
        found[2..].try_into().ok().map(u32::from_be_bytes)
    };
    // SETTINGS_MAX_CONCURRENT_STREAMS, SETTINGS_MAX_HEADER_LIST_SIZE.
    assert_eq!((setting(3), setting(6)), (Some(7), Some(16 << 10)));
}

/// Streams that are begun and cancelled (CVE-2023-44487), and streams whose reset is provoked by an error of
/// their own (CVE-2025-8671).
#[tokio::test]
async fn a_flood_of_resets_ends_its_connection() {
    // POST / with the scheme http, by the static table.
    let begin = |id: u32| frame(HEADERS, 4, id, &[0x83, 0x86, 0x84]);
    let cancel = |id: u32| frame(RESET, 0, id, &[0, 0, 0, 8]);
    let overflow = |id: u32| frame(WINDOW_UPDATE, 0, id, &[0x7f, 0xff, 0xff, 0xff]);
    let server = Server::with(ConnectionsConfig {
        streams: 1024,
        ..connections(9, Duration::from_secs(30))
    })
    .await;
    for ends in [&cancel as &dyn Fn(u32) -> Vec<u8>, &overflow] {
        let mut stream = server.raw().await;
        let flood: Vec<u8> = (0..3000_u32)
            .flat_map(|number| [begin(2 * number + 1), ends(2 * number + 1)].concat())
            .collect();
        let (mut reading, mut writing) = stream.split();
        let flooding = async {
            // The server may end the connection before it has taken all.
            let _ = writing.write_all(&flood).await;
            std::future::pending::<()>().await;
        };
        let mut seen = Vec::new();
        let told = async {
            let mut bytes = [0; 4096];
            while let Ok(1..) = reading.read(&mut bytes).await.inspect(|&read| {
                seen.extend_from_slice(&bytes[..read]);
            }) {}
        };
        tokio::select! {
            () = flooding => {}
            () = told => {}
            () = tokio::time::sleep(Duration::from_secs(10)) => panic!("the flood is borne"),
        }
        let told = seen.windows(4).any(|bytes| bytes == ENHANCE_YOUR_CALM);
        assert!(told, "{} bytes without a word", seen.len());
    }
    call(&mut server.client().await).await.unwrap();
}

/// HTTP/1.1, which has no pings: the time of a head counts for a connection that waits for its next one too.
#[tokio::test]
async fn a_head_that_never_ends_is_given_up() {
    let server = Server::with(connections(9, Duration::from_secs(3600))).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let unfinished = b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: a";
    stream.write_all(unfinished).await.unwrap();
    server.has_open(1).await;
    // Connected before time flies: paused time passes whenever nothing else happens.
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    closed(&mut stream).await;
    let waited = began.elapsed();
    assert!(
        (Duration::from_secs(25)..Duration::from_secs(60)).contains(&waited),
        "{waited:?}"
    );
}

#[tokio::test]
async fn a_listener_outlasts_what_the_system_says() {
    let listener = grpc::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let _client = TcpStream::connect(address).await.unwrap();
    let (connection, _) = listener.accept().await.unwrap();
    // ECONNABORTED is over at once; EMFILE and ENFILE last until a descriptor is free.
    let errors = [103, 24, 24, 23].map(|code| Err(std::io::Error::from_raw_os_error(code)));
    let listening = stream::iter(errors).chain(stream::iter([Ok(connection)]));
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let places = Places::new(ConnectionsConfig::default(), METRICS);
    let mut accepted = Box::pin(accept(listening, places));
    assert!(accepted.next().await.is_some());
    let waited = began.elapsed();
    assert!(
        (Duration::from_millis(600)..Duration::from_secs(1)).contains(&waited),
        "{waited:?}"
    );
    assert!(accepted.next().await.is_none());
}
