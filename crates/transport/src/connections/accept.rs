//! Taking connections from the system.

use std::io;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt as _};
use tokio::net::TcpStream;

use super::places::{Place, Places};

/// How long a listener rests that got no connection for a reason which the next one would meet too, such
/// as no free file descriptor: asking again at once would take a processor for nothing.
const REST: Duration = Duration::from_millis(200);

/// A connection with its place.
pub(crate) type Accepted = (TcpStream, Place);

/// The connections of a listener, as long as `places` has a place for each: the others are closed at once. The stream ends
/// when the listener does, and for no error.
pub(crate) fn accept<L>(listening: L, places: Places) -> impl Stream<Item = Accepted> + Send
where
    L: Stream<Item = io::Result<TcpStream>> + Send + Unpin,
{
    let accepting = Accepting {
        listening,
        places,
        is_failing: false,
    };
    stream::unfold(accepting, |mut accepting| async move {
        let accepted = accepting.next().await?;
        Some((accepted, accepting))
    })
}

struct Accepting<L> {
    listening: L,
    places: Places,
    /// Whether the last attempt failed: one line of the log for all in a row.
    is_failing: bool,
}

impl<L: Stream<Item = io::Result<TcpStream>> + Unpin> Accepting<L> {
    async fn next(&mut self) -> Option<Accepted> {
        loop {
            match self.listening.next().await? {
                Ok(stream) => {
                    self.is_failing = false;
                    let address = stream.peer_addr().ok().map(|address| address.ip());
                    match self.places.enter(address) {
                        Ok(place) => return Some((stream, place)),
                        Err(full) => {
                            let limit = full.key();
                            tracing::debug!(?address, limit, "a connection too many is closed");
                        }
                    }
                }
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "a connection ended before it was accepted");
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.is_failing, true) {
                        tracing::warn!(%error, "no connection can be accepted; trying on");
                    }
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }
}

/// Whether an error is over with the connection that it came from (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted,
        NetworkUnreachable, TimedOut, WouldBlock,
    };
    matches!(
        error.kind(),
        BrokenPipe
            | ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkUnreachable
            | TimedOut
            | WouldBlock
    )
}
