//! What the threads of a link share: one lock over all its connections, clock and counters.
//!
//! A piece of data waits three times: for room in its connection's window, for its turn in the
//! wire's queue, and on the lane until it is due. Readers wait on [`Link::room`], the writer of
//! a lane on [`Ends::due`].

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use socket2::Socket;

use super::Cut;
use super::clock::LinkClock;
use super::counters::{ConnectionCounters, Counters, Traffic};
use super::profile::{Both, Direction, LinkProfile};
use super::wire::Wire;

/// What travels on a lane.
#[derive(Debug)]
pub(super) enum Item {
    Bytes(Vec<u8>),
    /// The sender has finished; the other direction goes on.
    End,
    /// The sender is gone.
    Reset,
}

impl Item {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::End | Self::Reset => 0,
        }
    }
}

/// A connection's sockets, and what wakes its writers.
#[derive(Debug)]
pub(super) struct Ends {
    client: Socket,
    /// Set once the target has been reached.
    target: OnceLock<Socket>,
    due: Both<Condvar>,
}

impl Ends {
    pub(super) fn new(client: Socket) -> Self {
        Self {
            client,
            target: OnceLock::new(),
            due: Both::default(),
        }
    }

    pub(super) fn connected(&self, target: Socket) {
        let _ = self.target.set(target);
    }

    /// Where the bytes of `direction` come from.
    pub(super) fn source(&self, direction: Direction) -> Option<&Socket> {
        match direction {
            Direction::Up => Some(&self.client),
            Direction::Down => self.target.get(),
        }
    }

    /// Where the bytes of `direction` go.
    pub(super) fn sink(&self, direction: Direction) -> Option<&Socket> {
        self.source(direction.reverse())
    }

    /// Wakes both readers; the peers learn of it now (`Finish`) or when the sockets close.
    fn close(&self, how: Cut) {
        for socket in [Some(&self.client), self.target.get()]
            .into_iter()
            .flatten()
        {
            let _ = match how {
                Cut::Finish => socket.shutdown(Shutdown::Both),
                // Closing a socket that lingers for no time sends RST.
                Cut::Reset => socket
                    .set_linger(Some(Duration::ZERO))
                    .and_then(|()| socket.shutdown(Shutdown::Read)),
            };
        }
    }
}

/// One direction of one connection: what is on its way, in order, with its arrival times.
#[derive(Debug, Default)]
struct Lane {
    line: VecDeque<(Duration, Item)>,
    /// Bytes in `line` and in the writer's hands.
    bytes: usize,
    reader_waits: bool,
    /// Its end has arrived.
    ended: bool,
}

#[derive(Debug)]
struct Flow {
    ends: Arc<Ends>,
    lanes: Both<Lane>,
}

#[derive(Debug)]
struct State {
    clock: LinkClock,
    profile: LinkProfile,
    target: SocketAddr,
    wires: Both<Wire>,
    /// Bytes that pass before the one that is altered, where one is to be.
    flips: Both<Option<u64>>,
    /// Only live connections: to close one is to remove it.
    flows: BTreeMap<u64, Flow>,
    counters: Counters,
    next_id: u64,
}

impl State {
    fn close(&mut self, id: u64, how: Cut) {
        if let Some(flow) = self.flows.remove(&id) {
            flow.ends.close(how);
            flow.ends.due.up.notify_all();
            flow.ends.due.down.notify_all();
        }
        if let Some(counters) = self.counters.connection(id) {
            counters.open = false;
        }
    }

    fn count(&mut self, id: u64, direction: Direction, add: impl Fn(&mut Traffic)) {
        add(&mut self.counters.total[direction]);
        if let Some(connection) = self.counters.connection(id) {
            add(&mut connection.traffic[direction]);
        }
    }
}

#[derive(Debug)]
pub(super) struct Link {
    state: Mutex<State>,
    room: Condvar,
}

impl Link {
    pub(super) fn new(target: SocketAddr, profile: LinkProfile) -> Self {
        Self {
            state: Mutex::new(State {
                clock: LinkClock::start(),
                profile,
                target,
                wires: Both::default(),
                flips: Both::default(),
                flows: BTreeMap::new(),
                counters: Counters::default(),
                next_id: 0,
            }),
            room: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock; a poisoned one must not take a test's report along.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn profile(&self) -> LinkProfile {
        self.lock().profile
    }

    pub(super) fn target(&self) -> SocketAddr {
        self.lock().target
    }

    pub(super) fn set_target(&self, target: SocketAddr) {
        self.lock().target = target;
    }

    pub(super) fn counters(&self) -> Counters {
        self.lock().counters.clone()
    }

    pub(super) fn take_counters(&self) -> Counters {
        self.lock().counters.take()
    }

    pub(super) fn set_profile(&self, profile: LinkProfile) {
        let mut state = self.lock();
        state.profile = profile;
        self.wake_all(&state);
    }

    pub(super) fn flip_byte(&self, direction: Direction, behind: u64) {
        self.lock().flips[direction] = Some(behind);
    }

    pub(super) fn awaits_flip(&self, direction: Direction) -> bool {
        self.lock().flips[direction].is_some()
    }

    pub(super) fn pause(&self) {
        self.lock().clock.pause();
    }

    pub(super) fn resume(&self) {
        let mut state = self.lock();
        state.clock.resume();
        self.wake_all(&state);
    }

    fn wake_all(&self, state: &State) {
        self.room.notify_all();
        for flow in state.flows.values() {
            flow.ends.due.up.notify_all();
            flow.ends.due.down.notify_all();
        }
    }

    pub(super) fn open(&self, ends: Arc<Ends>, peer: SocketAddr) -> u64 {
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        let lanes = Both::default();
        state.flows.insert(id, Flow { ends, lanes });
        state.counters.connections.push(ConnectionCounters {
            id,
            peer,
            open: true,
            traffic: Both::default(),
        });
        id
    }

    pub(super) fn close(&self, id: u64, how: Cut) {
        self.lock().close(id, how);
        self.room.notify_all();
    }

    pub(super) fn close_all(&self, how: Cut) {
        let mut state = self.lock();
        while let Some((&id, _)) = state.flows.first_key_value() {
            state.close(id, how);
        }
        self.room.notify_all();
    }

    pub(super) fn is_open(&self, id: u64) -> bool {
        self.lock().flows.contains_key(&id)
    }

    pub(super) fn now(&self) -> Duration {
        self.lock().clock.now()
    }

    /// Waits until the link's clock shows `time`; false if the connection was closed first.
    pub(super) fn wait_until(&self, id: u64, time: Duration) -> bool {
        let mut state = self.lock();
        while state.flows.contains_key(&id) {
            let Some(left) = time.checked_sub(state.clock.now()).filter(|t| !t.is_zero()) else {
                return true;
            };
            state = self.wait(&self.room, state, Some(left));
        }
        false
    }

    /// Puts an item on the link once there is room; false if the connection is closed.
    pub(super) fn send(&self, id: u64, direction: Direction, mut item: Item) -> bool {
        let mut guard = self.lock();
        let ready = guard.clock.now();
        let bytes = item.len();
        // Word of an end needs no room.
        if bytes > 0 {
            guard = self.wait_for_window(guard, id, direction, bytes);
            guard = self.wait_for_turn(guard, id, direction, bytes);
        }

        let state = &mut *guard;
        let Some(flow) = state.flows.get_mut(&id) else {
            return false;
        };
        if let Item::Bytes(bytes) = &mut item {
            flip(&mut state.flips[direction], bytes);
        }
        let profile = &state.profile[direction];
        let due = state.wires[direction].transmit(profile, ready, bytes);
        let lane = &mut flow.lanes[direction];
        lane.bytes += bytes;
        lane.line.push_back((due, item));
        // Behind others it changes nothing: the writer waits for the first.
        if lane.line.len() == 1 {
            flow.ends.due[direction].notify_one();
        }
        state.count(id, direction, |traffic| traffic.sent += bytes as u64);
        true
    }

    fn wait_for_window<'a>(
        &self,
        mut guard: MutexGuard<'a, State>,
        id: u64,
        direction: Direction,
        bytes: usize,
    ) -> MutexGuard<'a, State> {
        loop {
            let window = guard.profile[direction].window();
            let Some(flow) = guard.flows.get_mut(&id) else {
                return guard;
            };
            let lane = &mut flow.lanes[direction];
            lane.reader_waits = lane.bytes > 0 && lane.bytes + bytes > window;
            if !lane.reader_waits {
                return guard;
            }
            guard = self.wait(&self.room, guard, None);
        }
    }

    fn wait_for_turn<'a>(
        &self,
        mut guard: MutexGuard<'a, State>,
        id: u64,
        direction: Direction,
        bytes: usize,
    ) -> MutexGuard<'a, State> {
        guard.wires[direction].turns.push_back(id);
        loop {
            let state = &mut *guard;
            let wire = &mut state.wires[direction];
            let first = wire.turns.front() == Some(&id);
            let profile = &state.profile[direction];
            let full = wire.full_for(profile, state.clock.now(), bytes);
            if (first && full.is_none()) || !state.flows.contains_key(&id) {
                wire.turns.retain(|&waiting| waiting != id);
                self.room.notify_all();
                return guard;
            }
            guard = self.wait(&self.room, guard, full.filter(|_| first));
        }
    }

    /// The next item that has arrived at the far end; `None` once the connection is closed.
    pub(super) fn receive(&self, id: u64, direction: Direction, ends: &Ends) -> Option<Item> {
        let mut guard = self.lock();
        loop {
            let state = &mut *guard;
            let lane = &mut state.flows.get_mut(&id)?.lanes[direction];
            let wait = match lane.line.front() {
                None => None,
                Some((time, _)) => {
                    let left = time.saturating_sub(state.clock.now());
                    if left.is_zero() && !state.clock.is_paused() {
                        return lane.line.pop_front().map(|(_, item)| item);
                    }
                    Some(left)
                }
            };
            guard = self.wait(&ends.due[direction], guard, wait);
        }
    }

    /// Counts what [`receive`](Self::receive) gave before it is handed to the receiver.
    pub(super) fn delivering(&self, id: u64, direction: Direction, bytes: usize) {
        self.lock().count(id, direction, |traffic| {
            traffic.delivered += bytes as u64;
        });
    }

    /// Makes room for more: `bytes` have left the link, and `refused` of them were not taken.
    pub(super) fn delivered(&self, id: u64, direction: Direction, bytes: usize, refused: usize) {
        let mut state = self.lock();
        state.count(id, direction, |traffic| {
            traffic.delivered = traffic.delivered.saturating_sub(refused as u64);
        });
        if let Some(flow) = state.flows.get_mut(&id) {
            let lane = &mut flow.lanes[direction];
            lane.bytes -= bytes;
            if lane.reader_waits {
                self.room.notify_all();
            }
        }
    }

    /// Closes the connection once both of its directions have ended.
    pub(super) fn ended(&self, id: u64, direction: Direction) {
        let mut state = self.lock();
        if let Some(flow) = state.flows.get_mut(&id) {
            flow.lanes[direction].ended = true;
            if flow.lanes.up.ended && flow.lanes.down.ended {
                state.close(id, Cut::Finish);
            }
        }
    }

    /// While the link is paused its times do not come: only a notification ends the wait.
    fn wait<'a>(
        &self,
        condition: &Condvar,
        state: MutexGuard<'a, State>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        match limit.filter(|_| !state.clock.is_paused()) {
            Some(limit) => match condition.wait_timeout(state, limit) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            },
            None => condition
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// Alters the byte that is to be altered, if it is one of these.
fn flip(ahead: &mut Option<u64>, bytes: &mut [u8]) {
    let Some(behind) = *ahead else { return };
    let byte = usize::try_from(behind).ok();
    match byte.and_then(|at| bytes.get_mut(at)) {
        Some(byte) => {
            *byte ^= 1;
            *ahead = None;
        }
        None => *ahead = Some(behind - bytes.len() as u64),
    }
}

/// Whether an I/O error only says that a timeout or a signal came first.
pub(super) fn is_interruption(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
