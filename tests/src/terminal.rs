//! `edge-agent` as a person or a script uses it: on a terminal whose screen can be read, or with pipes.

use crate::process::Binary;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long anything may take to appear.
const WITHIN: Duration = Duration::from_secs(60);

/// A command that has run with pipes.
#[derive(Debug)]
pub struct Piped {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Its exit status.
    pub code: i32,
}

/// Runs `edge-agent` with this input to its end.
///
/// # Panics
/// It cannot be run.
pub fn piped(arguments: &[&str], input: &str) -> Piped {
    let mut child = Command::new(Binary::EdgeAgent.path())
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("edge-agent starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    // A command that fails does not read all of it.
    let typing = std::thread::spawn(move || stdin.write_all(input.as_bytes()).ok());
    let output = child.wait_with_output().expect("edge-agent ends");
    typing.join().expect("what is typed");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Piped {
        stdout: text(output.stdout),
        stderr: text(output.stderr),
        code: output.status.code().unwrap_or(-1),
    }
}

impl Piped {
    /// What it printed.
    ///
    /// # Panics
    /// It failed.
    pub fn succeeds(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// Why it failed, which is the one line on its standard error.
    ///
    /// # Panics
    /// It did not fail, or says more.
    pub fn fails(self) -> String {
        assert_eq!(self.code, 1, "{self:?}");
        let why = self.stderr.trim_end().strip_prefix("error: ");
        let why = why.unwrap_or_else(|| panic!("no `error: `: {self:?}"));
        assert_eq!(why.lines().count(), 1, "{why}");
        why.to_owned()
    }
}

/// `edge-agent` on a terminal.
pub struct Terminal {
    child: Child,
    keyboard: File,
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    screen: vt100::Parser,
    bytes: Vec<u8>,
}

impl Terminal {
    /// Starts a command on a terminal of that size, with these variables.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start(arguments: &[&str], variables: &[(&str, &str)], rows: u16, columns: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let own = openpt(flags).expect("a terminal");
        grantpt(&own).expect("a terminal of our own");
        unlockpt(&own).expect("a terminal to open");
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&own, size).expect("a terminal's size");
        let its = || Stdio::from(ioctl_tiocgptpeer(&own, flags).expect("a terminal's other end"));
        let child = Command::new(Binary::EdgeAgent.path())
            .args(arguments)
            .env_remove("NO_COLOR")
            .env_remove("RUST_LOG")
            .env("TERM", "xterm-256color")
            .envs(variables.iter().copied())
            .stdin(its())
            .stdout(its())
            .stderr(its())
            .spawn()
            .expect("edge-agent starts");
        let side = |size| NonZeroU16::new(size).expect("a size");
        let seen = Arc::new(Mutex::new(Seen {
            screen: vt100::Parser::new(side(rows), side(columns), 1000),
            bytes: Vec::new(),
        }));
        let keyboard = File::from(own);
        let mut output = keyboard.try_clone().expect("a terminal to read");
        let reading = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Ends with an error when the command has.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let mut seen = reading.lock().unwrap_or_else(PoisonError::into_inner);
                seen.screen.process(&bytes[..count]);
                seen.bytes.extend(&bytes[..count]);
            }
        });
        Self {
            child,
            keyboard,
            seen,
        }
    }

    /// Types; `\r` is the Enter key.
    ///
    /// # Panics
    /// The terminal is gone.
    pub fn type_in(&mut self, keys: &str) {
        self.keyboard
            .write_all(keys.as_bytes())
            .expect("a terminal");
    }

    /// Presses Ctrl-C while the command waits for no key.
    ///
    /// # Panics
    /// It is not running.
    pub fn interrupt(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).expect("a command to interrupt");
    }

    /// What the screen shows: a row a line.
    pub fn screen(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let screen = seen.screen.screen();
        let rows: Vec<String> = screen.rows(0, screen.size().1.get()).collect();
        rows.join("\n")
    }

    /// Everything that was written to the terminal.
    pub fn bytes(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&seen.bytes).into_owned()
    }

    /// Waits for a text on the screen.
    ///
    /// # Panics
    /// It does not appear.
    pub fn wait_for(&self, text: &str) {
        self.wait(|screen| screen.contains(text));
    }

    /// Waits for a screen.
    ///
    /// # Panics
    /// It does not appear.
    pub fn wait(&self, is_it: impl Fn(&str) -> bool) {
        let began = Instant::now();
        while !is_it(&self.screen()) {
            assert!(
                began.elapsed() < WITHIN,
                "on the screen:\n{}",
                self.screen()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the end of the command.
    ///
    /// # Panics
    /// It does not end.
    pub fn end(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a command") {
                return status;
            }
            assert!(
                began.elapsed() < WITHIN,
                "on the screen:\n{}",
                self.screen()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
