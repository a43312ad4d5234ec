//! By which names the API may be called. A page in a browser can have its own name lead to this machine (DNS
//! rebinding) and then read what is answered as if it came from the page's server; its requests still carry
//! the page's name.

use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use std::net::IpAddr;

/// The names in the `Host` of requests that are answered, besides loopback's and addresses: those are no
/// page's to give away.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hosts(Vec<Host>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    /// `*`
    Any,
    /// `edge.example.org`
    Name(String),
    /// `*.example.org`, by what follows the `*`
    Below(String),
}

impl Hosts {
    /// Of the configuration's list.
    ///
    /// # Errors
    /// What is wrong with an entry.
    pub(crate) fn new(names: &[String]) -> Result<Self, String> {
        let hosts: Result<_, _> = names.iter().map(|name| Host::parse(name)).collect();
        hosts.map(Self)
    }

    /// Whether a request may be answered. One that names no host comes from no browser.
    pub(crate) fn allow(&self, request: &Request) -> bool {
        let in_header = || request.headers().get(HOST)?.to_str().ok()?.parse().ok();
        match (
            request.uri().authority().cloned(),
            request.headers().get(HOST),
        ) {
            (Some(authority), _) => self.allows(&authority),
            (None, None) => true,
            (None, Some(_)) => in_header().is_some_and(|authority| self.allows(&authority)),
        }
    }

    fn allows(&self, authority: &Authority) -> bool {
        let host = authority.host();
        let address = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if address.unwrap_or(host).parse::<IpAddr>().is_ok() {
            return true;
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        host == "localhost" || self.0.iter().any(|allowed| allowed.is(&host))
    }
}

impl Host {
    fn parse(name: &str) -> Result<Self, String> {
        if name == "*" {
            return Ok(Self::Any);
        }
        let name = name.to_ascii_lowercase();
        let plain = name.strip_prefix("*.").unwrap_or(&name);
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if plain.is_empty() || plain.starts_with('.') || !plain.chars().all(fits) {
            return Err(format!(
                "has `{name}`, must have names such as edge.example.org, *.example.org or *, without a port"
            ));
        }
        Ok(match name.strip_prefix('*') {
            Some(end) => Self::Below(end.to_owned()),
            None => Self::Name(name),
        })
    }

    fn is(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Name(name) => name == host,
            Self::Below(end) => host.len() > end.len() && host.ends_with(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn allows(names: &[&str], host: &str) -> bool {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let hosts = Hosts::new(&names).unwrap();
        let request = Request::builder().uri("/v1/models").header(HOST, host);
        hosts.allow(&request.body(Body::empty()).unwrap())
    }

    #[test]
    fn loopback_and_addresses_need_no_list() {
        for host in [
            "localhost:8000",
            "LocalHost",
            "127.0.0.1:8000",
            "[::1]:8000",
            "10.0.0.7",
        ] {
            assert!(allows(&[], host), "{host}");
        }
        for host in [
            "pages.example",
            "localhost.pages.example:8000",
            "127.0.0.1.pages.example",
            "",
            "a b",
        ] {
            assert!(!allows(&[], host), "{host}");
        }
    }

    #[test]
    fn names_are_whole_and_stars_stand_for_what_is_before() {
        let names = ["edge.example.org", "*.svc"];
        for host in [
            "edge.example.org",
            "Edge.Example.Org.:8000",
            "edge.tandem.svc:8000",
        ] {
            assert!(allows(&names, host), "{host}");
        }
        for host in [
            "an-edge.example.org",
            "edge.example.org.pages.example",
            "svc",
            ".svc",
        ] {
            assert!(!allows(&names, host), "{host}");
        }
        assert!(allows(&["*"], "pages.example"));
    }

    #[test]
    fn an_http_2_request_has_its_host_in_its_uri() {
        let request = |uri: &str| Request::builder().uri(uri).body(Body::empty()).unwrap();
        let hosts = Hosts::default();
        assert!(hosts.allow(&request("http://localhost:8000/v1/models")));
        assert!(!hosts.allow(&request("http://pages.example/v1/models")));
        assert!(hosts.allow(&request("/v1/models")));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", "*.", "a:80", "http://a", "a/b", ".a", "*a b"] {
            assert!(Hosts::new(&[name.to_owned()]).is_err(), "{name}");
        }
    }
}
