//! A client's connections without TLS. A server that speaks something else than HTTP/2 is known by the
//! first bytes it sends, and named: what HTTP/2 makes of them helps nobody.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::codegen::http::Uri;
use tower::Service;

use super::connector::connect_error;

/// Connects to a server without TLS. Give it to an endpoint's `connect_with_connector`.
#[derive(Debug, Clone)]
pub struct PlainConnector(HttpConnector);

impl PlainConnector {
    /// Sockets have no delay for small packets.
    pub fn new() -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Self(tcp)
    }
}

impl Default for PlainConnector {
    fn default() -> Self {
        Self::new()
    }
}

impl Service<Uri> for PlainConnector {
    type Response = TokioIo<PlainConnection>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(cx).map_err(io::Error::other)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            let stream = connecting.await.map_err(connect_error)?.into_inner();
            Ok(TokioIo::new(PlainConnection {
                stream,
                greeted: false,
            }))
        })
    }
}

/// A client's side of a connection without TLS.
#[derive(Debug)]
pub struct PlainConnection {
    stream: TcpStream,
    /// Whether the server's first bytes have come and been looked at.
    greeted: bool,
}

/// What a server says that it speaks with its first bytes. HTTP/2 begins with the length of a small frame.
fn other_protocol(first: &[u8]) -> Option<&'static str> {
    /// The content type of an alert, the only record with which a TLS server answers what is no
    /// handshake: <https://www.rfc-editor.org/rfc/rfc8446#section-5.1>.
    const ALERT: u8 = 21;
    match first {
        [ALERT, ..] => Some("the server speaks TLS at this port: write https://"),
        [b'H', ..] => Some("the server speaks HTTP/1 at this port, and no gRPC"),
        _ => None,
    }
}

impl AsyncRead for PlainConnection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        let first = &buffer.filled()[before..];
        if !this.greeted && !first.is_empty() {
            this.greeted = true;
            if let Some(other) = other_protocol(first) {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, other)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PlainConnection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_by_its_first_bytes() {
        let settings = [0, 0, 18, 4, 0];
        assert_eq!(other_protocol(&settings), None);
        let alert = [21, 3, 3, 0, 2, 2, 10];
        assert!(other_protocol(&alert).unwrap().contains("https://"));
        assert!(other_protocol(b"HTTP/1.1 400").unwrap().contains("HTTP/1"));
    }
}
