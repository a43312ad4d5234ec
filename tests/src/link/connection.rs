//! One connection through the link: a reader and a writer thread for each direction.
//!
//! Threads rather than tasks because tokio's timers tick in milliseconds, and because the
//! processes under test need the processor: here nothing spins and a waiting thread costs
//! nothing.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::Cut;
use super::profile::{Direction, LARGEST_PIECE, SEGMENT};
use super::state::{Ends, Item, Link, is_interruption};

/// Kernel buffers are kept small on the proxy's sockets, or they would be a hidden queue. (The
/// kernel doubles the number and uses about half of it for its own accounts.)
const SOCKET_BUFFER: usize = 16 * 1024;

/// How often a write to a receiver that does not read looks whether the connection was closed.
const WRITE_CHECK: Duration = Duration::from_millis(50);

const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Limits what the kernel buffers; before `listen` or `connect`, for the window is announced
/// there.
pub(super) fn keep_buffers_small(socket: &Socket) -> io::Result<()> {
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    // Loopback's segments of 64 KiB would not fit such a window.
    socket.set_tcp_mss(SEGMENT as u32)
}

pub(super) fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_write_timeout(Some(WRITE_CHECK))
}

/// Carries the connection until it ends; returns when all its threads have.
pub(super) fn carry(link: &Link, id: u64, ends: &Ends) {
    // As the client would see it: it may send after a round trip, the target hears of the
    // connection half a round trip later.
    let accepted = link.now();
    let profile = link.profile();
    let (may_send, may_answer) = if profile.handshake {
        let round_trip = accepted + profile.round_trip();
        (round_trip, round_trip + profile.up.delay)
    } else {
        (accepted, accepted)
    };
    if !link.wait_until(id, may_send) {
        return;
    }
    match connect(link) {
        Ok(target) => ends.connected(target),
        Err(_) => return link.close(id, Cut::Reset),
    }
    if !link.is_open(id) {
        return;
    }
    thread::scope(|scope| {
        scope.spawn(|| write(link, id, ends, Direction::Up));
        scope.spawn(|| write(link, id, ends, Direction::Down));
        scope.spawn(|| {
            if link.wait_until(id, may_answer) {
                read(link, id, ends, Direction::Down);
            }
        });
        read(link, id, ends, Direction::Up);
    });
}

fn connect(link: &Link) -> io::Result<Socket> {
    let target = link.target();
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    keep_buffers_small(&socket)?;
    prepare(&socket)?;
    socket.connect_timeout(&target.into(), CONNECT_DEADLINE)?;
    Ok(socket)
}

fn read(link: &Link, id: u64, ends: &Ends, direction: Direction) {
    let Some(mut source) = ends.source(direction) else {
        return;
    };
    let mut buffer = vec![0; LARGEST_PIECE];
    loop {
        let piece = link.profile()[direction].piece();
        let item = match source.read(&mut buffer[..piece]) {
            Ok(0) => Item::End,
            Ok(count) => Item::Bytes(buffer[..count].to_vec()),
            Err(error) if is_interruption(&error) => continue,
            Err(_) => Item::Reset,
        };
        let last = !matches!(item, Item::Bytes(_));
        if !link.send(id, direction, item) {
            // Unread bytes would turn the FIN of a closed socket into a RST.
            while matches!(source.read(&mut buffer), Ok(count) if count > 0) {}
            return;
        }
        if last {
            return;
        }
    }
}

fn write(link: &Link, id: u64, ends: &Ends, direction: Direction) {
    let Some(sink) = ends.sink(direction) else {
        return;
    };
    loop {
        match link.receive(id, direction, ends) {
            Some(Item::Bytes(bytes)) => {
                if write_all(link, id, sink, direction, &bytes).is_err() {
                    // The receiver is gone: word of it travels back.
                    link.send(id, direction.reverse(), Item::Reset);
                    return;
                }
            }
            // Stays: the receiver may yet have to hear that the sender was reset.
            Some(Item::End) => {
                let _ = sink.shutdown(Shutdown::Write);
                link.ended(id, direction);
            }
            Some(Item::Reset) => return link.close(id, Cut::Reset),
            None => return,
        }
    }
}

fn write_all(
    link: &Link,
    id: u64,
    mut sink: &Socket,
    direction: Direction,
    bytes: &[u8],
) -> io::Result<()> {
    let all = bytes.len();
    let mut left = bytes;
    // Counted first: whoever has received a byte finds it counted.
    link.delivering(id, direction, all);
    let result = loop {
        if left.is_empty() {
            break Ok(());
        }
        match sink.write(left) {
            Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => left = &left[count..],
            Err(error) if is_interruption(&error) && link.is_open(id) => {}
            Err(error) => break Err(error),
        }
    };
    link.delivered(id, direction, all, left.len());
    result
}

/// Starts a connection's threads; the returned one ends last.
pub(super) fn spawn(link: Arc<Link>, client: Socket) -> io::Result<thread::JoinHandle<()>> {
    prepare(&client)?;
    let peer = client
        .peer_addr()?
        .as_socket()
        .ok_or(io::ErrorKind::AddrNotAvailable)?;
    let ends = Arc::new(Ends::new(client));
    let id = link.open(Arc::clone(&ends), peer);
    thread::Builder::new()
        .name(format!("link-{id}"))
        .spawn(move || carry(&link, id, &ends))
}
