//! Loopback ports that nobody else can take.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// A loopback port held by a socket that is bound and never listens.
///
/// Linux lets a second socket bind and listen there as long as both set `SO_REUSEADDR`, which
/// the listeners of std and tokio do, but gives the port to nobody who asks for any free one.
/// So the port stays ours from before its server starts, across the server's restarts; and as
/// long as none listens, a connection to it is refused.
#[derive(Debug)]
pub struct ReservedPort {
    _holder: Socket,
    address: SocketAddr,
}

impl ReservedPort {
    /// Any free port of 127.0.0.1.
    pub fn new() -> io::Result<Self> {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// The given address; port 0 asks for any free one.
    pub fn at(address: SocketAddr) -> io::Result<Self> {
        let holder = reusable(address)?;
        let address = local_address(&holder)?;
        Ok(Self {
            _holder: holder,
            address,
        })
    }

    /// Where a server may listen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A second socket bound to the same address, ready to listen.
    pub(crate) fn bind(&self) -> io::Result<Socket> {
        reusable(self.address)
    }
}

fn reusable(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

pub(crate) fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("a TCP socket without an internet address"))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn only_one_who_names_the_port_gets_it() {
        let port = ReservedPort::new().unwrap();
        let refused = TcpStream::connect(port.address()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

        for _ in 0..2 {
            let listener = TcpListener::bind(port.address()).unwrap();
            TcpStream::connect(port.address()).unwrap();
            assert!(TcpListener::bind(port.address()).is_err());
            drop(listener);
            TcpStream::connect(port.address()).unwrap_err();
        }
        let others: Vec<_> = (0..2_000).map_while(|_| ReservedPort::new().ok()).collect();
        assert!(!others.is_empty());
        assert!(others.iter().all(|other| other.address() != port.address()));
    }
}
