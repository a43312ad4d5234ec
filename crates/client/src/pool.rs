//! Finished conversations, kept for their next turn.

use crate::metrics::SESSIONS;
use crate::session::Session;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tandem_transport::auth::Owner;

/// The sessions of an edge.
#[derive(Debug)]
pub struct SessionPool {
    state: Mutex<State>,
    max: usize,
    idle_ttl: Duration,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    idle: Vec<Idle>,
    closed: bool,
}

/// A finished conversation.
#[derive(Debug)]
struct Idle {
    asker: Asker,
    since: Instant,
    session: Session,
}

/// Whose conversations are kept apart from everybody else's: how soon an answer begins, and how much of it was
/// reused, would tell what others have asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Asker {
    /// Who asks.
    pub owner: Owner,
    /// Which of their users, where somebody asks for several.
    pub salt: String,
}

/// The right to run an answer, given back on drop.
#[derive(Debug)]
pub struct Turn<'a> {
    pool: &'a SessionPool,
}

/// As many answers run as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all {max} sessions are running")]
pub struct AllRunning {
    /// The most.
    pub max: usize,
}

impl SessionPool {
    /// A pool of at most `max` sessions, running ones included.
    pub fn new(max: usize, idle_ttl: Duration) -> Self {
        Self {
            state: Mutex::default(),
            max,
            idle_ttl,
        }
    }

    /// The right to run an answer.
    ///
    /// # Errors
    /// As many run as may.
    pub fn turn(&self) -> Result<Turn<'_>, AllRunning> {
        let mut state = self.lock();
        if state.running >= self.max {
            return Err(AllRunning { max: self.max });
        }
        state.running += 1;
        publish(&state);
        Ok(Turn { pool: self })
    }

    /// Whether an answer may begin now.
    pub fn has_turn(&self) -> bool {
        self.lock().running < self.max
    }

    /// The most sessions.
    pub fn most(&self) -> usize {
        self.max
    }

    /// Closes what has been idle too long or has lost its stream. A cloud to which one was lost may be another one since.
    pub fn prune(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        state.idle.retain_mut(|idle| {
            let reusable = idle.session.is_reusable();
            if !reusable {
                idle.session.link().forget();
            }
            reusable && now.duration_since(idle.since) < self.idle_ttl
        });
        publish(&state);
    }

    /// Closes all idle sessions, and keeps no more.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.idle.clear();
        publish(&state);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// The asker's idle session that `prompt` goes on with, and how many of its tokens it shares: the longest common
    /// prefix, if that saves as many rows as the session loses. A new session would begin with `found` of them anyhow;
    /// where it loses more, it is another conversation that begins alike.
    pub fn take(&self, asker: &Asker, prompt: &[u32], found: usize) -> Option<(Session, usize)> {
        self.pool.prune();
        let mut state = self.pool.lock();
        let (at, shared) = state
            .idle
            .iter()
            .enumerate()
            .filter(|(_, idle)| idle.asker == *asker)
            .map(|(at, idle)| (at, shared_prefix(idle.session.tokens(), prompt)))
            .filter(|&(at, shared)| {
                let lost = state.idle[at].session.tokens().len() - shared;
                shared > 0 && shared >= found + lost
            })
            .max_by_key(|&(_, shared)| shared)?;
        let idle = state.idle.swap_remove(at);
        publish(&state);
        Some((idle.session, shared))
    }

    /// Makes room for a new session: the idle one that has waited longest goes.
    pub fn make_room(&self) {
        let mut state = self.pool.lock();
        while state.running + state.idle.len() > self.pool.max {
            let oldest = (0..state.idle.len()).min_by_key(|&at| state.idle[at].since);
            match oldest {
                Some(at) => drop(state.idle.swap_remove(at)),
                None => break,
            }
        }
        publish(&state);
    }

    /// Keeps a session whose answer has ended, for whom it was.
    pub fn keep(&self, asker: Asker, mut session: Session) {
        let mut state = self.pool.lock();
        if !state.closed && session.is_reusable() {
            state.idle.push(Idle {
                asker,
                since: Instant::now(),
                session,
            });
        }
        publish(&state);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.running -= 1;
        publish(&state);
    }
}

fn publish(state: &State) {
    SESSIONS.gauge(&["running"]).set(state.running as f64);
    SESSIONS.gauge(&["idle"]).set(state.idle.len() as f64);
}

fn shared_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
