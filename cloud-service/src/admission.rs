//! Which sessions are open, and which idle one must go when another needs the room.

use crate::config::SessionsConfig;
use crate::metrics::{SESSIONS, SESSIONS_EVICTED, SESSIONS_OPENED};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tandem_engine::{Back, BackOpen, Engine, EngineError, EngineSession};
use tandem_service::auth::Peer;
use tandem_service::status::{failure, resource_exhausted};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

/// How long a client refused for want of a session should wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long a new session waits for the memory of an evicted one: its running step, at most.
const EVICTION_TAKES: Duration = Duration::from_secs(2);

/// A session's id: 128 random bits.
pub type SessionId = [u8; 16];

/// A session among those of all peers: an id is its peer's own, whatever others call theirs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionKey {
    peer: Peer,
    id: SessionId,
}

impl SessionKey {
    /// A peer's session.
    pub fn new(peer: &Peer, id: SessionId) -> Self {
        Self {
            peer: peer.clone(),
            id,
        }
    }
}

/// The open sessions.
#[derive(Debug, Clone)]
pub struct Admission {
    open: Arc<Mutex<HashMap<SessionKey, Entry>>>,
    max: usize,
}

#[derive(Debug)]
struct Entry {
    /// Since when nothing runs; `None` while an answer does.
    idle_since: Option<Instant>,
    evicted: CancellationToken,
    /// Cancelled when its memory is free.
    gone: CancellationToken,
}

/// A session's place among the open ones, given up on drop. Drop it after the engine's session.
#[derive(Debug)]
pub struct Place {
    admission: Admission,
    key: SessionKey,
    evicted: CancellationToken,
    gone: CancellationToken,
}

impl Admission {
    /// No sessions yet.
    pub fn new(config: &SessionsConfig) -> Self {
        Self {
            open: Arc::default(),
            max: config.max,
        }
    }

    /// Opens a session, evicting idle ones where it needs their room.
    ///
    /// # Errors
    /// ALREADY_EXISTS for an id in use; RESOURCE_EXHAUSTED when no room can be made.
    pub async fn open(
        &self,
        key: SessionKey,
        engine: &Engine<Back>,
        open: BackOpen,
    ) -> Result<(Place, EngineSession<Back>), Status> {
        let place = self.take_place(key)?;
        let started = Instant::now();
        loop {
            match engine.open(open.clone()).await {
                Ok(session) => {
                    SESSIONS_OPENED.counter(&[]).increment(1);
                    return Ok((place, session));
                }
                Err(error @ EngineError::KvBudget { .. }) => {
                    let Some(gone) = self
                        .evict_idle()
                        .filter(|_| started.elapsed() < EVICTION_TAKES)
                    else {
                        return Err(tandem_wire::engine_status(&error));
                    };
                    let _ = tokio::time::timeout(EVICTION_TAKES, gone.cancelled()).await;
                }
                Err(error) => return Err(tandem_wire::engine_status(&error)),
            }
        }
    }

    /// Sessions that make an answer now, and the most there may be of all.
    pub fn running(&self) -> (usize, usize) {
        let open = self.lock();
        let running = open.values().filter(|e| e.idle_since.is_none()).count();
        (running, self.max)
    }

    fn take_place(&self, key: SessionKey) -> Result<Place, Status> {
        let mut open = self.lock();
        if open.contains_key(&key) {
            return Err(failure(
                Code::AlreadyExists,
                "SESSION_ID",
                "the session id is in use",
            ));
        }
        if open.len() >= self.max && Self::evict_longest_idle(&mut open).is_none() {
            return Err(resource_exhausted(
                "SESSIONS",
                format!("all {} sessions are running", self.max),
                Some(RETRY_AFTER),
            ));
        }
        let entry = Entry {
            idle_since: Some(Instant::now()),
            evicted: CancellationToken::new(),
            gone: CancellationToken::new(),
        };
        let place = Place {
            admission: self.clone(),
            key: key.clone(),
            evicted: entry.evicted.clone(),
            gone: entry.gone.clone(),
        };
        open.insert(key, entry);
        Self::publish(&open);
        Ok(place)
    }

    fn evict_idle(&self) -> Option<CancellationToken> {
        Self::evict_longest_idle(&mut self.lock())
    }

    /// Takes the place of the session that has been idle longest, and returns what says that its
    /// memory is free.
    fn evict_longest_idle(open: &mut HashMap<SessionKey, Entry>) -> Option<CancellationToken> {
        let (key, _) = open
            .iter()
            .filter(|(_, entry)| entry.idle_since.is_some())
            .min_by_key(|(_, entry)| entry.idle_since)?;
        let key = key.clone();
        let entry = open.remove(&key)?;
        entry.evicted.cancel();
        SESSIONS_EVICTED.counter(&["pressure"]).increment(1);
        Self::publish(open);
        Some(entry.gone)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(open: &HashMap<SessionKey, Entry>) {
        let idle = open.values().filter(|e| e.idle_since.is_some()).count();
        SESSIONS.gauge(&["idle"]).set(idle as f64);
        SESSIONS.gauge(&["running"]).set((open.len() - idle) as f64);
    }
}

impl Place {
    /// Says whether an answer runs. An idle session may be evicted.
    pub fn set_running(&self, running: bool) {
        let mut open = self.admission.lock();
        if let Some(entry) = open
            .get_mut(&self.key)
            .filter(|_| !self.evicted.is_cancelled())
            && entry.idle_since.is_none() != running
        {
            entry.idle_since = (!running).then(Instant::now);
            Admission::publish(&open);
        }
    }

    /// Resolves when another session needs this one's room.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gone.cancel();
        // Once evicted, the id may be another session's.
        if !self.evicted.is_cancelled() {
            let mut open = self.admission.lock();
            open.remove(&self.key);
            Admission::publish(&open);
        }
    }
}
