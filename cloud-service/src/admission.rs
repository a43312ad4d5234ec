//! Which sessions are open, what memory is reserved for them, and which one gives way when another needs the
//! room.

mod activity;
mod giving_way;
mod place;
mod shares;
mod turnover;

use crate::config::SessionsConfig;
use crate::metrics::{SESSIONS, SESSIONS_EVICTED, SESSIONS_REFUSED};
use crate::prefixes::Prefixes;
use activity::{Activity, Turn};
use giving_way::{Holding, who};
pub use place::Place;
use shares::{Share, Shares};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tandem_engine::KvBudget;
use tandem_shape::Reason;
use tandem_status::{failure, resource_exhausted};
use tandem_transport::auth::Owner;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use turnover::Turnover;

/// When a peer that has reached a limit of its own should come again.
const OWN_LIMIT: Duration = Duration::from_secs(1);

/// A session's id: 128 random bits.
pub type SessionId = [u8; 16];

/// A session among those of all owners: an id is its owner's own, whatever others call theirs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// Whose it is.
    pub owner: Owner,
    /// What its edge calls it.
    pub id: SessionId,
}

/// The open sessions.
#[derive(Debug, Clone)]
pub struct Admission {
    sessions: Arc<Mutex<Sessions>>,
    limits: Arc<SessionsConfig>,
    memory: KvBudget,
    /// Pages that no session has, which make room for all that sessions need.
    prefixes: Prefixes,
    /// Told when a session has ended.
    freed: Arc<Notify>,
}

/// Where a peer's answers that gave way wait for room, one behind the other; whoever is first holds it. As long as any
/// of them wait, its sessions that begin an answer get none. Peers do not wait for each other: how much each holds is
/// what decides between them.
type Line = Arc<tokio::sync::Mutex<()>>;

#[derive(Debug, Default)]
struct Sessions {
    open: HashMap<SessionKey, Entry>,
    shares: Shares,
    /// Of those who have any answers there.
    lines: HashMap<Owner, Line>,
    /// Sessions admitted so far.
    admitted: u64,
    turnover: Turnover,
}

#[derive(Debug)]
struct Entry {
    activity: Activity,
    /// Memory that is reserved for it.
    bytes: u64,
    /// Whether it has begun with pages that are kept.
    has_kept_pages: bool,
    /// Rows that the engine owes it.
    rows: usize,
    admitted: u64,
    moves: Moves,
    evicted: CancellationToken,
    /// Cancelled when its memory is free.
    gone: CancellationToken,
}

/// A stream that has not opened its session yet.
#[derive(Debug)]
pub struct Opening {
    admission: Admission,
    owner: Owner,
}

/// Whether the answers of a session may give way, because the edge goes on with them in another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moves {
    /// They may.
    pub can_move: bool,
    /// How many sessions the answer had before.
    pub moved: u32,
}

/// What there is not enough of, and whose share of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lack {
    what: &'static str,
    whose: &'static str,
}

impl Lack {
    fn of_peer(what: &'static str) -> Self {
        Self {
            what,
            whose: "peer",
        }
    }

    fn of_all(what: &'static str) -> Self {
        Self { what, whose: "all" }
    }
}

impl Admission {
    /// No sessions yet.
    pub fn new(limits: &SessionsConfig, memory: KvBudget, prefixes: Prefixes) -> Self {
        Self {
            sessions: Arc::default(),
            limits: Arc::new(limits.clone()),
            memory,
            prefixes,
            freed: Arc::default(),
        }
    }

    /// Counts a stream until its session is open.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED when too many are opening, or too many rows wait for a session more.
    pub fn opening(&self, owner: &Owner) -> Result<Opening, Status> {
        let limits = &self.limits;
        let per_peer = &limits.per_peer;
        let mut sessions = self.lock();
        let (own, all) = (sessions.shares.of(owner), sessions.shares.all());
        let lack = if is_full(own.opening, per_peer.max_opening) {
            Some(Lack::of_peer("opening"))
        } else if all.opening >= limits.max_opening {
            Some(Lack::of_all("opening"))
        } else if is_full(own.rows, per_peer.queued_rows) {
            Some(Lack::of_peer("queued_rows"))
        } else if sessions
            .shares
            .is_full(owner, |share| share.rows, limits.queued_rows)
        {
            Some(Lack::of_all("queued_rows"))
        } else {
            None
        };
        if let Some(lack) = lack {
            let message = match lack.what {
                "opening" => "too many streams are about to open a session",
                _ => "too many rows are waiting",
            };
            return Err(sessions.refuse(lack, Reason::Sessions, message.to_owned()));
        }
        sessions.shares.change(owner, |share| share.opening += 1);
        Ok(Opening {
            admission: self.clone(),
            owner: owner.clone(),
        })
    }

    /// Takes a place for a session, another's where it needs it. `moves` says whether its answers may give way.
    ///
    /// # Errors
    /// ALREADY_EXISTS for an id in use; RESOURCE_EXHAUSTED when all sessions answer.
    pub fn enter(&self, key: SessionKey, moves: Moves) -> Result<Place, Status> {
        let mut sessions = self.lock();
        if sessions.open.contains_key(&key) {
            return Err(failure(
                Code::AlreadyExists,
                Reason::SessionId,
                "the session id is in use",
            ));
        }
        let limit = self.limits.per_peer.max;
        let own = sessions.shares.of(&key.owner).sessions;
        if is_full(own, limit) && !self.evict_for_place(&mut sessions, Some(&key.owner)) {
            let message = format!("all {limit} sessions of this peer are answering");
            let lack = Lack::of_peer("sessions");
            return Err(sessions.refuse(lack, Reason::Sessions, message));
        }
        let limit = self.limits.max;
        if sessions.open.len() >= limit
            && !self.evict_for_place(&mut sessions, None)
            && !self.evict_for_share(&mut sessions, &key.owner)
        {
            let message = format!("all {limit} sessions are answering");
            let lack = Lack::of_all("sessions");
            return Err(sessions.refuse(lack, Reason::Sessions, message));
        }
        sessions.admitted += 1;
        let entry = Entry {
            activity: Activity::opened(Instant::now()),
            bytes: 0,
            has_kept_pages: false,
            rows: 0,
            admitted: sessions.admitted,
            moves,
            evicted: CancellationToken::new(),
            gone: CancellationToken::new(),
        };
        let place = Place {
            admission: self.clone(),
            key: key.clone(),
            moves,
            evicted: entry.evicted.clone(),
            gone: entry.gone.clone(),
        };
        sessions
            .shares
            .change(&key.owner, |share| share.sessions += 1);
        sessions.open.insert(key, entry);
        sessions.publish();
        Ok(place)
    }

    /// Sessions that make an answer now, and the most there may be of all.
    pub fn running(&self) -> (usize, usize) {
        (self.lock().answering(), self.limits.max)
    }

    /// Takes the place of the session that must go first, of this owner or of all. False when all are
    /// answering.
    fn evict_for_place(&self, sessions: &mut Sessions, owner: Option<&Owner>) -> bool {
        let (now, stall) = (Instant::now(), self.limits.stall.get());
        let first = sessions
            .open
            .iter()
            .filter(|(key, _)| owner.is_none_or(|owner| key.owner == *owner))
            .filter_map(|(key, entry)| Some((entry.activity.turn(now, stall)?, key)))
            .min_by_key(|(turn, _)| *turn)
            .map(|(_, key)| key.clone());
        first.is_some_and(|key| sessions.evict(&key, now, stall).is_some())
    }

    /// Takes the place of an answer that can move, of a peer that has more sessions than this one will. False where
    /// there is no such answer.
    fn evict_for_share(&self, sessions: &mut Sessions, owner: &Owner) -> bool {
        let own = sessions.shares.of(owner).sessions;
        let last = sessions
            .open
            .iter()
            .filter(|(_, entry)| entry.moves.can_move)
            .map(|(key, entry)| {
                let theirs = sessions.shares.of(&key.owner).sessions;
                (theirs, Reverse(entry.moves.moved), entry.admitted, key)
            })
            .filter(|&(theirs, ..)| theirs > own + 1)
            .max_by_key(|&(theirs, moved, admitted, _)| (theirs, moved, admitted))
            .map(|(.., key)| key.clone());
        let (now, stall) = (Instant::now(), self.limits.stall.get());
        last.is_some_and(|key| sessions.evict(&key, now, stall).is_some())
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    /// The session that gives way to the one of `asks`, which needs `bytes` more; of its owner's, where that
    /// one has no more.
    fn first_to_go(
        &self,
        asks: &SessionKey,
        bytes: u64,
        among_own: bool,
        turn: impl Fn(&Entry) -> Option<Turn>,
    ) -> Option<SessionKey> {
        let counts = |key: &SessionKey| !among_own || key.owner == asks.owner;
        let sessions: Vec<_> = self.open.iter().filter(|(key, _)| counts(key)).collect();
        let holdings: Vec<_> = sessions
            .iter()
            .map(|(key, entry)| Holding {
                owner: &key.owner,
                bytes: entry.bytes,
                has_kept_pages: entry.has_kept_pages,
                admitted: entry.admitted,
                turn: turn(entry),
                can_move: entry.moves.can_move,
                moved: entry.moves.moved,
            })
            .collect();
        let asks = sessions.iter().position(|(key, _)| *key == asks)?;
        who(&holdings, asks, bytes).map(|at| sessions[at].0.clone())
    }

    /// Forgets a session.
    fn remove(&mut self, key: &SessionKey) -> Option<Entry> {
        let entry = self.open.remove(key)?;
        self.shares.change(&key.owner, |share| {
            share.sessions -= 1;
            share.bytes -= entry.bytes;
            share.rows -= entry.rows;
        });
        self.publish();
        Some(entry)
    }

    /// Ends a session, and returns what says that its memory is free.
    fn evict(
        &mut self,
        key: &SessionKey,
        now: Instant,
        stall: Duration,
    ) -> Option<CancellationToken> {
        let entry = self.remove(key)?;
        entry.evicted.cancel();
        let cause = match entry.activity.turn(now, stall) {
            Some(turn) => turn.reason(),
            None => "answering",
        };
        SESSIONS_EVICTED.counter(&[cause]).increment(1);
        Some(entry.gone)
    }

    fn change(&mut self, key: &SessionKey, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.open.get_mut(key) else {
            return;
        };
        let (bytes, rows) = (entry.bytes, entry.rows);
        let was_answering = entry.activity.is_answering();
        change(entry);
        let is_answering = entry.activity.is_answering();
        let (now_bytes, now_rows) = (entry.bytes, entry.rows);
        if (bytes, rows) != (now_bytes, now_rows) {
            self.shares.change(&key.owner, |share: &mut Share| {
                share.bytes = share.bytes - bytes + now_bytes;
                share.rows = share.rows - rows + now_rows;
            });
        }
        if is_answering != was_answering {
            self.publish();
        }
    }

    fn refuse(&mut self, lack: Lack, reason: Reason, message: String) -> Status {
        SESSIONS_REFUSED
            .counter(&[lack.what, lack.whose])
            .increment(1);
        // That a peer has reached its own limit does not mean that the cloud is full for other peers.
        let wait = match lack.whose {
            "all" => self.turnover.refuse(Instant::now()),
            _ => OWN_LIMIT,
        };
        resource_exhausted(reason, message, Some(wait))
    }

    fn answering(&self) -> usize {
        let answering = |entry: &&Entry| entry.activity.is_answering();
        self.open.values().filter(answering).count()
    }

    fn publish(&self) {
        let running = self.answering();
        SESSIONS
            .gauge(&["idle"])
            .set((self.open.len() - running) as f64);
        SESSIONS.gauge(&["running"]).set(running as f64);
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let mut sessions = self.admission.lock();
        sessions
            .shares
            .change(&self.owner, |share| share.opening -= 1);
    }
}

/// Whether a limit is reached, where there is one.
fn is_full(number: usize, limit: usize) -> bool {
    limit > 0 && number >= limit
}

/// The status of a session that gives way.
pub fn gives_way() -> Status {
    let message = "another session needed the room";
    failure(Code::Aborted, Reason::Evicted, message)
}

#[cfg(test)]
mod tests;
