//! A network link in the process: a TCP proxy with a rate, a delay and a bounded queue.
//!
//! ```text
//!             ┌────────────────────── ShapedLink ──────────────────────┐
//!  client ──► read a segment ─► queue ─► transmitter ─► delay line ─► write ──► target
//!             (per connection)  └── shared by all ──┘   (per connection)
//! ```
//!
//! Both directions work alike and do not disturb each other. The bytes of all connections share
//! one transmitter a direction, so a bulk transfer delays a small message as a real bottleneck
//! does: by at most the queue's length divided by the rate. A full queue loses nothing: it stops
//! reading, as a router that drops packets stops a TCP sender. Delay is a line, not a pause:
//! it never limits the rate.
//!
//! What is not modelled: loss, reordering, the bytes of TCP/IP headers, TCP's slow start and
//! congestion control. Beyond the queue, a sender's kernel buffers what it likes (as a real one
//! does), and the proxy's own sockets hold some 16 KiB each of the connection they belong to.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

mod clock;
mod connection;
mod counters;
mod listener;
mod profile;
mod state;
#[cfg(test)]
mod tests;
mod wire;

pub use counters::{ConnectionCounters, Counters, Traffic};
pub use profile::{Both, DEFAULT_QUEUE, Direction, DirectionProfile, LinkProfile, Rate, SEGMENT};

use crate::port::ReservedPort;
use listener::{Listener, Threads, join_all};
use state::Link;

/// How the ends learn that their connection is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// RST: what a crashed host or a middlebox answers.
    Reset,
    /// FIN: an orderly end, in the middle of whatever was being said.
    Finish,
}

/// A running link. Dropping it resets all its connections and joins all its threads.
#[derive(Debug)]
pub struct ShapedLink {
    link: Arc<Link>,
    port: ReservedPort,
    /// `None` while the link is cut.
    listener: Mutex<Option<Listener>>,
    threads: Threads,
}

impl ShapedLink {
    /// Listens on a free port of 127.0.0.1 and connects to `target` for each connection. The
    /// target need not be there yet: as long as it is not, connections are reset.
    pub fn start(target: SocketAddr, profile: LinkProfile) -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), target, profile)
    }

    /// The same on an address of the caller's choice.
    pub fn start_at(
        listen: SocketAddr,
        target: SocketAddr,
        profile: LinkProfile,
    ) -> io::Result<Self> {
        let started = Self {
            link: Arc::new(Link::new(target, profile)),
            port: ReservedPort::at(listen)?,
            listener: Mutex::new(None),
            threads: Threads::default(),
        };
        started.restore()?;
        Ok(started)
    }

    /// Where to connect instead of to the target.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Where connections lead.
    pub fn target(&self) -> SocketAddr {
        self.link.target()
    }

    /// Leads connections from now on elsewhere; those that are open stay.
    pub fn set_target(&self, target: SocketAddr) {
        self.link.set_target(target);
    }

    /// What the link is at the moment.
    pub fn profile(&self) -> LinkProfile {
        self.link.profile()
    }

    /// Changes the link under its connections. What has been queued keeps its times.
    pub fn set_profile(&self, profile: LinkProfile) {
        self.link.set_profile(profile);
    }

    /// What has crossed the link since its start, or since the counters were last taken.
    pub fn counters(&self) -> Counters {
        self.link.counters()
    }

    /// The same, and starts from zero in the same instant: no byte is missed or counted twice.
    /// Bytes on their way are `sent` before and `delivered` after.
    pub fn take_counters(&self) -> Counters {
        self.link.take_counters()
    }

    /// Swallows everything without a word, as a pulled cable does: the link's time stands
    /// still, connections stay open, new ones hang.
    pub fn pause(&self) {
        self.link.pause();
    }

    /// Ends a [`pause`](Self::pause). What was on its way arrives as if there had been none,
    /// only later.
    pub fn resume(&self) {
        self.link.resume();
    }

    /// Alters one bit of one byte of a direction: of the one behind the next `behind` bytes, whichever connections they
    /// belong to. Replaces a flip that still awaits its byte.
    pub fn flip_byte(&self, direction: Direction, behind: u64) {
        self.link.flip_byte(direction, behind);
    }

    /// Whether the byte that [`flip_byte`](Self::flip_byte) is to alter has not come yet.
    pub fn awaits_flip(&self, direction: Direction) -> bool {
        self.link.awaits_flip(direction)
    }

    /// Ends all connections at both ends, with what is on its way, but accepts new ones.
    pub fn drop_connections(&self, how: Cut) {
        self.link.close_all(how);
    }

    /// Ends all connections and refuses new ones.
    pub fn cut(&self, how: Cut) {
        drop(self.listener().take());
        self.link.close_all(how);
    }

    /// Accepts connections again after a [`cut`](Self::cut), on the same address.
    pub fn restore(&self) -> io::Result<()> {
        let mut listener = self.listener();
        if listener.is_none() {
            let (link, threads) = (Arc::clone(&self.link), Arc::clone(&self.threads));
            *listener = Some(Listener::open(&self.port, link, threads)?);
        }
        Ok(())
    }

    fn listener(&self) -> std::sync::MutexGuard<'_, Option<Listener>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ShapedLink {
    fn drop(&mut self) {
        self.cut(Cut::Reset);
        join_all(&self.threads);
    }
}
