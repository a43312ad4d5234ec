//! An answer on a terminal: its text as it comes, thoughts dimmed, and a line of figures in the last row.
//!
//! The figures are taken away before text is written, and written again behind it: no text ever meets them, wherever the
//! cursor is and however the terminal scrolls. They are written only while the cursor is within its row. Behind the last
//! column it is in a state that not every terminal keeps while another row is written; so the character that fills a row
//! waits for the next one.

use super::device::{Kind, Size};
use std::io::{self, Write};
use unicode_width::UnicodeWidthChar as _;

/// The least terminal that has a row for figures.
const LEAST: Size = Size {
    rows: 3,
    columns: 16,
};

/// Down one row, which scrolls in the last one, and up again: the cursor is not in the last row then.
const ROW_BELOW: &str = "\x0b\x1b[A";
const SAVE_CURSOR: &str = "\x1b7";
const RESTORE_CURSOR: &str = "\x1b8";
const CLEAR_ROW: &str = "\x1b[2K";
const CLEAR_BELOW: &str = "\x1b[J";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[m";

/// Shows one answer.
pub(super) struct AnswerView<W: Write, S: Fn() -> Option<Size>> {
    out: W,
    kind: Kind,
    size: S,
    /// What stands in the line that the cursor is in.
    line: String,
    /// What waits because it fills a row.
    held: Option<(String, Style)>,
    figures: String,
    /// How large the terminal was when the figures were written, while they are there.
    shown: Option<Size>,
    /// The part of the answer that was written last.
    part: Option<Style>,
    is_over: bool,
}

/// How a part of an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Said,
    Thought,
}

impl<W: Write, S: Fn() -> Option<Size>> AnswerView<W, S> {
    /// On an output whose cursor begins a line, which is as large as `size` says at the time.
    pub(super) fn new(out: W, kind: Kind, size: S) -> Self {
        Self {
            out,
            kind,
            size,
            line: String::new(),
            held: None,
            figures: String::new(),
            shown: None,
            part: None,
            is_over: false,
        }
    }

    /// Shows what is said.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        if !self.kind.is_terminal() {
            self.out.write_all(text.as_bytes())?;
            return self.out.flush();
        }
        self.add(text, Style::Said)
    }

    /// Shows what is thought, where a person reads it.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn think(&mut self, text: &str) -> io::Result<()> {
        if !self.kind.is_terminal() {
            return Ok(());
        }
        self.add(text, Style::Thought)
    }

    /// Shows figures, in place of those before.
    ///
    /// # Errors
    /// They cannot be written.
    pub(super) fn show_figures(&mut self, figures: String) -> io::Result<()> {
        if !self.kind.is_terminal() || (figures == self.figures && self.shown == (self.size)()) {
            return Ok(());
        }
        self.figures = figures;
        self.draw("")
    }

    /// Writes what waits, takes the figures away, and leaves the cursor behind the answer.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if self.is_over || !self.kind.is_terminal() {
            return Ok(());
        }
        self.is_over = true;
        let mut output = self.without_figures((self.size)());
        if let Some((text, style)) = self.held.take() {
            self.write(&mut output, &text, style);
        }
        if self.part == Some(Style::Thought) && !self.kind.has_styles() {
            output += "</think>";
        }
        self.out.write_all(output.as_bytes())?;
        self.out.flush()
    }

    fn add(&mut self, text: &str, style: Style) -> io::Result<()> {
        let mut text: String = text.chars().filter(|&c| is_shown(c)).collect();
        if text.is_empty() {
            return Ok(());
        }
        let size = (self.size)();
        let mut output = self.without_figures(size);
        match self.held.take() {
            Some((held, of)) if of == style => text.insert_str(0, &held),
            Some((held, of)) => self.write(&mut output, &held, of),
            None => {}
        }
        if self.part != Some(style) {
            self.begin(&mut output, style);
        }
        let held = size.map_or(0, |size| self.fills_a_row(&text, size.columns));
        let (now, later) = text.split_at(text.len() - held);
        self.write(&mut output, now, style);
        self.held = Some((later.to_owned(), style)).filter(|(later, _)| !later.is_empty());
        self.draw(&output)
    }

    /// Sets a part of the answer apart from the one before.
    fn begin(&mut self, output: &mut String, style: Style) {
        let is_marked = !self.kind.has_styles();
        match (self.part.replace(style), style) {
            (_, Style::Thought) if is_marked => self.write(output, "<think>", style),
            (Some(_), Style::Said) => {
                let mark = if is_marked { "</think>" } else { "" };
                let ends = if self.line.is_empty() && mark.is_empty() {
                    ""
                } else {
                    "\n"
                };
                self.write(output, &format!("{mark}{ends}\n"), style);
            }
            _ => {}
        }
    }

    /// Writes text that is shown, and keeps track of the line.
    fn write(&mut self, output: &mut String, text: &str, style: Style) {
        match text.rsplit_once('\n') {
            Some((_, last)) => last.clone_into(&mut self.line),
            None => self.line += text,
        }
        if style == Style::Thought && self.kind.has_styles() && !text.is_empty() {
            *output += DIM;
            *output += text;
            *output += PLAIN;
        } else {
            *output += text;
        }
    }

    /// How many bytes at the end of a text are what would leave the cursor behind the last column.
    fn fills_a_row(&self, text: &str, columns: usize) -> usize {
        let line = match text.rsplit_once('\n') {
            Some((_, last)) => last.to_owned(),
            None => format!("{}{text}", self.line),
        };
        if column(&line, columns) < columns {
            return 0;
        }
        // The last character, with what is written on top of it.
        let last = text.char_indices().rfind(|(_, c)| width(*c) > 0);
        last.map_or(0, |(at, _)| text.len() - at)
    }

    /// Writes this, then the figures.
    fn draw(&mut self, output: &str) -> io::Result<()> {
        let size = (self.size)();
        let mut output = format!("{}{output}", self.without_figures(size));
        let fits = size.filter(|size| size.rows >= LEAST.rows && size.columns >= LEAST.columns);
        if let Some(size) = fits
            && !self.figures.is_empty()
            && column(&self.line, size.columns) < size.columns
        {
            let (style, plain) = if self.kind.has_styles() {
                (DIM, PLAIN)
            } else {
                ("", "")
            };
            let figures = cut(&self.figures, size.columns - 1);
            let row = size.rows;
            output += &format!(
                "{ROW_BELOW}{SAVE_CURSOR}\x1b[{row};1H{CLEAR_ROW}{style}{figures}{plain}{RESTORE_CURSOR}"
            );
            self.shown = Some(size);
        }
        self.out.write_all(output.as_bytes())?;
        self.out.flush()
    }

    /// What takes the figures away, if they are there, from a terminal of this size.
    fn without_figures(&mut self, size: Option<Size>) -> String {
        match self.shown.take() {
            None => String::new(),
            Some(before) if Some(before) == size => {
                let row = before.rows;
                format!("{SAVE_CURSOR}\x1b[{row};1H{CLEAR_ROW}{RESTORE_CURSOR}")
            }
            // They are somewhere below: nothing else is.
            Some(_) => CLEAR_BELOW.to_owned(),
        }
    }
}

impl<W: Write, S: Fn() -> Option<Size>> Drop for AnswerView<W, S> {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Whether a character of an answer is shown: control characters, on which a terminal would act, are not.
fn is_shown(c: char) -> bool {
    !c.is_control() || matches!(c, '\n' | '\t')
}

fn width(c: char) -> usize {
    if c == '\t' { 1 } else { c.width().unwrap_or(0) }
}

/// The column that the cursor is in behind a line: as many as there are columns where it has filled its row.
fn column(line: &str, columns: usize) -> usize {
    line.chars().fold(0, |column, c| {
        let wide = width(c);
        if c == '\t' {
            (column / 8 * 8 + 8).min(columns.saturating_sub(1))
        } else if column + wide > columns {
            wide
        } else {
            column + wide
        }
    })
}

/// As much of a line as fits so many columns.
pub(super) fn cut(line: &str, columns: usize) -> &str {
    let mut used = 0;
    let end = line.char_indices().find(|(_, c)| {
        used += width(*c);
        used > columns
    });
    &line[..end.map_or(line.len(), |(at, _)| at)]
}

#[cfg(test)]
mod tests;
