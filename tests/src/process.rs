//! The servers as a user runs them: real processes, started, watched and ended by the test.

mod binaries;
mod health;
mod memory;
mod metrics;
mod options;
mod pair;
mod server;
#[cfg(test)]
mod tests;

pub use binaries::Binary;
pub use memory::Memory;
pub use metrics::Metrics;
pub use options::ServerOptions;
pub use pair::{Pair, PairOptions};
pub use server::Server;
