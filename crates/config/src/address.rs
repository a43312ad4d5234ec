//! The addresses of servers, as people write them.

use http::Uri;

/// An address that no connection can be made to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{address}` is not the address of a server: {reason}")]
pub struct EndpointError {
    /// As it was given.
    pub address: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The address of a server without TLS, given as `host:port` or `http://host:port`.
///
/// # Errors
/// It is neither.
pub fn plain_uri(address: &str) -> Result<Uri, EndpointError> {
    let uri = server_uri(address)?;
    if !is_tls(&uri) {
        Ok(uri)
    } else {
        Err(EndpointError {
            address: address.to_owned(),
            reason: "only http:// is supported here".to_owned(),
        })
    }
}

/// Whether a server at this address is spoken to with TLS.
pub fn is_tls(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

/// Whether this address cannot be anything but this machine's own.
pub fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The address of a server, given as `host:port`, `http://host:port` or, with TLS,
/// `https://host:port`.
///
/// # Errors
/// The address has none of these forms.
pub fn server_uri(address: &str) -> Result<Uri, EndpointError> {
    let refused = |reason: &str| EndpointError {
        address: address.to_owned(),
        reason: reason.to_owned(),
    };
    let with_scheme = if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    };
    let uri: Uri = with_scheme
        .parse()
        .map_err(|error| refused(&format!("{error}")))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(refused("only http:// and https:// are supported"));
    }
    if uri.port_u16().is_none() {
        return Err(refused("it has no port; write host:port"));
    }
    if uri.path_and_query().is_some_and(|path| path != "/") {
        return Err(refused("it must end after the port"));
    }
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err(refused("it must not contain a user"));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port_with_or_without_a_scheme() {
        for good in [
            "127.0.0.1:7000",
            "http://cloud:7000",
            "http://cloud:7000/",
            "[::1]:7000",
            "https://cloud:7000",
        ] {
            assert!(server_uri(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("grpc://cloud:7000", "only http:// and https://"),
            ("cloud", "no port"),
            ("http://cloud:7000/v1", "end after the port"),
            ("http://me@cloud:7000", "user"),
            ("cloud:70000", ""),
            ("", ""),
            ("a b:1", ""),
        ] {
            let error = server_uri(bad).unwrap_err().to_string();
            assert!(
                error.contains(&format!("`{bad}`")) && error.contains(why),
                "{error}"
            );
        }
    }
}
