//! What has crossed a link.

use std::net::SocketAddr;

use super::profile::Both;

/// Payload bytes of one direction: what the sockets carried, without TCP/IP headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Traffic {
    /// Taken from the sender and put on the link.
    pub sent: u64,
    /// Handed to the receiver's socket. Less than `sent` while bytes travel, and for good where
    /// a connection was cut with bytes on the way.
    pub delivered: u64,
}

/// One connection's share.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ConnectionCounters {
    /// In the order in which the link accepted them, from 0.
    pub id: u64,
    /// Who connected.
    pub peer: SocketAddr,
    /// Whether it still lives.
    pub open: bool,
    /// Its bytes.
    #[serde(flatten)]
    pub traffic: Both<Traffic>,
}

/// All bytes since the link started or its counters were last taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Over all connections.
    #[serde(flatten)]
    pub total: Both<Traffic>,
    /// Each connection, those that have ended too.
    pub connections: Vec<ConnectionCounters>,
}

impl Counters {
    pub(super) fn connection(&mut self, id: u64) -> Option<&mut ConnectionCounters> {
        // Ids ascend: entries are added at the end, and only ended ones are ever removed.
        let at = self.connections.binary_search_by_key(&id, |c| c.id).ok()?;
        self.connections.get_mut(at)
    }

    /// Everything so far, leaving zeros and only the connections that still live.
    pub(super) fn take(&mut self) -> Self {
        let rest = Self {
            total: Both::default(),
            connections: (self.connections.iter())
                .filter(|connection| connection.open)
                .map(|connection| ConnectionCounters {
                    traffic: Both::default(),
                    ..connection.clone()
                })
                .collect(),
        };
        std::mem::replace(self, rest)
    }
}
