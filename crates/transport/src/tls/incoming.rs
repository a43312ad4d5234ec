//! Shaking hands with clients, each on a task of its own.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::server::TcpIncoming;

use super::connection::Connection;
use crate::grpc;
use crate::reload::Reloaded;
use tandem_telemetry::metrics::Metric;

/// How long a client may take over its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once, a few KiB each. Clients beyond wait in the listener's queue until one ends.
const AT_ONCE: usize = 512;
/// Connections that may wait for the server to take them.
const READY: usize = 64;
/// A refused client is read from for so long, and so many bytes, that it sees the reason: closing
/// over unread bytes resets the connection, and the alert is lost on the way.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 64 << 10);

/// The connections of a listener, each without delay for small packets: as they come, or with TLS
/// once their handshake is done. `handshakes` counts by outcome: `done`, `failed` or `timeout`.
pub fn incoming(
    listener: TcpListener,
    tls: Option<Reloaded<ServerConfig>>,
    handshakes: Metric,
) -> Incoming {
    let listening = grpc::incoming(listener);
    let Some(tls) = tls else {
        return Incoming::Plain(listening);
    };
    let (ready, connections) = mpsc::channel(READY);
    let accepting = tokio::spawn(accept(listening, tls, handshakes, ready));
    Incoming::Tls {
        connections,
        _accepting: AbortOnDropHandle::new(accepting),
    }
}

/// The connections of a listener. Dropping it closes the listener and ends its handshakes.
#[derive(Debug)]
pub enum Incoming {
    /// As they come.
    Plain(TcpIncoming),
    /// Shaken hands with.
    Tls {
        /// Those that are done.
        connections: mpsc::Receiver<io::Result<Connection>>,
        /// Owns the listener and the handshakes.
        _accepting: AbortOnDropHandle<()>,
    },
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.get_mut() {
            Self::Plain(listening) => listening
                .poll_next_unpin(cx)
                .map(|next| next.map(|stream| stream.map(Connection::Plain))),
            Self::Tls { connections, .. } => connections.poll_recv(cx),
        }
    }
}

async fn accept(
    mut listening: TcpIncoming,
    tls: Reloaded<ServerConfig>,
    handshakes: Metric,
    ready: mpsc::Sender<io::Result<Connection>>,
) {
    let mut shaking = JoinSet::new();
    loop {
        tokio::select! {
            () = ready.closed() => return,
            Some(_) = shaking.join_next() => {}
            accepted = listening.next(), if shaking.len() < AT_ONCE => match accepted {
                Some(Ok(stream)) => {
                    let config = tls.current();
                    shaking.spawn(shake(stream, config, handshakes, ready.clone()));
                }
                // The server's to judge, as for a plain listener.
                Some(Err(error)) => if ready.send(Err(error)).await.is_err() { return },
                None => return,
            },
        }
    }
}

async fn shake(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    handshakes: Metric,
    ready: mpsc::Sender<io::Result<Connection>>,
) {
    let address = stream.peer_addr().ok();
    let accepting = TlsAcceptor::from(config).accept(stream).into_fallible();
    let outcome = match tokio::time::timeout(HANDSHAKE, accepting).await {
        Ok(Ok(stream)) => {
            handshakes.counter(&["done"]).increment(1);
            // An error says that the server has ended.
            let _ = ready.send(Ok(Connection::tls(stream))).await;
            return;
        }
        Ok(Err((error, stream))) => {
            tracing::debug!(?address, %error, "the TLS handshake failed");
            handshakes.counter(&["failed"]).increment(1);
            stream
        }
        Err(_) => {
            tracing::debug!(?address, "the TLS handshake took too long");
            handshakes.counter(&["timeout"]).increment(1);
            return;
        }
    };
    let _ = tokio::time::timeout(LINGER.0, linger(outcome)).await;
}

async fn linger(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut unread = (&mut stream).take(LINGER.1 as u64);
    tokio::io::copy(&mut unread, &mut tokio::io::sink()).await?;
    Ok(())
}
