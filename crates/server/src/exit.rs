//! The end of a program that has failed: one line for people, the last on stderr.
//!
//! ```text
//! error: cannot open the model in /models/m: config.json: No such file or directory (os error 2)
//! ```

use std::backtrace::{Backtrace, BacktraceStatus};
use std::error::Error;
use std::io::{Write as _, stderr};
use std::process::ExitCode;

use tonic::Status;

use crate::watchdog::EngineLost;
use tandem_status::words;
use tandem_telemetry::logging;

/// The exit status of a server whose engine is lost: it would work if it were started again.
pub const ENGINE_LOST: u8 = 70;

/// Writes why a program fails, from the failure down to its causes, and returns its exit status: 1, or [`ENGINE_LOST`].
/// The backtrace comes before it, and only where `RUST_BACKTRACE` and a log at `debug` ask for it.
pub fn say<'a>(
    causes: impl IntoIterator<Item = &'a (dyn Error + 'static)>,
    backtrace: &Backtrace,
) -> ExitCode {
    let causes: Vec<_> = causes.into_iter().collect();
    let status = status(&causes);
    let said = chain(causes);
    // Errors of writing: nobody is left to tell.
    if backtrace.status() == BacktraceStatus::Captured && tracing::enabled!(tracing::Level::DEBUG) {
        let _ = writeln!(stderr(), "{backtrace}");
    }
    if logging::is_json() && tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!("{said}")
    } else {
        let _ = writeln!(stderr(), "error: {said}");
    }
    status
}

fn status(causes: &[&(dyn Error + 'static)]) -> ExitCode {
    if causes.iter().any(|cause| cause.is::<EngineLost>()) {
        ExitCode::from(ENGINE_LOST)
    } else {
        ExitCode::FAILURE
    }
}

/// An error and its causes in one text. Many errors say their cause themselves: it is not said again.
fn chain<'a>(causes: impl IntoIterator<Item = &'a (dyn Error + 'static)>) -> String {
    let mut text = String::new();
    for cause in causes {
        let status = cause.downcast_ref::<Status>();
        let said = status.map_or_else(|| cause.to_string(), words);
        if !text.ends_with(&said) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&said);
        }
        // What lies below a status, its words have said.
        if status.is_some() {
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use tandem_shape::Reason;
    use tandem_status::unavailable;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("cannot open the model")]
        Silent(#[source] io::Error),
        #[error("cannot open the model: {0}")]
        Telling(#[source] io::Error),
        #[error("asking the cloud")]
        Asking(#[source] Status),
    }

    fn said(error: &Outer) -> String {
        chain([error as &(dyn Error + 'static), error.source().unwrap()])
    }

    #[test]
    fn a_lost_engine_has_an_exit_status_of_its_own() {
        let lost =
            anyhow::Error::from(EngineLost::Ended("it has ended".to_owned())).context("serving");
        let causes: Vec<_> = lost.chain().collect();
        assert_eq!(status(&causes), ExitCode::from(ENGINE_LOST));
        let other = io::Error::other("no model");
        assert_eq!(status(&[&other]), ExitCode::FAILURE);
    }

    #[test]
    fn each_cause_is_said_once() {
        let missing = || io::Error::other("config.json is missing");
        let expected = "cannot open the model: config.json is missing";
        assert_eq!(said(&Outer::Silent(missing())), expected);
        assert_eq!(said(&Outer::Telling(missing())), expected);
    }

    #[test]
    fn a_status_is_said_in_words() {
        let away = unavailable(Reason::CloudUnreachable, "the cloud is away", None);
        assert_eq!(
            said(&Outer::Asking(away)),
            "asking the cloud: the cloud is away (UNAVAILABLE, CLOUD_UNREACHABLE)"
        );
    }
}
