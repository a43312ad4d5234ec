//! TLS on both ends of a connection, made of files that may be replaced while the server runs.
//!
//! In the order in which a connection meets them: [`settings`](TlsSettings) name the files,
//! [`material`](server_config) makes rustls' configurations of them, [`incoming`] shakes hands with
//! clients and never waits for a slow one, [`Connection`] is what a server serves then, and
//! [`Connector`] is the other end, whose failures say which of the many things it was. [`PlainConnector`]
//! is its twin for `http://`, which knows a server that speaks TLS.
//!
//! TLS 1.3 only: every gRPC library speaks it, and a client without a certificate is told so.

mod certificate;
mod connection;
mod connector;
mod explain;
mod incoming;
mod material;
mod plain_connector;
mod settings;

pub use connection::{Connection, ConnectionInfo};
pub use connector::{Channels, Connector, channel};
pub use incoming::{Incoming, incoming, plain_incoming};
pub use material::{ServerTls, client_config, server_config};
pub use plain_connector::{PlainConnection, PlainConnector};
pub use settings::{ClientTlsSettings, TlsSettings, check_listener};

#[cfg(test)]
mod tests;
