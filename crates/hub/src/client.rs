//! HTTP towards a hub: who is told the token, which redirections are followed, how long is waited.

use crate::error::HubError;
use crate::settings::{Settings, Token};
use std::sync::Arc;
use std::time::Duration;
use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, LOCATION, RANGE, RETRY_AFTER};
use ureq::http::{HeaderMap, Method, Request, Response, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// A hub sends a file's reader to its store, possibly by way of another name of its own.
const MAX_REDIRECTS: usize = 5;
/// What a hub says of an error may be shown, but not at any length.
const MAX_MESSAGE: usize = 200;
const USER_AGENT: &str = concat!("tandem/", env!("CARGO_PKG_VERSION"));

/// Sends requests to a hub and to where it redirects.
pub(crate) struct Client {
    agent: Agent,
    endpoint: Uri,
    token: Option<Token>,
}

/// A request that got no useful answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An answer with an error's status.
    Refused(Box<Refusal>),
    /// None, or one that is not to be used.
    Broken(HubError),
}

/// What an answer with an error's status says.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) url: String,
    pub(crate) status: u16,
    /// The hub's own word for the error.
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    /// Whether the hub itself said so, not a store that it redirected to.
    pub(crate) by_hub: bool,
}

impl Client {
    pub(crate) fn new(settings: &Settings) -> Result<Self, HubError> {
        let endpoint: Uri = settings.endpoint.parse().map_err(|_| HubError::Setting {
            name: "HF_ENDPOINT".to_owned(),
            problem: format!("is no address: {:?}", settings.endpoint),
        })?;
        let roots = rustls_native_certs::load_native_certs().certs;
        if roots.is_empty() && endpoint.scheme_str() == Some("https") {
            return Err(HubError::NoRoots);
        }
        let roots = roots.iter().map(|c| Certificate::from_der(c).to_owned());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots.collect())))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let mut config = Agent::config_builder()
            .tls_config(tls)
            .user_agent(USER_AGENT)
            .http_status_as_error(false)
            // Followed here, so that every hop is looked at.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(settings.stall_timeout))
            .timeout_recv_response(Some(settings.stall_timeout))
            .timeout_per_read(Some(settings.stall_timeout));
        if is_loopback(&endpoint) {
            // The environment's proxy is for what lies beyond this machine.
            config = config.proxy(None);
        }
        Ok(Self {
            agent: config.build().new_agent(),
            endpoint,
            token: settings.token.clone(),
        })
    }

    /// Whether requests carry a token.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Asks for a body from byte `from` on. The answer's status is 200, 206 or 416.
    pub(crate) fn get(
        &self,
        url: &str,
        from: u64,
        within: Option<Duration>,
    ) -> Result<Response<Body>, Failure> {
        self.follow(Method::GET, url, from, within, |_, _| true)
    }

    /// Asks for the headers that the hub itself gives: a redirection to another host is an answer.
    pub(crate) fn head(&self, url: &str) -> Result<Response<Body>, Failure> {
        self.follow(Method::HEAD, url, 0, None, is_same_origin)
    }

    fn follow(
        &self,
        method: Method,
        url: &str,
        from: u64,
        within: Option<Duration>,
        is_followed: impl Fn(&Uri, &Uri) -> bool,
    ) -> Result<Response<Body>, Failure> {
        let mut address: Uri = url.parse().map_err(|_| HubError::Answer {
            url: url.to_owned(),
            problem: "is no address".to_owned(),
        })?;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(&method, &address, from, within)?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return self.accepted(&address, response);
            }
            let next = redirection(&address, response.headers())?;
            if !is_followed(&address, &next) {
                return Ok(response);
            }
            address = next;
        }
        Err(Failure::Broken(HubError::Redirect {
            url: url.to_owned(),
            problem: format!("more than {MAX_REDIRECTS} times"),
        }))
    }

    fn send(
        &self,
        method: &Method,
        address: &Uri,
        from: u64,
        within: Option<Duration>,
    ) -> Result<Response<Body>, HubError> {
        let broken = |problem: String| HubError::Unreachable {
            url: shown(address),
            problem,
        };
        let mut request = Request::builder()
            .method(method)
            .uri(address)
            // A compressed answer's length says nothing of the file's.
            .header(ACCEPT_ENCODING, "identity");
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        // The token is the hub's business, not that of the stores and mirrors it redirects to.
        if let Some(token) = self.token.as_ref()
            && is_same_origin(&self.endpoint, address)
        {
            request = request.header(AUTHORIZATION, token.header());
        }
        let request = request.body(()).map_err(|e| broken(e.to_string()))?;
        let request = self
            .agent
            .configure_request(request)
            .timeout_global(within)
            .build();
        self.agent.run(request).map_err(|error| {
            let problem = error.to_string();
            if is_about_tls(&error) {
                let url = shown(address);
                return HubError::Untrusted { url, problem };
            }
            broken(problem)
        })
    }

    fn accepted(&self, address: &Uri, response: Response<Body>) -> Result<Response<Body>, Failure> {
        let status = response.status().as_u16();
        if matches!(status, 200 | 206 | 416) {
            return Ok(response);
        }
        let text = |name| header_text(response.headers(), name);
        Err(Failure::Refused(Box::new(Refusal {
            url: shown(address),
            status,
            code: text("x-error-code"),
            message: text("x-error-message").map(|m| m.chars().take(MAX_MESSAGE).collect()),
            // Only the form in seconds: hubs send no dates.
            retry_after: text(RETRY_AFTER.as_str())
                .and_then(|seconds| seconds.parse().ok())
                .map(Duration::from_secs),
            by_hub: is_same_origin(&self.endpoint, address),
        })))
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::Broken(error)
    }
}

/// Whether TLS failed, which the connection reports as an error of its own reading.
fn is_about_tls(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => true,
        ureq::Error::Io(error) => error
            .get_ref()
            .is_some_and(|inner| inner.is::<rustls::Error>()),
        _ => false,
    }
}

/// A header's value, where it is text.
pub(crate) fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.trim().to_owned())
}

/// An address as it may be shown: queries carry signatures.
fn shown(address: &Uri) -> String {
    let text = address.to_string();
    match text.split_once('?') {
        Some((before, _)) => before.to_owned(),
        None => text,
    }
}

/// Where an answer redirects to, if that is somewhere to follow to.
fn redirection(from: &Uri, headers: &HeaderMap) -> Result<Uri, HubError> {
    let refused = |problem: String| HubError::Redirect {
        url: shown(from),
        problem,
    };
    let Some(location) = header_text(headers, LOCATION.as_str()) else {
        return Err(refused("to nowhere".to_owned()));
    };
    let scheme = from.scheme_str().unwrap_or_default();
    let authority = from.authority().map_or("", |a| a.as_str());
    let absolute = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        location
    };
    let next: Uri = absolute
        .parse()
        .map_err(|_| refused("to what is no address".to_owned()))?;
    match (scheme, next.scheme_str()) {
        ("http", Some("http" | "https")) | ("https", Some("https")) => Ok(next),
        (_, Some(other)) => Err(refused(format!("from {scheme} to {other}: refused"))),
        (_, None) => Err(refused("to a relative address: refused".to_owned())),
    }
}

/// Whether two addresses are of the same server.
fn is_same_origin(one: &Uri, other: &Uri) -> bool {
    let origin = |uri: &Uri| {
        let scheme = uri.scheme_str().map(str::to_owned);
        let default = if scheme.as_deref() == Some("http") {
            80
        } else {
            443
        };
        let host = uri.host().map(str::to_ascii_lowercase);
        (scheme, host, uri.port_u16().unwrap_or(default))
    };
    origin(one) == origin(other)
}

fn is_loopback(address: &Uri) -> bool {
    let host = address.host().unwrap_or_default();
    host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_stay_with_web_addresses_and_never_drop_tls() {
        let redirect = |from: &str, location: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, location.parse().unwrap());
            redirection(&from.parse().unwrap(), &headers).map(|to| to.to_string())
        };
        for (from, location, to) in [
            ("https://h/a", "/b?c=d", "https://h/b?c=d"),
            ("https://h:1/a", "//cdn/b", "https://cdn/b"),
            ("https://h/a", "https://cdn/b", "https://cdn/b"),
            ("http://h/a", "https://cdn/b", "https://cdn/b"),
        ] {
            assert_eq!(redirect(from, location).unwrap(), to);
        }
        for location in ["http://h/b", "file:///etc/passwd", "ftp://h/b", "b", ""] {
            assert!(redirect("https://h/a", location).is_err(), "{location}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| is_same_origin(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(same("https://hub/a", "https://HUB:443/b"));
        assert!(!same("https://hub", "http://hub"));
        assert!(!same("https://hub", "https://hub:8443"));
        assert!(!same("https://hub", "https://cdn.hub"));
    }
}
