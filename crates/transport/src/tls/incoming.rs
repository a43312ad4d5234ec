//! Shaking hands with clients, each on a task of its own.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::connection::Connection;
use super::material::ServerTls;
use crate::connections::{Accepted, Places, accept};
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

/// The connections of a listener that there are `places` for, each without delay for small packets: as they
/// come, or with TLS once their handshake is done. `handshakes` counts by outcome: `done`, `failed` or
/// `timeout`.
pub fn incoming(
    listener: TcpListener,
    tls: Option<Reloaded<ServerTls>>,
    places: Places,
    handshakes: Metric,
) -> Incoming {
    let Some(tls) = tls else {
        return plain_incoming(listener, places);
    };
    let accepted = Box::pin(accept(grpc::incoming(listener), places));
    let (ready, connections) = mpsc::channel(READY);
    let shaking = tokio::spawn(shake_all(accepted, tls, handshakes, ready));
    Incoming::Tls {
        connections,
        _shaking: AbortOnDropHandle::new(shaking),
    }
}

/// The same without TLS.
pub fn plain_incoming(listener: TcpListener, places: Places) -> Incoming {
    Incoming::Plain(Box::pin(accept(grpc::incoming(listener), places)))
}

/// The connections of a listener. Dropping it closes the listener and ends its handshakes.
pub enum Incoming {
    /// As they come.
    Plain(Pin<Box<dyn Stream<Item = Accepted> + Send>>),
    /// Shaken hands with.
    Tls {
        /// Those that are done.
        connections: mpsc::Receiver<Connection>,
        /// Owns the listener and the handshakes.
        _shaking: AbortOnDropHandle<()>,
    },
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Incoming::Plain",
            Self::Tls { .. } => "Incoming::Tls",
        })
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = match self.get_mut() {
            Self::Plain(accepted) => accepted
                .poll_next_unpin(cx)
                .map(|next| next.map(|(stream, place)| Connection::plain(stream, place))),
            Self::Tls { connections, .. } => connections.poll_recv(cx),
        };
        next.map(|next| next.map(Ok))
    }
}

async fn shake_all(
    mut accepted: impl Stream<Item = Accepted> + Unpin,
    tls: Reloaded<ServerTls>,
    handshakes: Metric,
    ready: mpsc::Sender<Connection>,
) {
    let mut shaking = JoinSet::new();
    loop {
        tokio::select! {
            () = ready.closed() => return,
            Some(_) = shaking.join_next() => {}
            accepted = accepted.next(), if shaking.len() < AT_ONCE => match accepted {
                Some(accepted) => {
                    shaking.spawn(shake(accepted, tls.clone(), handshakes, ready.clone()));
                }
                None => return,
            },
        }
    }
}

async fn shake(
    (stream, place): Accepted,
    tls: Reloaded<ServerTls>,
    handshakes: Metric,
    ready: mpsc::Sender<Connection>,
) {
    let address = stream.peer_addr().ok();
    let config = Arc::clone(&tls.current().handshake);
    let accepting = TlsAcceptor::from(config).accept(stream).into_fallible();
    let outcome = match tokio::time::timeout(HANDSHAKE, accepting).await {
        Ok(Ok(stream)) => {
            handshakes.counter(&["done"]).increment(1);
            // An error says that the server has ended.
            let _ = ready.send(Connection::tls(stream, place, &tls)).await;
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
