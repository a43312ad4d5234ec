//! Connections without sockets.

use crate::cloud::LocalCloud;
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tandem_proto::v1::split_service_server::{SplitService, SplitServiceServer};
use tandem_transport::auth::Peer;
use tokio::io::{
    AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, copy_bidirectional,
    duplex, split,
};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint, Server};
use tower::Service;

/// Bytes that may lie in it, each way.
const HOLDS: usize = 64 << 10;

/// A cable to a cloud: clones are the same cable. Connections through it are made when they are used first, and again
/// when they have broken.
#[derive(Debug, Clone)]
pub struct Cable {
    peer: Peer,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Where the cloud takes its connections; `None` where it leads nowhere.
    cloud: Option<mpsc::Sender<DuplexStream>>,
    /// Breaks the connections that are open through the cable.
    cut: CancellationToken,
    /// How long bytes take, each way.
    delay: Duration,
}

impl Cable {
    /// A cable from an address, which leads nowhere: whoever connects is refused.
    pub fn from(address: &str) -> Self {
        let peer = Peer {
            address: Some(address.parse().expect("an address")),
            ..Peer::default()
        };
        Self {
            peer,
            state: Arc::default(),
        }
    }

    /// The same from a process of the cloud's machine, which is known there.
    pub fn local() -> Self {
        Self::from("127.0.0.1")
    }

    /// Has it lead to a cloud. Connections to another one stay.
    pub fn plug_in(&self, cloud: &LocalCloud) {
        self.lock().cloud = Some(cloud.connections(self.peer.clone()));
    }

    /// Has it lead to what a test serves in place of a cloud.
    pub fn plug_into(&self, service: impl SplitService) {
        let (connections, incoming) = mpsc::channel(1);
        let incoming = ReceiverStream::new(incoming).map(io::Result::Ok);
        let server = Server::builder().add_service(SplitServiceServer::new(service));
        // It ends with the cable.
        tokio::spawn(server.serve_with_incoming(incoming));
        self.lock().cloud = Some(connections);
    }

    /// Has bytes of new connections take so long, each way.
    pub fn delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// Breaks its connections. New ones can be made.
    pub fn cut(&self) {
        let mut state = self.lock();
        std::mem::take(&mut state.cut).cancel();
    }

    /// Breaks its connections, and refuses new ones.
    pub fn pull_out(&self) {
        self.lock().cloud = None;
        self.cut();
    }

    /// A channel through it, of one connection at a time.
    pub fn channel(&self) -> Channel {
        Endpoint::from_static("http://cloud").connect_with_connector_lazy(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries bytes, each of which takes so long, to the end of `from`.
async fn carry(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>, delay: Duration) {
    let (there, mut here) = mpsc::channel::<(Instant, Vec<u8>)>(HOLDS);
    let read = async move {
        let mut bytes = vec![0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            let sent = (Instant::now() + delay, bytes[..count].to_vec());
            if there.send(sent).await.is_err() {
                break;
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = here.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

impl Service<Uri> for Cable {
    type Response = TokioIo<DuplexStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let state = self.lock();
        let (cloud, cut, delay) = (state.cloud.clone(), state.cut.clone(), state.delay);
        drop(state);
        Box::pin(async move {
            let cloud = cloud.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (client, mut near) = duplex(HOLDS);
            let (mut far, server) = duplex(HOLDS);
            let taken = cloud.send(server).await;
            taken.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            // It ends with either end, or where the cable is cut.
            tokio::spawn(cut.run_until_cancelled_owned(async move {
                if delay.is_zero() {
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                    return;
                }
                let ((near_in, near_out), (far_in, far_out)) = (split(near), split(far));
                tokio::join!(
                    carry(near_in, far_out, delay),
                    carry(far_in, near_out, delay)
                );
            }));
            Ok(TokioIo::new(client))
        })
    }
}
