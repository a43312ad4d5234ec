//! The name of the other end.

use std::fmt;
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
    /// Whether it is a process of this machine.
    pub local: bool,
}

impl Peer {
    /// Whether it is known who it is: by name, or as a process of this machine.
    pub fn is_known(&self) -> bool {
        self.local || self.certificate.is_some() || self.token.is_some()
    }

    /// The peer of a request that [`super::Authenticate`] has let through.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.certificate, &self.token) {
            (None, None) => f.write_str("anonymous"),
            (Some(certificate), None) => write!(f, "certificate {certificate}"),
            (None, Some(token)) => write!(f, "token {token}"),
            (Some(certificate), Some(token)) => {
                write!(f, "certificate {certificate}, token {token}")
            }
        }
    }
}
