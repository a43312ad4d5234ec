//! A client's connection, with TLS or without. It ends when its client has no place here any more.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::certificate::ClientCertificate;
use super::material::ServerTls;
use crate::connections::{Called, FirstCall, Place};
use crate::reload::Reloaded;

/// A client's connection, shaken hands with. It ends by itself when no call comes, and when the client's
/// certificate is good no longer.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    first_call: FirstCall,
    certificate: Option<Shown>,
}

#[derive(Debug)]
enum Stream {
    /// As it came.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// The certificate that the client has shown.
struct Shown {
    name: Arc<str>,
    /// Until it is good no longer.
    withdrawn: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// What is known of a connection; tonic puts it into the extensions of each of its requests.
#[derive(Debug, Clone, Default)]
pub struct ConnectionInfo {
    /// The other end.
    pub address: Option<SocketAddr>,
    /// The name in the client's certificate, where one was asked for.
    pub certificate: Option<Arc<str>>,
    /// To be told of calls that are accepted on it.
    pub called: Called,
}

impl Connection {
    /// A connection without TLS.
    pub(super) fn plain(stream: TcpStream, place: Place) -> Self {
        Self {
            stream: Stream::Plain(stream),
            first_call: FirstCall::new(place),
            certificate: None,
        }
    }

    /// A connection whose handshake is done, by what `tls` held then.
    pub(super) fn tls(
        stream: TlsStream<TcpStream>,
        place: Place,
        tls: &Reloaded<ServerTls>,
    ) -> Self {
        let chain = stream.get_ref().1.peer_certificates();
        let certificate = chain.and_then(ClientCertificate::of);
        Self {
            certificate: certificate.map(|certificate| Shown {
                name: Arc::clone(&certificate.name),
                withdrawn: Some(Box::pin(certificate.until_withdrawn(tls.clone()))),
            }),
            stream: Stream::Tls(Box::new(stream)),
            first_call: FirstCall::new(place),
        }
    }

    /// Wakes the task when the connection has to end.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.first_call.check(cx)?;
        let Some(Shown { withdrawn, .. }) = &mut self.certificate else {
            return Ok(());
        };
        if let Some(waiting) = withdrawn {
            if waiting.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            *withdrawn = None;
        }
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the client's certificate is good no longer",
        ))
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shown").field(&self.name).finish()
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        let stream = match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        };
        let certificate = self.certificate.as_ref();
        ConnectionInfo {
            address: stream.peer_addr().ok(),
            certificate: certificate.map(|shown| Arc::clone(&shown.name)),
            called: self.first_call.called(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
