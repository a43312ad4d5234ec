//! The transport's settings, the same on both ends: HTTP/2 windows, keepalive, sockets, addresses.
//!
//! Windows are larger than HTTP/2's 64 KiB, or a long prompt's upload would wait for the round trip
//! every 64 KiB. Keepalive finds a dead link in seconds where TCP takes minutes. `TCP_NODELAY`
//! because a token is one small packet that must not wait for an acknowledgement.

use std::fmt::Display;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, ToSocketAddrs};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};

use crate::connections::ConnectionsConfig;
use tandem_config::address::{EndpointError, server_uri};
use tandem_config::{ByteSize, HumanDuration, Validate, Violations};

/// The section `transport` of a server's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransportConfig {
    /// A connection on which nothing arrives for so long is asked for a sign of life.
    pub keepalive_interval: HumanDuration,
    /// A connection that does not give one for so long is dropped.
    pub keepalive_timeout: HumanDuration,
    /// A connection that clients opened so long ago gets no new calls: those that run on it end in their
    /// time, and the next ones come by a new connection, perhaps to another server. Zero: it is kept.
    pub max_connection_age: HumanDuration,
    /// Bytes a stream may have on the way before the receiver has read them.
    pub stream_window: ByteSize,
    /// The same for all streams of a connection together.
    pub connection_window: ByteSize,
    /// The largest message that is accepted. tonic applies it service by service:
    /// `…Server::new(service).max_decoding_message_size(transport.max_message.as_usize())`.
    pub max_message: ByteSize,
    /// What clients may have of a listener.
    pub connections: ConnectionsConfig,
}

/// A connection on which nothing moves for so long is asked by the system whether its other end still exists:
/// HTTP/1.1 has no pings.
const DEAD_PEERS: Duration = Duration::from_secs(60);
/// The most bytes of a call's headers, as HTTP/2 counts them (RFC 9113, 6.5.2).
const HEADERS: u32 = 16 << 10;
/// Calls that a client has cancelled before they were taken up, on a connection at once: more end it.
const CANCELLED_CALLS: usize = 20;
/// Calls that a connection may lose to errors of its own in its life, refused ones included: more end it.
const BROKEN_CALLS: usize = 1024;

/// The least window that HTTP/2 starts with, and the largest it can express (RFC 9113, 6.9).
const WINDOWS: std::ops::RangeInclusive<ByteSize> =
    ByteSize::bytes(65_535)..=ByteSize::bytes((1 << 31) - 1);

impl Validate for TransportConfig {
    fn validate(&self, at: &mut Violations) {
        let second = HumanDuration::from(Duration::from_secs(1));
        at.within("keepalive_interval", self.keepalive_interval, second..);
        at.within("keepalive_timeout", self.keepalive_timeout, second..);
        at.check(
            "max_connection_age",
            self.max_connection_age.get().is_zero() || self.max_connection_age >= second,
            format!(
                "is {}, must be 0s or at least {second}",
                self.max_connection_age
            ),
        );
        at.within("stream_window", self.stream_window, WINDOWS);
        at.within("connection_window", self.connection_window, WINDOWS);
        at.check(
            "connection_window",
            self.connection_window >= self.stream_window,
            format!(
                "is {}, must be at least stream_window, {}",
                self.connection_window, self.stream_window
            ),
        );
        at.within(
            "max_message",
            self.max_message,
            ByteSize::kib(64)..=ByteSize::mib(1024),
        );
        at.nested("connections", &self.connections);
    }
}

impl TransportConfig {
    /// Reports a codec frame's size under `field` unless a message takes it, with an eighth more
    /// for the ids of its rows and a KiB for the rest.
    pub fn check_frame(&self, at: &mut Violations, field: &str, frame: ByteSize) {
        let message = frame.get().saturating_add(frame.get() / 8 + 1024);
        at.check(
            field,
            message <= self.max_message.get(),
            format!(
                "is {frame}, whose message would be larger than transport.max_message, {}",
                self.max_message
            ),
        );
    }
}

/// A gRPC server with these settings. Serve it on [`incoming`] or [`crate::tls::incoming`], which set
/// the sockets' options;
/// the builder's own are ignored there.
pub fn server_builder(transport: &TransportConfig) -> Server {
    let server = limited(Server::builder(), &transport.connections)
        .http2_keepalive_interval(Some(transport.keepalive_interval.get()))
        .http2_keepalive_timeout(Some(transport.keepalive_timeout.get()))
        .initial_stream_window_size(window(transport.stream_window))
        .initial_connection_window_size(window(transport.connection_window));
    match transport.max_connection_age.get() {
        Duration::ZERO => server,
        age => server.max_connection_age(age),
    }
}

/// A server whose connections have only so many calls, headers and resets.
pub fn limited(server: Server, connections: &ConnectionsConfig) -> Server {
    server
        .max_concurrent_streams(connections.streams)
        .http2_max_header_list_size(HEADERS)
        .http2_max_pending_accept_reset_streams(Some(CANCELLED_CALLS))
        .http2_max_local_error_reset_streams(Some(BROKEN_CALLS))
}

/// The connections of a listener, each without delay for small packets, and as many as come.
///
/// A server's go through [`crate::tls::incoming`].
pub fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(DEAD_PEERS))
}

/// A server to connect to, with these settings; connecting takes at most `connect_timeout`.
///
/// # Errors
/// The address is not `host:port`, `http://host:port` or `https://host:port`.
pub fn endpoint(
    address: &str,
    transport: &TransportConfig,
    connect_timeout: Duration,
) -> Result<Endpoint, EndpointError> {
    let endpoint = Endpoint::from(server_uri(address)?)
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(transport.keepalive_interval.get())
        .keep_alive_timeout(transport.keepalive_timeout.get())
        .keep_alive_while_idle(true)
        .initial_stream_window_size(window(transport.stream_window))
        .initial_connection_window_size(window(transport.connection_window));
    Ok(endpoint)
}

fn window(size: ByteSize) -> u32 {
    u32::try_from(size.get()).unwrap_or(u32::MAX >> 1)
}

/// A listener cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", reason(.source))]
pub struct BindError {
    /// As it was given.
    pub address: String,
    /// Why not.
    pub source: io::Error,
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens on this port".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "not permitted; ports below 1024 need a privilege".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Opens a listener; port 0 takes a free port, which [`TcpListener::local_addr`] tells.
///
/// # Errors
/// The port is taken, the address is not this machine's, or the system refuses.
pub async fn bind(address: impl ToSocketAddrs + Display) -> Result<TcpListener, BindError> {
    let shown = address.to_string();
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| BindError {
        address: shown,
        source,
    })
}

#[cfg(test)]
mod tests {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;

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

    #[test]
    fn windows_out_of_http2s_range_are_refused() {
        assert_eq!(Violations::of(&transport()), []);
        let bad = TransportConfig {
            keepalive_interval: Duration::ZERO.into(),
            max_connection_age: Duration::from_millis(20).into(),
            stream_window: ByteSize::mib(32),
            connection_window: ByteSize::kib(32),
            max_message: ByteSize::bytes(0),
            ..transport()
        };
        let found = Violations::of(&bad);
        let paths: Vec<String> = found.iter().map(|v| v.path.to_string()).collect();
        assert_eq!(
            paths,
            [
                "keepalive_interval",
                "max_connection_age",
                "connection_window",
                "connection_window",
                "max_message"
            ]
        );
        assert_eq!(
            found[3].message,
            "is 32KiB, must be at least stream_window, 32MiB"
        );
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let first = bind("127.0.0.1:0").await.unwrap();
        let taken = first.local_addr().unwrap();
        let error = bind(taken).await.unwrap_err().to_string();
        assert_eq!(
            error,
            format!("cannot listen on {taken}: another process listens on this port")
        );
        let error = bind("192.0.2.1:1").await.unwrap_err().to_string();
        assert!(error.contains("does not have that address"), "{error}");
    }

    #[tokio::test]
    async fn accepted_sockets_have_no_delay() {
        use tokio_stream::StreamExt;
        let listener = bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut connections = incoming(listener);
        let _client = tokio::net::TcpStream::connect(address).await.unwrap();
        let accepted = connections.next().await.unwrap().unwrap();
        assert!(accepted.nodelay().unwrap());
    }

    #[tokio::test]
    async fn keepalive_drops_a_server_that_has_gone_silent() {
        let listener = bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let impatient = TransportConfig {
            keepalive_interval: Duration::from_millis(50).into(),
            keepalive_timeout: Duration::from_millis(50).into(),
            ..transport()
        };
        let endpoint = endpoint(&address, &impatient, Duration::from_secs(10)).unwrap();
        let mut client = HealthClient::new(endpoint.connect_lazy());
        let (accepted, answer) = tokio::join!(listener.accept(), async {
            let asked = client.check(HealthCheckRequest::default());
            tokio::time::timeout(Duration::from_secs(10), asked).await
        });
        drop(accepted);
        assert_eq!(
            answer.unwrap().unwrap_err().code(),
            tonic::Code::Unavailable
        );
    }
}
