//! What each command does.

use crate::cli::{Cli, Command};
use crate::config::DEFAULTS;
use crate::generate::generate;
use crate::plan::plan;
use crate::serve::serve;
use crate::terminal::ask::ask;
use crate::terminal::chat::chat;
use crate::terminal::top::top;
use std::io::Write as _;
use tandem_prepare::{Part, prepare};
use tandem_proto::v1::generation_service_server::SERVICE_NAME;
use tandem_server::health;
use tandem_server::serve::runtime;

impl Cli {
    /// Runs the command to its end.
    ///
    /// # Errors
    /// Why it failed.
    pub fn run(self) -> anyhow::Result<()> {
        let computes = match &self.command {
            Command::Chat(args) => args.running.edge.is_none(),
            Command::Serve(_) | Command::Generate(_) | Command::Plan(_) | Command::Prepare(_) => {
                true
            }
            Command::Ask(_) | Command::Health(_) | Command::Top(_) | Command::Config => false,
        };
        if computes {
            #[cfg(feature = "torch")]
            tandem_program::environment::reexec_with_openmp_settings()?;
            // It works without them, in more memory.
            #[cfg(all(not(feature = "torch"), target_env = "musl"))]
            let _ = tandem_program::environment::reexec_with_allocator_settings();
        }
        if let Command::Prepare(args) = &self.command {
            let part = Part {
                layers: 0..args.split,
                head: false,
            };
            let prepared = prepare(&args.prepare, args.embedding.into(), |_| part)?;
            writeln!(std::io::stdout(), "{prepared}")?;
            return Ok(());
        }
        let runtime = runtime()?;
        let ended = runtime.block_on(async {
            match self.command {
                Command::Config => {
                    // Whoever reads the beginning alone may have gone.
                    let _ = std::io::stdout().write_all(DEFAULTS.as_bytes());
                    Ok(())
                }
                Command::Health(args) => {
                    Ok(health::check(&args.address, SERVICE_NAME, args.timeout.get()).await?)
                }
                Command::Ask(args) => ask(*args).await,
                Command::Top(args) => top(args).await,
                // Done above: it has nothing to wait for.
                Command::Prepare(_) => Ok(()),
                Command::Generate(args) => generate(*args).await,
                Command::Chat(args) => chat(*args).await,
                Command::Plan(args) => plan(*args).await,
                Command::Serve(args) => serve(args.load()?).await,
            }
        });
        // A model that is still being read cannot be told to stop, and must not hold up the end.
        runtime.shutdown_background();
        ended
    }
}
