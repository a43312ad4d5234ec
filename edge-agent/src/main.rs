//! The binary edge-agent.

use edge_agent::cli::{Cli, Command};
use edge_agent::config::DEFAULTS;
use edge_agent::generate::generate;
use edge_agent::plan::plan;
use edge_agent::serve::serve;
use edge_agent::terminal::ask::ask;
use edge_agent::terminal::chat::chat;
use edge_agent::terminal::top::top;
use std::io::Write as _;
use std::process::ExitCode;
use tandem_prepare::{Part, prepare};
use tandem_proto::v1::generation_service_server::SERVICE_NAME;
use tandem_server::serve::runtime;
use tandem_server::{exit, health};

/// musl's own takes a lock for every allocation.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(Cli::read()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::say(error.chain(), error.backtrace()),
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let computes = match &cli.command {
        Command::Chat(args) => args.running.edge.is_none(),
        Command::Serve(_) | Command::Generate(_) | Command::Plan(_) | Command::Prepare(_) => true,
        Command::Ask(_) | Command::Health(_) | Command::Top(_) | Command::Config => false,
    };
    if computes {
        #[cfg(feature = "torch")]
        tandem_program::environment::reexec_with_openmp_settings()?;
        // It works without them, in more memory.
        #[cfg(all(not(feature = "torch"), target_env = "musl"))]
        let _ = tandem_program::environment::reexec_with_allocator_settings();
    }
    if let Command::Prepare(args) = &cli.command {
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
        match cli.command {
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
