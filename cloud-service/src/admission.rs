//! Which sessions are open, and which one must go when another needs the room: kept ones first, then
//! answers that have stalled, then sessions that have not begun. An answer that goes on stays.

use crate::activity::Activity;
use crate::config::SessionsConfig;
use crate::metrics::{SESSIONS, SESSIONS_EVICTED, SESSIONS_OPENED};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tandem_engine::{Back, BackOpen, Engine, EngineError, EngineSession};
use tandem_shape::Reason;
use tandem_status::{failure, resource_exhausted};
use tandem_transport::auth::Peer;
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
    /// Silence after which an answer counts as stalled.
    stall: Duration,
}

#[derive(Debug)]
struct Entry {
    activity: Arc<Mutex<Activity>>,
    evicted: CancellationToken,
    /// Cancelled when its memory is free.
    gone: CancellationToken,
}

/// A session's place among the open ones, given up on drop. Drop it after the engine's session.
#[derive(Debug)]
pub struct Place {
    admission: Admission,
    key: SessionKey,
    activity: Arc<Mutex<Activity>>,
    evicted: CancellationToken,
    gone: CancellationToken,
}

impl Admission {
    /// No sessions yet.
    pub fn new(config: &SessionsConfig) -> Self {
        Self {
            open: Arc::default(),
            max: config.max,
            stall: config.stall.get(),
        }
    }

    /// Opens a session, evicting others where it needs their room.
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
                        .evict_for(&place.key)
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
        (Self::answering(&self.lock()), self.max)
    }

    fn take_place(&self, key: SessionKey) -> Result<Place, Status> {
        let mut open = self.lock();
        if open.contains_key(&key) {
            return Err(failure(
                Code::AlreadyExists,
                Reason::SessionId,
                "the session id is in use",
            ));
        }
        if open.len() >= self.max && self.evict(&mut open, None).is_none() {
            return Err(resource_exhausted(
                Reason::Sessions,
                format!("all {} sessions are answering", self.max),
                Some(RETRY_AFTER),
            ));
        }
        let entry = Entry {
            activity: Arc::new(Mutex::new(Activity::opened(Instant::now()))),
            evicted: CancellationToken::new(),
            gone: CancellationToken::new(),
        };
        let place = Place {
            admission: self.clone(),
            key: key.clone(),
            activity: Arc::clone(&entry.activity),
            evicted: entry.evicted.clone(),
            gone: entry.gone.clone(),
        };
        open.insert(key, entry);
        Self::publish(&open);
        Ok(place)
    }

    /// Evicts a session for the memory that the one of `key` needs.
    fn evict_for(&self, key: &SessionKey) -> Option<CancellationToken> {
        self.evict(&mut self.lock(), Some(key))
    }

    /// Takes the place of the session that must go first, other than `keep`, and returns what says that
    /// its memory is free. `None` when all are answering.
    fn evict(
        &self,
        open: &mut HashMap<SessionKey, Entry>,
        keep: Option<&SessionKey>,
    ) -> Option<CancellationToken> {
        let now = Instant::now();
        let (turn, key) = open
            .iter()
            .filter(|(key, _)| keep != Some(key))
            .filter_map(|(key, entry)| Some((lock(&entry.activity).turn(now, self.stall)?, key)))
            .min_by_key(|(turn, _)| *turn)?;
        let key = key.clone();
        let entry = open.remove(&key)?;
        entry.evicted.cancel();
        SESSIONS_EVICTED.counter(&[turn.reason()]).increment(1);
        Self::publish(open);
        Some(entry.gone)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, Entry>> {
        lock(&self.open)
    }

    fn answering(open: &HashMap<SessionKey, Entry>) -> usize {
        let answering = |entry: &&Entry| lock(&entry.activity).is_answering();
        open.values().filter(answering).count()
    }

    fn publish(open: &HashMap<SessionKey, Entry>) {
        let running = Self::answering(open);
        SESSIONS.gauge(&["idle"]).set((open.len() - running) as f64);
        SESSIONS.gauge(&["running"]).set(running as f64);
    }
}

impl Place {
    /// Notes rows of an answer.
    pub fn answers(&self) {
        self.change(|activity| activity.answers(Instant::now()));
    }

    /// Notes rows that belong to no answer.
    pub fn heard(&self) {
        self.change(|activity| activity.heard(Instant::now()));
    }

    /// Notes that no answer is under way, and that the session is kept for the next one.
    pub fn kept(&self) {
        self.change(|activity| activity.kept(Instant::now()));
    }

    /// Says how many steps the session waits for: while it does, it is not the one that is silent.
    pub fn waits_for(&self, steps: usize) {
        self.change(|activity| activity.waits_for(steps, Instant::now()));
    }

    fn change(&self, change: impl FnOnce(&mut Activity)) {
        let mut activity = lock(&self.activity);
        let before = activity.is_answering();
        change(&mut activity);
        let changed = activity.is_answering() != before;
        // The map's lock is taken before an activity's, never behind it.
        drop(activity);
        if changed && !self.evicted.is_cancelled() {
            Admission::publish(&self.admission.lock());
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
