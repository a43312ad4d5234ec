//! A client's connections with TLS: each made with what the files hold then.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tower::Service;

use super::explain::explain;
use super::material::client_config;
use super::plain_connector::PlainConnector;
use super::settings::ClientTlsSettings;
use crate::reload::{MaterialError, Reloaded};
use tandem_config::address::is_tls;
use tandem_telemetry::metrics::Metric;

/// A connection to an endpoint that is made when it is first used, as [`Channels`] make it.
///
/// # Errors
/// A file of the settings cannot be used.
pub async fn channel(
    endpoint: &Endpoint,
    settings: &ClientTlsSettings,
    what: &'static str,
    reloads: Metric,
) -> Result<Channel, MaterialError> {
    let uri = endpoint.uri();
    let channels = Channels::load(std::slice::from_ref(uri), settings, what, reloads).await?;
    Ok(channels.lazy(endpoint, ""))
}

/// Makes connections to servers: with TLS for `https://`, without for `http://`.
#[derive(Debug, Clone)]
pub struct Channels {
    /// `None` where no server has TLS.
    config: Option<Reloaded<ClientConfig>>,
    server_name: String,
}

impl Channels {
    /// Reads the files of the settings, where one of the servers has TLS. `reloads` counts by `what` and outcome.
    ///
    /// # Errors
    /// A file cannot be used.
    pub async fn load(
        servers: &[Uri],
        settings: &ClientTlsSettings,
        what: &'static str,
        reloads: Metric,
    ) -> Result<Self, MaterialError> {
        let config = if servers.iter().any(is_tls) {
            Some(client_config(settings, what, reloads).await?)
        } else {
            None
        };
        Ok(Self {
            config,
            server_name: settings.server_name.clone(),
        })
    }

    /// A connection to one of the servers that is made when it is first used. Its certificate must be for the name in the
    /// settings, or else for `host`, or where both are empty for the endpoint's own host.
    pub fn lazy(&self, endpoint: &Endpoint, host: &str) -> Channel {
        let config = self.config.as_ref().filter(|_| is_tls(endpoint.uri()));
        let Some(config) = config else {
            return endpoint.connect_with_connector_lazy(PlainConnector::new());
        };
        let name = match self.server_name.as_str() {
            "" => host,
            name => name,
        };
        endpoint.connect_with_connector_lazy(Connector::new(config.clone(), name))
    }
}

/// Connects to a server. Give it to an endpoint's `connect_with_connector_lazy`.
#[derive(Debug, Clone)]
pub struct Connector {
    tcp: HttpConnector,
    config: Reloaded<ClientConfig>,
    server_name: String,
}

impl Connector {
    /// Checks certificates for `server_name`, or for the address's host if that is empty.
    pub fn new(config: Reloaded<ClientConfig>, server_name: &str) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Self {
            tcp,
            config,
            server_name: server_name.to_owned(),
        }
    }

    fn server_name(&self, uri: &Uri) -> io::Result<ServerName<'static>> {
        let host = match self.server_name.as_str() {
            // An IPv6 address stands in brackets.
            "" => uri
                .host()
                .unwrap_or_default()
                .trim_matches(['[', ']'])
                .to_owned(),
            name => name.to_owned(),
        };
        ServerName::try_from(host.clone())
            .map_err(|_| io::Error::other(format!("no certificate can be for `{host}`")))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<ClientConnection>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.poll_ready(cx).map_err(io::Error::other)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let name = self.server_name(&uri);
        let config = self.config.clone();
        let connecting = self.tcp.call(uri);
        Box::pin(async move {
            let name = name?;
            let stream = connecting.await.map_err(connect_error)?.into_inner();
            config.refresh().await;
            let connector = TlsConnector::from(config.current());
            let stream = connector.connect(name, stream).await.map_err(explain)?;
            Ok(TokioIo::new(ClientConnection(Box::new(stream))))
        })
    }
}

/// The system's word ("Connection refused") lies below the connector's own.
pub(super) fn connect_error(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    let mut deepest: &dyn std::error::Error = &error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    io::Error::other(deepest.to_string())
}

/// A client's side of a connection. With TLS 1.3 a client's certificate is judged after its own
/// handshake has ended, so the refusal is read where the first answer would be.
#[derive(Debug)]
pub struct ClientConnection(Box<TlsStream<TcpStream>>);

impl AsyncRead for ClientConnection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0)
            .poll_read(cx, buffer)
            .map_err(explain_read)
    }
}

/// A connection that ends without TLS' own farewell is no failed handshake here.
fn explain_read(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => error,
        _ => explain(error),
    }
}

impl AsyncWrite for ClientConnection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
