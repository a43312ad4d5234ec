//! The terminal itself: how large it is, what it can show, and how its keyboard is read.

use rustix::termios::{
    self, InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use std::env;
use std::io::{self, IsTerminal as _};

/// How large a terminal is, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// What can be done with an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file, a pipe, or a terminal that can do no more than print.
    Plain,
    /// A terminal whose lines can be drawn again.
    Terminal {
        /// Whether text may be dimmed.
        has_styles: bool,
    },
}

impl Kind {
    /// What standard output is.
    pub(super) fn of_stdout() -> Self {
        let value = |name| env::var(name).unwrap_or_default();
        Self::new(
            io::stdout().is_terminal(),
            &value("TERM"),
            &value("NO_COLOR"),
        )
    }

    fn new(is_terminal: bool, term: &str, no_color: &str) -> Self {
        if is_terminal && !matches!(term, "" | "dumb") {
            Self::Terminal {
                has_styles: no_color.is_empty(),
            }
        } else {
            Self::Plain
        }
    }

    /// Whether lines can be drawn again.
    pub(super) fn is_terminal(self) -> bool {
        matches!(self, Self::Terminal { .. })
    }

    /// Whether text may be dimmed.
    pub(super) fn has_styles(self) -> bool {
        matches!(self, Self::Terminal { has_styles: true })
    }
}

/// How large standard output is, where it is a terminal that knows.
pub(super) fn size() -> Option<Size> {
    let size = termios::tcgetwinsize(io::stdout()).ok()?;
    Some(Size {
        rows: size.ws_row.into(),
        columns: size.ws_col.into(),
    })
}

/// How the keyboard was read before, which it is again when this is dropped.
#[derive(Debug)]
pub(super) struct Keyboard(Termios);

impl Keyboard {
    /// As it is. Absent where standard input is no terminal.
    pub(super) fn as_it_is() -> Option<Self> {
        tcgetattr(io::stdin()).ok().map(Self)
    }

    /// What is typed is not shown, and waits for whoever reads next. Ctrl-C still interrupts.
    pub(super) fn silent() -> Option<Self> {
        Self::changed(|modes| modes.local_modes.remove(LocalModes::ECHO))
    }

    /// The same, and each key is there to be read at once.
    pub(super) fn key_by_key() -> Option<Self> {
        Self::changed(|modes| {
            modes
                .local_modes
                .remove(LocalModes::ECHO | LocalModes::ICANON);
            modes.input_modes.remove(InputModes::IXON);
            modes.special_codes[SpecialCodeIndex::VMIN] = 1;
            modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        })
    }

    fn changed(change: impl Fn(&mut Termios)) -> Option<Self> {
        let before = Self::as_it_is()?;
        let mut modes = before.0.clone();
        change(&mut modes);
        // A command that is stopped in the middle of its drawing would leave it behind.
        modes.special_codes[SpecialCodeIndex::VSUSP] = NO_KEY;
        tcsetattr(io::stdin(), OptionalActions::Now, &modes).ok()?;
        Some(before)
    }
}

/// Stands for no key, in the list of keys that a terminal acts upon.
const NO_KEY: u8 = if cfg!(target_os = "linux") { 0 } else { 0xff };

impl Drop for Keyboard {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_that_can_is_drawn_on() {
        let styled = Kind::new(true, "xterm-256color", "");
        assert!(styled.is_terminal() && styled.has_styles());
        let plain = Kind::new(true, "xterm", "1");
        assert!(plain.is_terminal() && !plain.has_styles());
        for (is_terminal, term) in [(false, "xterm"), (true, "dumb"), (true, "")] {
            assert_eq!(Kind::new(is_terminal, term, ""), Kind::Plain);
        }
    }
}
