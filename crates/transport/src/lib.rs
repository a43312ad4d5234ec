//! Connections between clients, edge and cloud.
//!
//! [`grpc`] holds the settings of HTTP/2 and the sockets, [`connections`] how many there may be, [`tls`] shakes hands, [`auth`] says who is at the
//! other end, [`data_port`] puts both in front of services, [`reload`] takes new certificates and tokens
//! while all that runs, [`timeout`] reads a caller's deadline, and [`reflection`] describes the services.

pub mod auth;
pub mod connections;
pub mod data_port;
pub mod grpc;
pub mod reflection;
pub mod reload;
pub mod timeout;
pub mod tls;
