//! The binary cloud-service.

use cloud_service::cli::Cli;
use std::process::ExitCode;
use tandem_server::exit;

fn main() -> ExitCode {
    match Cli::read().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::say(error.chain(), error.backtrace()),
    }
}
