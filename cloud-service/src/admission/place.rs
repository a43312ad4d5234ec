//! A session's place among the open ones, and how it comes by its memory: from what is free, from a session that gives
//! way, or in the line of its peer's answers that gave way before.

use super::{Admission, Entry, Lack, Line, Moves, SessionKey, Sessions, gives_way, is_full};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tandem_engine::Reservation;
use tandem_shape::Reason;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// How long a session waits for the memory of those that give way: until the step under way has ended, at most.
pub(super) const GIVING_WAY_TAKES: Duration = Duration::from_secs(2);

/// How long an answer that gave way waits for room before it is told to come again.
pub(super) const IN_LINE: Duration = Duration::from_secs(10);

/// Between two looks for memory that no session's end has freed.
const LOOK: Duration = Duration::from_millis(100);

/// A session's place among the open ones, given up on drop. Drop it when the engine has closed the session.
#[derive(Debug)]
pub struct Place {
    pub(super) admission: Admission,
    pub(super) key: SessionKey,
    pub(super) moves: Moves,
    pub(super) evicted: CancellationToken,
    pub(super) gone: CancellationToken,
}

impl Place {
    /// Whose place it is.
    pub fn key(&self) -> &SessionKey {
        &self.key
    }

    /// Reserves memory. Where no memory is left, a session gives way, which may be this one. A session whose answer gave
    /// way before waits a while.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED for a session that has not begun and finds no room, ABORTED for one that gives way.
    pub async fn reserve(&self, bytes: u64) -> Result<Reservation, Status> {
        if bytes > 0
            && self.moves.moved > 0
            && !self.has_begun()
            && let Some(made) = self.wait_in_line(bytes).await
        {
            return made;
        }
        self.make_room(bytes).await
    }

    /// Whether it holds memory.
    fn has_begun(&self) -> bool {
        let sessions = self.admission.lock();
        let own = sessions.open.get(&self.key);
        own.is_some_and(|entry| entry.bytes > 0)
    }

    async fn make_room(&self, bytes: u64) -> Result<Reservation, Status> {
        let began = Instant::now();
        loop {
            let gone = match self.reserve_or_evict(bytes, began.elapsed() < GIVING_WAY_TAKES)? {
                Ok(reservation) => return Ok(reservation),
                Err(gone) => gone,
            };
            tokio::select! {
                _ = tokio::time::timeout(GIVING_WAY_TAKES, gone.cancelled()) => {}
                () = self.evicted() => return Err(gives_way()),
            }
        }
    }

    /// Waits until the answers before this one have room, and then until it has. `None` when that takes too long.
    async fn wait_in_line(&self, bytes: u64) -> Option<Result<Reservation, Status>> {
        let in_line = InLine::behind_others(self);
        let waiting = async {
            let _first = in_line.line.lock().await;
            let mut asked: Option<CancellationToken> = None;
            loop {
                let freed = self.admission.freed.notified();
                match self.find_room(&mut self.admission.lock(), bytes, true) {
                    Found::Reserved(reservation) => return Ok(reservation),
                    Found::Evicted(gone) => asked = Some(gone),
                    Found::Nothing(..) => {}
                }
                let gone = async {
                    match &asked {
                        Some(gone) => gone.cancelled().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = freed => {}
                    () = gone => asked = None,
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        };
        tokio::select! {
            waited = tokio::time::timeout(IN_LINE, waiting) => waited.ok(),
            () = self.evicted() => Some(Err(gives_way())),
        }
    }

    /// Reserves memory, or says whose end to wait for.
    fn reserve_or_evict(
        &self,
        bytes: u64,
        others_may_go: bool,
    ) -> Result<Result<Reservation, CancellationToken>, Status> {
        let mut sessions = self.admission.lock();
        let Some(own) = sessions.open.get(&self.key) else {
            return Err(gives_way());
        };
        let has_begun = own.bytes > 0;
        let in_line = sessions.shares.of(&self.key.owner).in_line;
        let others_come_first = !has_begun && in_line > 0;
        let found = if others_come_first && bytes > 0 {
            let message = "answers of this peer that gave way wait for memory for keys and values";
            Found::Nothing(Lack::of_peer("kv_memory"), message.to_owned())
        } else {
            self.find_room(&mut sessions, bytes, others_may_go)
        };
        match found {
            Found::Reserved(reservation) => Ok(Ok(reservation)),
            Found::Evicted(gone) => Ok(Err(gone)),
            Found::Nothing(..) if has_begun => {
                let now = Instant::now();
                sessions.evict(&self.key, now, self.admission.limits.stall.get());
                Err(gives_way())
            }
            Found::Nothing(lack, message) => Err(sessions.refuse(lack, Reason::KvMemory, message)),
        }
    }

    /// Reserves memory, or evicts the one that gives way, where it is another one.
    fn find_room(&self, sessions: &mut Sessions, bytes: u64, others_may_go: bool) -> Found {
        let (lack, message) = match self.take(sessions, bytes) {
            Ok(reservation) => return Found::Reserved(reservation),
            Err(lack) => lack,
        };
        let (now, stall) = (Instant::now(), self.admission.limits.stall.get());
        let turn = |entry: &Entry| entry.activity.turn(now, stall);
        let among_own = lack == Lack::of_peer("kv_memory");
        let first = others_may_go
            .then(|| sessions.first_to_go(&self.key, bytes, among_own, turn))
            .flatten()
            .filter(|key| *key != self.key);
        match first.and_then(|key| sessions.evict(&key, now, stall)) {
            Some(gone) => Found::Evicted(gone),
            None => Found::Nothing(lack, message),
        }
    }

    /// Reserves memory, or says what there is not enough of. Pages that no session has make room.
    fn take(&self, sessions: &mut Sessions, bytes: u64) -> Result<Reservation, (Lack, String)> {
        let Admission {
            limits,
            memory,
            prefixes,
            ..
        } = &self.admission;
        let owner = &self.key.owner;
        let limit = limits.per_peer.kv_memory.get();
        loop {
            let held = sessions.shares.of(owner).bytes + prefixes.bytes_of(owner);
            if limit == 0 || held.saturating_add(bytes) <= limit {
                break;
            }
            if !prefixes.give_up_one(Some(owner)) {
                let message = format!(
                    "{bytes} bytes for keys and values are needed, this peer has {held} of {limit}"
                );
                return Err((Lack::of_peer("kv_memory"), message));
            }
        }
        let reserved = loop {
            match memory.reserve(bytes) {
                Ok(reserved) => break reserved,
                Err(_) if prefixes.give_up_one(None) => {}
                Err(error) => return Err((Lack::of_all("kv_memory"), error.to_string())),
            }
        };
        sessions.change(&self.key, |entry| entry.bytes += bytes);
        Ok(reserved)
    }

    /// Notes that the session has begun with pages that are kept, which cannot be given up while it is open.
    pub fn begins_with_pages(&self) {
        self.change(|entry| entry.has_kept_pages = true);
    }

    /// Says how much memory a truncation has given back.
    pub fn frees(&self, bytes: u64) {
        self.change(|entry| entry.bytes = entry.bytes.saturating_sub(bytes));
    }

    /// Notes rows of an answer.
    pub fn answers(&self) {
        self.change(|entry| entry.activity.answers(Instant::now()));
    }

    /// Notes rows that belong to no answer.
    pub fn heard(&self) {
        self.change(|entry| entry.activity.heard(Instant::now()));
    }

    /// Notes that no answer is under way, and that the session is kept for the next one.
    pub fn kept(&self) {
        self.change(|entry| entry.activity.kept(Instant::now()));
    }

    /// Notes that its stream broke: it is the first to go while nobody takes it up.
    pub fn left(&self) {
        self.change(|entry| entry.activity.leave(true, Instant::now()));
    }

    /// Notes that a stream has taken it up.
    pub fn taken_up(&self) {
        self.change(|entry| entry.activity.leave(false, Instant::now()));
    }

    /// Says how many steps, and rows in them, the session waits for: while it does, it is not the one that is
    /// silent.
    pub fn waits_for(&self, steps: usize, rows: usize) {
        self.change(|entry| {
            entry.activity.waits_for(steps, Instant::now());
            entry.rows = rows;
        });
    }

    /// Whether more of its rows may wait: always some of a session that waits for none.
    pub fn may_queue(&self) -> bool {
        let limits = &self.admission.limits;
        let sessions = self.admission.lock();
        let owner = &self.key.owner;
        let own = sessions.shares.of(owner);
        let shares = &sessions.shares;
        !shares.is_full(owner, |share| share.rows, limits.queued_rows)
            && !is_full(own.rows, limits.per_peer.queued_rows)
    }

    fn change(&self, change: impl FnOnce(&mut Entry)) {
        let mut sessions = self.admission.lock();
        // Once evicted, the id may be another session's.
        if !self.evicted.is_cancelled() {
            sessions.change(&self.key, change);
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
        let mut sessions = self.admission.lock();
        // Once evicted, the id may be another session's.
        let is_evicted = self.evicted.is_cancelled();
        let own = if is_evicted {
            None
        } else {
            sessions.remove(&self.key)
        };
        // Who held nothing has made no room.
        if is_evicted || own.is_some_and(|entry| entry.bytes > 0) {
            sessions.turnover.ended(Instant::now());
        }
        self.admission.freed.notify_waiters();
    }
}

/// What a look for memory has found.
enum Found {
    Reserved(Reservation),
    /// What says that the memory of one that gives way is free.
    Evicted(CancellationToken),
    Nothing(Lack, String),
}

/// A place in a peer's line, until it is dropped.
struct InLine<'a> {
    place: &'a Place,
    line: Line,
}

impl<'a> InLine<'a> {
    fn behind_others(place: &'a Place) -> Self {
        let mut sessions = place.admission.lock();
        let owner = &place.key.owner;
        sessions.shares.change(owner, |share| share.in_line += 1);
        let line = sessions.lines.entry(owner.clone()).or_default();
        Self {
            place,
            line: Arc::clone(line),
        }
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let mut sessions = self.place.admission.lock();
        let owner = &self.place.key.owner;
        sessions.shares.change(owner, |share| share.in_line -= 1);
        if sessions.shares.of(owner).in_line == 0 {
            sessions.lines.remove(owner);
        }
    }
}
