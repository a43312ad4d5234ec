//! What each command does.

use crate::cli::{Cli, Command};
use crate::config::DEFAULTS;
use crate::serve::serve;
use std::io::Write as _;
use tandem_model::EmbeddingType;
use tandem_prepare::{Part, prepare};
use tandem_proto::v1::split_service_server::SERVICE_NAME;
use tandem_server::health;
use tandem_server::serve::runtime;

impl Cli {
    /// Runs the command to its end.
    ///
    /// # Errors
    /// Why it failed.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Config => {
                // Whoever reads the beginning alone may have gone.
                let _ = std::io::stdout().write_all(DEFAULTS.as_bytes());
                Ok(())
            }
            Command::Health(args) => runtime()?.block_on(async {
                Ok(health::check(&args.address, SERVICE_NAME, args.timeout.get()).await?)
            }),
            Command::Prepare(args) => {
                #[cfg(feature = "torch")]
                tandem_program::environment::reexec_with_openmp_settings()?;
                let embedding = EmbeddingType::default();
                let first = args.first_layer;
                let prepared = prepare(&args.prepare, embedding, |layers| Part {
                    layers: first..layers,
                    head: true,
                })?;
                writeln!(std::io::stdout(), "{prepared}")?;
                Ok(())
            }
            Command::Serve(args) => {
                #[cfg(feature = "torch")]
                tandem_program::environment::reexec_with_openmp_settings()?;
                let config = args.load()?;
                let runtime = runtime()?;
                let ended = runtime.block_on(serve(config));
                // A model that is still being read cannot be told to stop, and must not hold up the
                // end.
                runtime.shutdown_background();
                ended
            }
        }
    }
}
