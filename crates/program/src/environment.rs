//! Settings of libraries that must stand in the environment before the process starts: what reads them does
//! so before `main`. So a binary replaces itself, once, with itself and a better environment.
//!
//! libgomp's workers spin after each parallel region, so that two processes with libtorch on the
//! same cores steal from each other: a token through an edge and a cloud on one machine took a
//! fifth to a half longer than unsplit, and 2% longer with `GOMP_SPINCOUNT=10000`. libgomp reads
//! the variable when it is loaded.
//!
//! mimalloc, the allocator of static binaries, reserves its memory at the first allocation, in huge pages
//! where the system has them: an edge with a tokenizer and no layers took 29 MB, and takes 18 without them.

use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Command};

/// Spins of an idle worker before it sleeps.
const SPIN_COUNT: &str = "10000";

/// Holds the id of the process that has replaced itself, so that no process does it twice, while a
/// child that inherits the variable still may.
const GUARD: &str = "TANDEM_SETTINGS_OF_PROCESS";

/// Replaces this process with itself (same id, same arguments) with `GOMP_SPINCOUNT` and
/// `OMP_NUM_THREADS` set, and returns only if nothing is to be set. What the user has set stays;
/// `OMP_WAIT_POLICY` counts as a spin count. The number of threads is what
/// [`std::thread::available_parallelism`] says, which sees a container's CPU quota.
///
/// To be called first in `main`, before any thread, file or socket: it all would be lost.
///
/// # Errors
/// The process cannot be replaced. It may go on: it works, more slowly.
pub fn reexec_with_openmp_settings() -> io::Result<()> {
    let threads = std::thread::available_parallelism().ok();
    reexec(&openmp(is_set, threads))
}

/// The same with what mimalloc is to be told.
///
/// # Errors
/// As [`reexec_with_openmp_settings`].
pub fn reexec_with_allocator_settings() -> io::Result<()> {
    reexec(&allocator(is_set))
}

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some()
}

fn reexec(settings: &[(&'static str, OsString)]) -> io::Result<()> {
    let id = process::id().to_string();
    if env::var_os(GUARD).is_some_and(|of| of == *id) {
        return Ok(());
    }
    if settings.is_empty() {
        return Ok(());
    }
    match replace(env::current_exe()?, settings, &id) {
        // The file was removed or replaced since the start; the kernel still holds it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            replace(PathBuf::from("/proc/self/exe"), settings, &id).map(|never| match never {})
        }
        Err(error) => Err(error),
    }
}

fn replace(program: PathBuf, settings: &[(&str, OsString)], id: &str) -> io::Result<Infallible> {
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command
        .args(arguments)
        .env(GUARD, id)
        .envs(settings.iter().cloned());
    Err(command.exec())
}

/// What mimalloc is to be told, given which variables are set.
fn allocator(is_set: impl Fn(&str) -> bool) -> Vec<(&'static str, OsString)> {
    const EAGER: &str = "MIMALLOC_ARENA_EAGER_COMMIT";
    if is_set(EAGER) {
        Vec::new()
    } else {
        vec![(EAGER, OsString::from("0"))]
    }
}

/// What OpenMP is to be told, given which variables are set.
fn openmp(
    is_set: impl Fn(&str) -> bool,
    threads: Option<NonZeroUsize>,
) -> Vec<(&'static str, OsString)> {
    let mut settings = Vec::new();
    if !is_set("GOMP_SPINCOUNT") && !is_set("OMP_WAIT_POLICY") {
        settings.push(("GOMP_SPINCOUNT", OsString::from(SPIN_COUNT)));
    }
    if let Some(threads) = threads.filter(|_| !is_set("OMP_NUM_THREADS")) {
        settings.push(("OMP_NUM_THREADS", OsString::from(threads.to_string())));
    }
    settings
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    /// Set for the child process of a test alone.
    const CHILD: &str = "TANDEM_TEST_OPENMP_CHILD";

    #[test]
    fn what_the_user_has_set_stays() {
        let names = |set: &'static [&'static str]| {
            let settings = openmp(|name| set.contains(&name), NonZeroUsize::new(3));
            settings
                .into_iter()
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["GOMP_SPINCOUNT", "OMP_NUM_THREADS"]);
        assert_eq!(names(&["OMP_WAIT_POLICY"]), ["OMP_NUM_THREADS"]);
        assert_eq!(names(&["GOMP_SPINCOUNT"]), ["OMP_NUM_THREADS"]);
        assert_eq!(names(&["OMP_NUM_THREADS"]), ["GOMP_SPINCOUNT"]);
        assert!(names(&["GOMP_SPINCOUNT", "OMP_NUM_THREADS"]).is_empty());
    }

    /// Not a test of its own: what the child of the next test runs.
    #[test]
    #[ignore = "runs in a child process"]
    fn child() {
        if env::var_os(CHILD).is_none() {
            return;
        }
        reexec_with_openmp_settings().unwrap();
        let variable = |name| env::var(name).unwrap_or_default();
        println!(
            "child {} {} {} {}",
            process::id(),
            variable("GOMP_SPINCOUNT"),
            variable("OMP_NUM_THREADS"),
            env::args()
                .filter(|argument| argument == "environment::tests::child")
                .count(),
        );
    }

    #[test]
    fn a_process_replaces_itself_once_and_keeps_its_id_and_arguments() {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "environment::tests::child",
                "--ignored",
                "--nocapture",
            ])
            .env_remove("OMP_WAIT_POLICY")
            .env_remove("GOMP_SPINCOUNT")
            .env("OMP_NUM_THREADS", "7")
            .env(CHILD, "1")
            .stdout(Stdio::piped());
        let child = command.spawn().unwrap();
        let id = child.id();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        assert!(text.contains(&format!("child {id} 10000 7 1")), "{text}");
    }
}
