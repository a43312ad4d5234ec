//! The link's near end: accepts connections until it is closed, and can be opened again.

use std::fs;
use std::io;
use std::net::Shutdown;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use socket2::Socket;

use super::connection;
use super::state::{Link, is_interruption};
use crate::port::ReservedPort;

const BACKLOG: i32 = 1_024;

/// Joined by whoever outlives them; connections outlive the listener that accepted them.
pub(super) type Threads = Arc<Mutex<Vec<JoinHandle<()>>>>;

/// A listening socket and the thread that accepts from it.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Arc<Socket>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    pub(super) fn open(port: &ReservedPort, link: Arc<Link>, threads: Threads) -> io::Result<Self> {
        let socket = port.bind()?;
        connection::keep_buffers_small(&socket)?;
        socket.listen(BACKLOG)?;
        let socket = Arc::new(socket);
        let accepting = Arc::clone(&socket);
        let thread = thread::Builder::new()
            .name("link-accept".into())
            .spawn(move || {
                sharpen_timers();
                accept_all(&accepting, &link, &threads);
            })?;
        Ok(Self {
            socket,
            thread: Some(thread),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Ends a blocked accept; from here on connecting is refused.
        let _ = self.socket.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Lets the kernel wake this thread, and those it starts, when asked instead of up to 50 µs
/// later. Where it cannot be set, waits are that much longer.
fn sharpen_timers() {
    // `PID/task/TID`; only `/proc/TID` has the file.
    let thread = fs::read_link("/proc/thread-self").unwrap_or_default();
    if let Some(id) = thread.file_name() {
        let _ = fs::write(Path::new("/proc").join(id).join("timerslack_ns"), "1");
    }
}

fn accept_all(socket: &Socket, link: &Arc<Link>, threads: &Threads) {
    loop {
        match socket.accept() {
            Ok((client, _)) => {
                // A client that is gone already has nothing to be carried.
                if let Ok(thread) = connection::spawn(Arc::clone(link), client) {
                    let mut threads = threads.lock().unwrap_or_else(PoisonError::into_inner);
                    threads.retain(|thread| !thread.is_finished());
                    threads.push(thread);
                }
            }
            Err(error) if is_interruption(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => return,
        }
    }
}

/// Waits for all connections' threads.
pub(super) fn join_all(threads: &Threads) {
    let threads = std::mem::take(&mut *threads.lock().unwrap_or_else(PoisonError::into_inner));
    for thread in threads {
        let _ = thread.join();
    }
}
