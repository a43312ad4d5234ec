//! Reading what is typed: edited on a terminal, line by line from anything else.

use super::history;
use super::message::is_whole;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::{FileHistory, History as _};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Cmd, Config, Editor, EventHandler, Helper, KeyCode, KeyEvent, Modifiers};
use std::io::{self, BufRead, IsTerminal as _, Write as _};
use std::path::PathBuf;
use tokio::sync::{mpsc, oneshot};

/// Before what is typed.
const PROMPT: &str = "> ";

type Reply = anyhow::Result<Option<String>>;

/// Reads on a thread of its own, because reading blocks and answers must not wait for it.
#[derive(Debug)]
pub(super) struct Prompt {
    wanted: mpsc::Sender<oneshot::Sender<Reply>>,
}

impl Prompt {
    /// Reads standard input. On a terminal, what was typed in earlier chats lies in `history`.
    ///
    /// # Errors
    /// The terminal or a thread cannot be had.
    pub(super) fn start(history: Option<PathBuf>) -> anyhow::Result<Self> {
        let (wanted, requests) = mpsc::channel(1);
        let thread = std::thread::Builder::new().name("prompt".to_owned());
        // Both end when the conversation drops its sender.
        if io::stdin().is_terminal() {
            let mut lines = EditedLines::new(history)?;
            thread.spawn(move || serve(requests, || Ok(lines.next())))?;
        } else {
            thread.spawn(move || {
                let mut input = io::stdin().lock();
                serve(requests, || Ok(next_whole(&mut input)?));
            })?;
        }
        Ok(Self { wanted })
    }

    /// The next message or command, unless the input has ended.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn next(&self) -> Reply {
        let (reply, line) = oneshot::channel();
        if self.wanted.send(reply).await.is_err() {
            return Ok(None);
        }
        line.await.unwrap_or(Ok(None))
    }
}

fn serve(mut requests: mpsc::Receiver<oneshot::Sender<Reply>>, mut next: impl FnMut() -> Reply) {
    while let Some(reply) = requests.blocking_recv() {
        let _ = reply.send(next());
    }
}

/// The next lines that belong together. What is not whole at the end of the input is taken as it is.
fn next_whole(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut typed = String::new();
    while input.read_line(&mut typed)? > 0 {
        let line = typed.strip_suffix('\n').unwrap_or(&typed);
        let line = line.strip_suffix('\r').unwrap_or(line);
        typed.truncate(line.len());
        if is_whole(&typed) {
            return Ok(Some(typed));
        }
        typed.push('\n');
    }
    Ok(Some(typed).filter(|typed| !typed.is_empty()))
}

/// Lines that are edited on a terminal.
struct EditedLines {
    editor: Editor<Lines, FileHistory>,
    history: Option<PathBuf>,
}

impl EditedLines {
    fn new(history: Option<PathBuf>) -> anyhow::Result<Self> {
        let config = Config::builder()
            .max_history_size(history::MOST)?
            .history_ignore_dups(true)?
            .build();
        let mut editor = Editor::with_config(config)?;
        editor.set_helper(Some(Lines));
        editor.bind_sequence(
            KeyEvent(KeyCode::Enter, Modifiers::ALT),
            EventHandler::Simple(Cmd::Newline),
        );
        let mut lines = Self { editor, history };
        if let Some(path) = &lines.history {
            let loaded = history::load(lines.editor.history_mut(), path);
            lines.note(loaded);
        }
        Ok(lines)
    }

    fn next(&mut self) -> Option<String> {
        loop {
            match self.editor.readline(PROMPT) {
                Ok(typed) => {
                    self.remember(&typed);
                    return Some(typed);
                }
                Err(ReadlineError::Interrupted) => {
                    let _ = writeln!(io::stdout(), "(Ctrl-D or /quit leaves)");
                }
                Err(_) => return None,
            }
        }
    }

    fn remember(&mut self, typed: &str) {
        if !history::keeps(typed) {
            return;
        }
        let history = self.editor.history_mut();
        let mut kept = history.add(typed).map(drop);
        if let Some(path) = &self.history {
            kept = kept.and_then(|()| history.append(path));
        }
        self.note(kept);
    }

    /// Goes on without the file where it cannot be used, and says so once.
    fn note(&mut self, outcome: rustyline::Result<()>) {
        if let Err(error) = outcome
            && let Some(path) = self.history.take()
        {
            let path = path.display();
            let _ = writeln!(
                io::stderr(),
                "(nothing is kept for later chats in {path}: {error})"
            );
        }
    }
}

/// Lines that belong together are edited together.
struct Lines;

impl Validator for Lines {
    fn validate(&self, typed: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_whole(typed.input()) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Completer for Lines {
    type Candidate = String;
}

impl Hinter for Lines {
    type Hint = String;
}

impl Highlighter for Lines {}

impl Helper for Lines {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_belong_together_come_together() {
        let text = "one\r\n\ntwo\\\nlines\n\"\"\"\nthree\n\nlines\n\"\"\"\n/quit";
        let mut input = text.as_bytes();
        let mut read = Vec::new();
        while let Some(typed) = next_whole(&mut input).unwrap() {
            read.push(typed);
        }
        let block = "\"\"\"\nthree\n\nlines\n\"\"\"";
        assert_eq!(read, ["one", "", "two\\\nlines", block, "/quit"]);
    }

    #[test]
    fn what_has_no_end_is_read_to_the_end_of_the_input() {
        let mut input = "\"\"\"\na\nb\n".as_bytes();
        let typed = next_whole(&mut input).unwrap();
        assert_eq!(typed.as_deref(), Some("\"\"\"\na\nb\n"));
        assert_eq!(next_whole(&mut input).unwrap(), None);
        assert!(next_whole(&mut &b"\xff\n"[..]).is_err());
    }
}
