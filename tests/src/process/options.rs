//! How a server is to be started, beyond what every server is told.

use super::binaries::Binary;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

/// What a test wants to differ. The default is the shipped configuration.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    pub(super) config: Option<String>,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) deadline: Duration,
    pub(super) program: Option<PathBuf>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            config: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            deadline: Duration::from_secs(60),
            program: None,
        }
    }
}

impl ServerOptions {
    /// YAML for `--config`: only the keys that differ. Flags win over it.
    pub fn config(mut self, yaml: impl Into<String>) -> Self {
        self.config = Some(yaml.into());
        self
    }

    /// One more flag or value, after those the harness gives.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Several more.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        let arguments = arguments.into_iter();
        self.arguments
            .extend(arguments.map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// A variable in the server's environment, on top of the test's own.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let variable = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.environment.push(variable);
        self
    }

    /// Another program than the one of this build, such as another version's.
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    pub(super) fn path_of(&self, binary: Binary) -> PathBuf {
        self.program.clone().unwrap_or_else(|| binary.path())
    }

    /// How long the server may take until it serves: a minute, unless this says otherwise.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}
