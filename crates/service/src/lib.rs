//! What both servers share, so that they behave alike where a person who runs them can see it.
//!
//! In the order in which a server meets them: [`config`] loads the one typed tree of settings, [`logging`] starts the logs, [`metrics`]
//! installs the recorder for a catalogue of metrics, [`health`] says what is ready, [`admin`]
//! serves both of these on a listener of their own, [`grpc`] holds the transport's settings, [`tls`]
//! shakes hands, [`auth`] says who is at the other end, [`data_port`] puts both in front of services,
//! [`reload`] takes new certificates and tokens while all that runs, [`reflection`] describes the
//! services, [`timeout`] and [`status`] read a caller's deadline and answer with details, [`traces`]
//! follow a request through both servers, and [`drain`] ends it all within a deadline. [`machine`] names what figures were measured on; [`exit`] says why a
//! program ends.

pub mod admin;
pub mod auth;
pub mod config;
pub mod data_port;
pub mod drain;
pub mod exit;
pub mod grpc;
pub mod health;
pub mod logging;
pub mod machine;
pub mod metrics;
pub mod reflection;
pub mod reload;
pub mod status;
pub mod timeout;
pub mod tls;
pub mod traces;
