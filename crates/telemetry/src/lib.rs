//! What a server says of itself while it runs: [`logging`] writes its log, [`metrics`] counts for
//! Prometheus, and [`traces`] follow a request through both servers.

pub mod logging;
pub mod metrics;
pub mod traces;
