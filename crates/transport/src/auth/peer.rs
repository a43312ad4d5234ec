//! The name of the other end.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use tonic::Extensions;

/// Who makes a request, by what has been checked of it: the name in its certificate, the name of
/// its token, both or neither.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The name in its certificate.
    pub certificate: Option<Arc<str>>,
    /// The name its token has in the file.
    pub token: Option<Arc<str>>,
    /// Where its connection comes from; an IPv4 address is one even on an IPv6 socket.
    pub address: Option<IpAddr>,
}

/// Whom limits and shares are counted for: a name that was checked, or else an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The names of its certificate and of its token.
    Named([Option<Arc<str>>; 2]),
    /// The machine that its connections come from, or, of IPv6, the network of 64 bits: one machine may use
    /// all addresses of it.
    Address(IpAddr),
    /// Nothing is known.
    Unknown,
}

impl Peer {
    /// Whether it is known who it is: by name, or as a process of this machine.
    pub fn is_known(&self) -> bool {
        let is_local = self.address.is_some_and(|address| address.is_loopback());
        is_local || self.certificate.is_some() || self.token.is_some()
    }

    /// Whom its limits and shares are counted for.
    pub fn owner(&self) -> Owner {
        match self.person() {
            Owner::Address(address) => Owner::Address(network_of(address)),
            other => other,
        }
    }

    /// Whose what it leaves behind is: the same, but each address by itself. Machines of one network are not one
    /// person.
    pub fn person(&self) -> Owner {
        if self.certificate.is_some() || self.token.is_some() {
            return Owner::Named([self.certificate.clone(), self.token.clone()]);
        }
        self.address.map_or(Owner::Unknown, Owner::Address)
    }

    /// The peer of a request that [`super::Authenticate`] has let through.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }
}

/// What one machine has of the addresses: an IPv4 address, written in IPv6 or not, or an IPv6 network of 64
/// bits.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    const NETWORK: u128 = !(u64::MAX as u128);
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
        address => address,
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificate = self.certificate.as_deref().map(printable);
        match (certificate, &self.token) {
            (None, None) => f.write_str("anonymous"),
            (Some(certificate), None) => write!(f, "certificate {certificate}"),
            (None, Some(token)) => write!(f, "token {token}"),
            (Some(certificate), Some(token)) => {
                write!(f, "certificate {certificate}, token {token}")
            }
        }
    }
}

/// A certificate's name as it goes into logs: printable, and of a bounded length. Names are compared as they
/// are.
fn printable(name: &str) -> String {
    const MAX_NAME: usize = 128;
    let shown = |c: char| match c {
        ' '..='~' => c,
        _ => '?',
    };
    name.chars().map(shown).take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Peer {
        Peer {
            address: Some(address.parse().unwrap()),
            ..Peer::default()
        }
    }

    #[test]
    fn owners_are_names_machines_or_networks() {
        let token = Peer {
            token: Some("phone".into()),
            ..at("10.0.0.1")
        };
        let elsewhere = Peer {
            address: None,
            ..token.clone()
        };
        assert_eq!(token.owner(), elsewhere.owner());
        assert_ne!(token.owner(), at("10.0.0.1").owner());
        assert_eq!(at("10.0.0.1").owner(), at("10.0.0.1").owner());
        assert_ne!(at("10.0.0.1").owner(), at("10.0.0.2").owner());
        assert_eq!(at("2001:db8::1").owner(), at("2001:db8::f:2").owner());
        assert_ne!(at("2001:db8::1").person(), at("2001:db8::f:2").person());
        assert_eq!(token.person(), elsewhere.person());
        assert_ne!(at("2001:db8::1").owner(), at("2001:db8:0:1::1").owner());
        assert_eq!(Peer::default().owner(), Owner::Unknown);
    }

    #[test]
    fn certificates_are_one_peers_by_their_whole_names_alone() {
        let named = |name: &str| Peer {
            certificate: Some(name.into()),
            ..Peer::default()
        };
        let long = "a".repeat(128);
        for (name, other) in [
            (format!("{long}1"), format!("{long}2")),
            ("\u{e9}dge".to_owned(), "\u{e8}dge".to_owned()),
        ] {
            assert_ne!(named(&name).owner(), named(&other).owner());
            assert_eq!(named(&name).to_string(), named(&other).to_string());
        }
        assert_eq!(named("line\nbreak").to_string(), "certificate line?break");
    }

    #[test]
    fn a_process_of_this_machine_is_known() {
        assert!(at("127.0.0.1").is_known());
        assert!(at("::1").is_known());
        assert!(!at("10.0.0.1").is_known());
        assert!(!Peer::default().is_known());
    }
}
