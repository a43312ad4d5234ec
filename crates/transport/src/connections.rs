//! The connections that a listener takes, and what each may cost.
//!
//! [`ConnectionsConfig`] has the limits, [`Places`] counts who has how many, `accept` takes connections from
//! the system within them, whatever the system says, and [`FirstCall`] closes those that never call.

mod accept;
mod config;
mod first_call;
mod places;

pub(crate) use accept::{Accepted, accept};
pub use config::ConnectionsConfig;
pub use first_call::{Called, FirstCall};
pub use places::{ConnectionMetrics, Place, Places};

#[cfg(test)]
mod tests;
