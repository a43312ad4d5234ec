//! Logs on stderr, as text for people or as JSON lines for collectors. Stdout stays untouched: it
//! carries results.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use tandem_config::{Validate, Violations};

/// The section `log` of a server's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// How a line looks.
    pub format: LogFormat,
    /// Which lines appear: `info`, or directives as in `info,h2=warn`. The environment variable
    /// `RUST_LOG` wins over it.
    pub level: String,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people; in colour on a terminal unless `NO_COLOR` is set.
    Text,
    /// One JSON object a line, its fields on the top level.
    Json,
}

impl Validate for LogConfig {
    fn validate(&self, at: &mut Violations) {
        if let Err(error) = directives(&self.level) {
            at.push(
                "level",
                format!("`{}` is not a log filter: {error}", self.level),
            );
        }
    }
}

/// Logs cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level or `RUST_LOG` cannot be parsed.
    #[error("{source_name} `{filter}` is not a log filter: {error}")]
    Filter {
        /// Which of the two.
        source_name: &'static str,
        /// Its value.
        filter: String,
        /// What is wrong with it.
        error: ParseError,
    },
    /// Something in this process has started logs before.
    #[error("logs were started twice")]
    Twice,
}

/// Whether the lines of this process are JSON.
static JSON: AtomicBool = AtomicBool::new(false);

/// Whether the lines of this process' log are JSON, which every line on stderr should be then.
pub fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Stderr, whose reader may have gone (`2>&1 | head`) or whose disk may be full. A server serves on
/// without its log; the subscriber's own complaint about it would go to the same place, and panic.
#[derive(Debug)]
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts the logs of this process.
///
/// # Errors
/// The filter cannot be parsed, or logs have been started before.
pub fn init(config: &LogConfig) -> Result<(), LogError> {
    let from_environment = std::env::var("RUST_LOG")
        .ok()
        .filter(|value| !value.is_empty());
    let (source_name, filter) = match from_environment {
        Some(filter) => ("RUST_LOG", filter),
        None => ("log.level", config.level.clone()),
    };
    let filter = directives(&filter).map_err(|error| LogError::Filter {
        source_name,
        filter,
        error,
    })?;
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(|| Stderr);
    let started = match config.format {
        LogFormat::Text => subscriber.with_ansi(colours).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    started.map_err(|_| LogError::Twice)?;
    JSON.store(config.format == LogFormat::Json, Ordering::Relaxed);
    Ok(())
}

fn directives(filter: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(filter)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Holds the format for the child process of a test alone.
    const CHILD: &str = "TANDEM_TEST_LOGGING_CHILD";

    #[test]
    fn the_level_is_checked_with_the_rest_of_the_configuration() {
        let config = |level: &str| LogConfig {
            format: LogFormat::Text,
            level: level.to_owned(),
        };
        for good in ["info", "debug,h2=warn", "tandem_engine=trace"] {
            assert_eq!(Violations::of(&config(good)), []);
        }
        let found = Violations::of(&config("info,h2=loud"));
        assert_eq!(found[0].path.to_string(), "level");
        assert!(
            found[0]
                .message
                .contains("`info,h2=loud` is not a log filter")
        );
    }

    #[test]
    fn formats_are_written_in_lower_case() {
        let config: LogConfig = serde_yaml::from_str("{format: json, level: info}").unwrap();
        assert_eq!(config.format, LogFormat::Json);
        assert!(serde_yaml::from_str::<LogConfig>("{format: xml, level: info}").is_err());
    }

    /// Not a test of its own: a process that logs.
    #[test]
    #[ignore = "runs in a child process"]
    fn child() {
        let Ok(format) = std::env::var(CHILD) else {
            return;
        };
        let config: LogConfig =
            serde_yaml::from_str(&format!("{{format: {format}, level: info}}")).unwrap();
        init(&config).unwrap();
        tracing::info!(sessions = 4, "serving");
        tracing::debug!("hidden");
        assert!(matches!(init(&config), Err(LogError::Twice)));
    }

    /// What a process that logs in this format writes: stdout and stderr.
    fn logged(format: &str, rust_log: &str) -> (String, String) {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "logging::tests::child",
                "--ignored",
                "--nocapture",
            ])
            .env(CHILD, format)
            .env("RUST_LOG", rust_log)
            .output()
            .unwrap();
        assert!(output.status.success());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    }

    #[test]
    fn logs_go_to_stderr_and_leave_stdout_alone() {
        let (stdout, stderr) = logged("text", "");
        assert!(
            stderr.contains("INFO") && stderr.contains("serving sessions=4"),
            "{stderr}"
        );
        assert!(
            !stderr.contains("hidden") && !stderr.contains('\u{1b}'),
            "{stderr}"
        );
        assert!(!stdout.contains("serving"), "{stdout}");

        let (stdout, stderr) = logged("json", "");
        let line: serde_yaml::Value = serde_yaml::from_str(&stderr).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "serving");
        assert_eq!(line["sessions"], 4);
        assert!(!stdout.contains("serving"), "{stdout}");
    }

    #[test]
    fn rust_log_wins_over_the_configuration() {
        assert!(logged("text", "debug").1.contains("hidden"));
        assert_eq!(logged("text", "off").1, "");
    }
}
