//! Who is at the other end: bearer tokens, and the names that they and certificates give a peer.
//!
//! A server asks for a token where its configuration names a file of them ([`Tokens`]), checks it
//! before any service sees the request ([`Authenticate`]), and every request carries its [`Peer`]
//! from then on; when the token is taken out of the file, its calls end ([`EndWithToken`]). A client shows its own by [`Bearer`]. Tokens are kept as digests where they are
//! only compared, and never appear in logs or errors.

mod authenticate;
mod bearer;
mod ending;
mod peer;
mod standing;
mod tokens;

pub use authenticate::Authenticate;
pub use bearer::{Bearer, BearerToken};
pub use ending::{EndWithToken, EndsWithToken};
pub(crate) use peer::network_of;
pub use peer::{Owner, Peer};
pub use tokens::{AuthSettings, Tokens};
