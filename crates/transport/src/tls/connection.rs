//! A client's connection, with TLS or without.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::connections::{Called, FirstCall, Place};

/// The longest name of a client, in bytes.
const MAX_NAME: usize = 128;

/// A client's connection, shaken hands with. It ends by itself when no call comes.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    first_call: FirstCall,
}

#[derive(Debug)]
enum Stream {
    /// As it came.
    Plain(TcpStream),
    /// With TLS, and the name in the client's certificate.
    Tls(Box<TlsStream<TcpStream>>, Option<Arc<str>>),
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
        }
    }

    /// A connection whose handshake is done.
    pub(super) fn tls(stream: TlsStream<TcpStream>, place: Place) -> Self {
        let certificates = stream.get_ref().1.peer_certificates();
        let name = certificates
            .and_then(<[_]>::first)
            .map(|certificate| name_in(certificate).into());
        Self {
            stream: Stream::Tls(Box::new(stream), name),
            first_call: FirstCall::new(place),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        let (stream, certificate) = match &self.stream {
            Stream::Plain(stream) => (stream, None),
            Stream::Tls(stream, name) => (stream.get_ref().0, name.clone()),
        };
        ConnectionInfo {
            address: stream.peer_addr().ok(),
            certificate,
            called: self.first_call.called(),
        }
    }
}

/// The subject's common name, or else the first DNS name or URI; printable and bounded, as it goes
/// into logs.
fn name_in(certificate: &[u8]) -> String {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return "unnamed".to_owned();
    };
    let common = certificate
        .subject()
        .iter_common_name()
        .find_map(|name| name.as_str().ok());
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let alternative = alternatives.and_then(|extension| {
        let mut names = extension.value.general_names.iter();
        names.find_map(|name| match *name {
            GeneralName::DNSName(name) | GeneralName::URI(name) => Some(name),
            _ => None,
        })
    });
    let name = common.filter(|name| !name.is_empty()).or(alternative);
    let printable = |c: char| match c {
        ' '..='~' => c,
        _ => '?',
    };
    let name = name.unwrap_or("unnamed");
    name.chars().map(printable).take(MAX_NAME).collect()
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.first_call.check(cx)?;
        match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream, _) => Pin::new(stream).poll_read(cx, buffer),
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
        this.first_call.check(cx)?;
        match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream, _) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.first_call.check(cx)?;
        match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tls(stream, _) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream, _) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.first_call.check(cx)?;
        match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.first_call.check(cx)?;
        match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
