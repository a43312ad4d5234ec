//! Where a cloud's name leads.
//!
//! A name with several addresses is several clouds, such as a headless Service's: a link to each. A name with one address
//! of each kind, IPv4 and IPv6, is one cloud, and so is an address itself: it is looked up whenever a connection is made.

use std::io;
use std::net::IpAddr;
use tonic::codegen::http::Uri;

/// Where a link leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which of the configured addresses it is.
    pub(crate) server: usize,
    /// Which address of its name's; none for whichever the name leads to.
    address: Option<IpAddr>,
}

impl Place {
    /// Where a name leads to, whenever a connection is made.
    pub(crate) fn named(server: usize) -> Self {
        Self {
            server,
            address: None,
        }
    }

    /// What to connect to.
    pub(crate) fn uri(self, server: &Uri) -> String {
        let host = match self.address {
            None => return server.to_string(),
            Some(IpAddr::V4(address)) => address.to_string(),
            Some(IpAddr::V6(address)) => format!("[{address}]"),
        };
        let scheme = server.scheme_str().unwrap_or("http");
        let port = server.port_u16().unwrap_or_default();
        format!("{scheme}://{host}:{port}")
    }

    /// The same for people.
    pub(crate) fn shown(self, server: &Uri) -> String {
        let name = server.to_string();
        let name = name.trim_end_matches('/');
        match self.address {
            None => name.to_owned(),
            Some(address) => format!("{name} ({address})"),
        }
    }
}

/// Where a configured address leads now.
///
/// # Errors
/// The name cannot be looked up.
pub(crate) async fn places(server: usize, uri: &Uri) -> io::Result<Vec<Place>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    if host.parse::<IpAddr>().is_ok() {
        return Ok(vec![Place::named(server)]);
    }
    let port = uri.port_u16().unwrap_or_default();
    let found = tokio::net::lookup_host((host, port)).await?;
    Ok(of_addresses(server, found.map(|address| address.ip())))
}

fn of_addresses(server: usize, found: impl Iterator<Item = IpAddr>) -> Vec<Place> {
    let (mut four, mut six): (Vec<_>, Vec<_>) = found.partition(IpAddr::is_ipv4);
    for addresses in [&mut four, &mut six] {
        addresses.sort_unstable();
        addresses.dedup();
    }
    let most = if six.len() > four.len() { six } else { four };
    if most.len() < 2 {
        return vec![Place::named(server)];
    }
    let place = |address| Place {
        server,
        address: Some(address),
    };
    most.into_iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(addresses: &[&str]) -> Vec<String> {
        let uri = Uri::from_static("https://cloud:7000");
        let found = addresses.iter().map(|address| address.parse().unwrap());
        let places = of_addresses(0, found);
        places.iter().map(|place| place.uri(&uri)).collect()
    }

    #[test]
    fn several_addresses_of_one_kind_are_several_clouds() {
        assert_eq!(shown(&["127.0.0.1", "::1"]), ["https://cloud:7000/"]);
        assert_eq!(shown(&[]), ["https://cloud:7000/"]);
        let twice = shown(&["10.0.0.2", "10.0.0.1", "10.0.0.2", "::1"]);
        assert_eq!(twice, ["https://10.0.0.1:7000", "https://10.0.0.2:7000"]);
        let six = shown(&["10.0.0.1", "fd00::1", "fd00::2"]);
        assert_eq!(six, ["https://[fd00::1]:7000", "https://[fd00::2]:7000"]);
    }

    #[tokio::test]
    async fn an_address_is_not_looked_up() {
        let uri = Uri::from_static("http://[::1]:1");
        assert_eq!(places(3, &uri).await.unwrap(), [Place::named(3)]);
    }
}
