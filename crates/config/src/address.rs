//! The addresses of servers, as people write them.

use http::Uri;
use serde::Deserialize;
use std::fmt;

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

/// Addresses of servers that do the same: one, several with commas between them, or a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Written")]
pub struct Addresses(Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    List(Vec<String>),
}

impl From<Written> for Addresses {
    fn from(written: Written) -> Self {
        match written {
            Written::Text(text) => Self::from(text.as_str()),
            Written::List(list) => Self(list),
        }
    }
}

impl From<&str> for Addresses {
    fn from(text: &str) -> Self {
        Self(text.split(',').map(|one| one.trim().to_owned()).collect())
    }
}

impl Addresses {
    /// Each of them, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
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
    fn several_addresses_are_a_list_or_have_commas_between_them() {
        for written in ["a:1, b:2", "[a:1, b:2]", "- a:1\n- b:2"] {
            let addresses: Addresses = serde_yaml::from_str(written).unwrap();
            assert_eq!(addresses.to_string(), "a:1,b:2", "{written}");
        }
        let one: Addresses = serde_yaml::from_str("http://a:1").unwrap();
        assert_eq!(one.iter().collect::<Vec<_>>(), ["http://a:1"]);
    }

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
