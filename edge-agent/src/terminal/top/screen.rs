//! A screen of its own for lines that are drawn again and again, left as it was found.

use super::super::answer_view::cut;
use super::super::device::{Size, size};
use std::io::{self, Write};

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_REST_OF_ROW: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// A terminal's other screen, until it is dropped.
pub(super) struct Screen<W: Write>(W);

impl<W: Write> Screen<W> {
    /// Turns to it.
    ///
    /// # Errors
    /// It cannot be written to.
    pub(super) fn new(mut out: W) -> io::Result<Self> {
        out.write_all(ENTER.as_bytes())?;
        out.flush()?;
        Ok(Self(out))
    }

    /// Shows these lines, as much of them as there is room for.
    ///
    /// # Errors
    /// It cannot be written to.
    pub(super) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let usual = Size {
            rows: 24,
            columns: 80,
        };
        self.0
            .write_all(drawn(lines, size().unwrap_or(usual)).as_bytes())?;
        self.0.flush()
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        let _ = self.0.write_all(LEAVE.as_bytes());
        let _ = self.0.flush();
    }
}

fn drawn(lines: &[String], size: Size) -> String {
    let mut output = HOME.to_owned();
    for (at, line) in lines.iter().take(size.rows).enumerate() {
        if at > 0 {
            output += "\r\n";
        }
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        // Clearing behind a full row would clear its last character.
        output += cut(&line, size.columns.saturating_sub(1));
        output += CLEAR_REST_OF_ROW;
    }
    output + CLEAR_BELOW
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU16;

    #[test]
    fn a_screen_shows_what_fits_and_nothing_of_before() {
        let side = |size| NonZeroU16::new(size).unwrap();
        let mut terminal = vt100::Parser::new(side(4), side(10), 100);
        let size = Size {
            rows: 4,
            columns: 10,
        };
        terminal.process(b"$ edge-agent top\r\n");
        let before = terminal.screen().contents();
        terminal.process(ENTER.as_bytes());
        let mut show = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
            terminal.process(drawn(&lines, size).as_bytes());
            terminal.screen().contents()
        };
        assert_eq!(
            show(&["0123456789a", "b", "c", "d", "e"]),
            "012345678\nb\nc\nd"
        );
        assert_eq!(show(&["z", "\x1b[31m界界界界界"]), "z\n[31m界界");
        assert_eq!(show(&[]), "");
        terminal.process(LEAVE.as_bytes());
        assert_eq!(terminal.screen().contents(), before);
        assert!(!terminal.screen().hide_cursor());
    }
}
