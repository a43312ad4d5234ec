//! The binary edge-agent.

use edge_agent::cli::Cli;
use std::process::ExitCode;
use tandem_server::exit;

/// musl's own takes a lock for every allocation.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::read().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::say(error.chain(), error.backtrace()),
    }
}
