//! The pair as real processes, through real links: the ground that the end-to-end tests and the
//! benchmark stand on.
//!
//! - [`process`] builds the workspace's binaries, starts them, waits for their health, reads
//!   their metrics and memory, ends them, and shows their logs when a test fails.
//! - [`link`] puts a network between them: a rate, a round trip, a bounded queue; it counts
//!   every byte, can be paused and cut, and alters a byte when told to.
//! - [`split_session`] speaks the split API by hand.
//! - [`collector`] takes the traces that servers export.
//! - [`port`] holds loopback ports that nobody else can take.
//! - [`client`] asks as a user would; [`altered`] makes copies of a model with something changed.
//! - [`terminal`] runs `edge-agent`'s commands as a person or a script does.
//! - [`paths`] finds fixtures and the default model.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use tandem_tests::link::{LinkProfile, Rate};
//! use tandem_tests::paths::default_model;
//! use tandem_tests::process::{Pair, PairOptions};
//!
//! let slow = LinkProfile::new(Duration::from_millis(80), Some(Rate::mbit(10)));
//! let options = PairOptions::default().link(slow);
//! let pair = Pair::start(&default_model(), 10, options).await?;
//! // … a client of pair.edge.url() …
//! let sent = pair.link().take_counters().total.up.sent;
//! let peak = pair.edge.memory()?.peak;
//! # let _ = (sent, peak);
//! # Ok(())
//! # }
//! ```

pub mod altered;
pub mod client;
pub mod collector;
pub mod link;
pub mod paths;
pub mod port;
pub mod process;
pub mod split_session;
pub mod statistics;
pub mod terminal;
