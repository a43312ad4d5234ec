//! Streams that take up sessions whose own stream broke, on their way to them.
//!
//! A session that may be taken up waits with its [`Lease`] for as long as its lease lasts. Whoever opens a stream with
//! its id is handed over to it, the old stream being gone or only believed to be alive.

use crate::admission::SessionKey;
use crate::stream::Outbound;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tandem_proto::v1;
use tokio::sync::mpsc;
use tonic::Streaming;

/// Streams that may wait for one session: the last one counts.
const WAITING: usize = 4;

/// The sessions that may be taken up; clones are the same ones.
#[derive(Debug, Clone, Default)]
pub struct Leases(Arc<Mutex<HashMap<SessionKey, mpsc::Sender<Takeover>>>>);

/// A stream that takes up a session.
#[derive(Debug)]
pub struct Takeover {
    /// What the edge sends from here on.
    pub inbound: Streaming<v1::InferRequest>,
    /// What it is sent.
    pub out: Outbound,
    /// From where it goes on.
    pub resume: v1::Resume,
}

/// What a session waits with for a stream that takes it up, until it is dropped.
#[derive(Debug)]
pub struct Lease {
    leases: Leases,
    key: SessionKey,
    takeovers: mpsc::Receiver<Takeover>,
}

impl Leases {
    /// Has a session be found by others that have its key.
    pub fn lease(&self, key: SessionKey) -> Lease {
        let (sender, takeovers) = mpsc::channel(WAITING);
        self.lock().insert(key.clone(), sender);
        Lease {
            leases: self.clone(),
            key,
            takeovers,
        }
    }

    /// Hands a stream over to the session of a key.
    ///
    /// # Errors
    /// No session of that key waits for a stream: the stream comes back.
    pub fn hand_over(&self, key: &SessionKey, takeover: Takeover) -> Result<(), Box<Takeover>> {
        let session = self.lock().get(key).cloned();
        let Some(session) = session else {
            return Err(Box::new(takeover));
        };
        session.try_send(takeover).map_err(|back| match back {
            mpsc::error::TrySendError::Full(takeover)
            | mpsc::error::TrySendError::Closed(takeover) => Box::new(takeover),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, mpsc::Sender<Takeover>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Waits for a stream that takes the session up.
    pub async fn takeover(&mut self) -> Takeover {
        match self.takeovers.recv().await {
            Some(takeover) => takeover,
            // The sender is there for as long as the lease is.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.lock().remove(&self.key);
    }
}
