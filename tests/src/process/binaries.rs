//! Finding the binaries under test, and making sure that they are those of the source.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::paths::workspace;

/// A program of the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `cloud-service`.
    CloudService,
    /// `edge-agent`.
    EdgeAgent,
    /// `tandem-eval`.
    Eval,
}

impl Binary {
    const ALL: [Self; 3] = [Self::CloudService, Self::EdgeAgent, Self::Eval];

    /// Its name, which is its package's as well.
    pub fn name(self) -> &'static str {
        match self {
            Self::CloudService => "cloud-service",
            Self::EdgeAgent => "edge-agent",
            Self::Eval => "tandem-eval",
        }
    }

    /// The executable, built from the source as it is now: once for a test process, and once
    /// for a run of all tests under nextest. `TANDEM_BINARIES_BUILT=1` says that it was built
    /// just now; `TANDEM_BIN_DIR` names a folder whose binaries are taken as they are.
    ///
    /// # Panics
    /// It does not build. Cargo's own words are in the message.
    pub fn path(self) -> PathBuf {
        static FOLDER: OnceLock<PathBuf> = OnceLock::new();
        let folder = FOLDER.get_or_init(|| match locate_and_build() {
            Ok(folder) => folder,
            Err(error) => panic!("the binaries under test: {error:#}"),
        });
        let path = folder.join(self.name());
        assert!(path.is_file(), "there is no {}", path.display());
        path
    }
}

fn locate_and_build() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("TANDEM_BIN_DIR") {
        return Ok(folder.into());
    }
    let exe = env::current_exe().context("where this test lies")?;
    let folder = profile_folder(&exe)?;
    if env::var_os("TANDEM_BINARIES_BUILT").is_none_or(|built| built != "1") {
        build_once(&folder)?;
    }
    Ok(folder)
}

/// `target/release` of `target/release/deps/some_test-0123` or `target/release/some-binary`.
fn profile_folder(exe: &Path) -> Result<PathBuf> {
    let mut folder = exe.parent().context("this test lies in no folder")?;
    if matches!(folder.file_name(), Some(name) if name == "deps" || name == "examples") {
        folder = folder.parent().context("deps lies in no folder")?;
    }
    Ok(folder.to_owned())
}

/// One at a time among all test processes. nextest runs each test in a process of its own but
/// gives all of a run the same id: the first one builds and leaves the id for the others.
fn build_once(folder: &Path) -> Result<()> {
    let lock = File::create(folder.join(".tandem-binaries.lock")).context("the build's lock")?;
    lock.lock().context("the build's lock")?;
    let stamp = folder.join(".tandem-binaries.run");
    let run = env::var("NEXTEST_RUN_ID").ok();
    if run.is_some() && fs::read_to_string(&stamp).ok() == run {
        return Ok(());
    }
    build(folder)?;
    if let Some(run) = run {
        fs::write(&stamp, run).context("the build's stamp")?;
    }
    Ok(())
}

fn build(folder: &Path) -> Result<()> {
    let target = folder.parent().context("the profile lies in no folder")?;
    let profile = folder.file_name().context("a profile without a name")?;
    let profile = match profile.to_str() {
        Some("debug") => "dev",
        Some(name) => name,
        None => bail!("{} is not UTF-8", folder.display()),
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--locked", "--bins", "--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(workspace());
    for binary in Binary::ALL {
        command.args(["-p", binary.name()]);
    }
    let output = command
        .output()
        .with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Starts a program whose file may have been written a moment ago.
///
/// A process that is forked in this instant by another thread of the test may still hold the
/// file open for writing (a copy made by the test, say), which the kernel refuses to run.
pub(super) fn spawn(command: &mut Command) -> io::Result<std::process::Child> {
    for _ in 0..50 {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
    command.spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_read_off_the_test_itself() {
        for (exe, folder) in [
            ("/w/target/release/deps/a-1", "/w/target/release"),
            ("/w/target/debug/examples/a", "/w/target/debug"),
            ("/w/target/release/shaped-link", "/w/target/release"),
        ] {
            assert_eq!(profile_folder(Path::new(exe)).unwrap(), Path::new(folder));
        }
    }
}
