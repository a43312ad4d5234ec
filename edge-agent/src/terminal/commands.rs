//! What was typed, read: a message to answer, or a command that begins with a slash.

use super::message::{Typed, joined};
use std::path::PathBuf;

/// What `/help` says.
pub(super) const HELP: &str = r#"/system TEXT   what the system message says from here on; without a text, show it
/retry         answer the last message again
/reset         forget the conversation
/save FILE     write the conversation as JSON; without a name, into the file it was saved to or loaded from
/load FILE     go on with the conversation in a file
/stats         figures of the last answer
/help          this
/quit          leave (or Ctrl-D)
A line that ends with \ goes on in the next, and """ begins a text of several lines that ends with """.
Pasted lines are one message. // sends a message that begins with /. Ctrl-C stops an answer."#;

/// What somebody wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing was typed.
    Nothing,
    /// An answer to this.
    Answer(String),
    /// The last message answered again.
    Retry,
    /// Another system message, or to see it.
    System(Option<String>),
    /// The conversation forgotten.
    Reset,
    /// The conversation in a file, of that name or of the one that it has.
    Save(Option<PathBuf>),
    /// The conversation of a file.
    Load(PathBuf),
    /// Figures of the last answer.
    Stats,
    /// The commands.
    Help,
    /// The end.
    Quit,
}

/// Reads what was typed.
///
/// # Errors
/// There is no such command, or it lacks something.
pub(super) fn read(typed: &str) -> Result<Wish, String> {
    let Typed { head, block } = joined(typed);
    if let Some(text) = head.strip_prefix("//") {
        return Ok(Wish::Answer(format!("/{text}")));
    }
    if !head.starts_with('/') {
        let message = block.unwrap_or(head);
        return Ok(match message.trim() {
            "" => Wish::Nothing,
            _ => Wish::Answer(message),
        });
    }
    let (name, argument) = match head.split_once(char::is_whitespace) {
        Some((name, argument)) => (name, argument.trim().to_owned()),
        None => (&*head, String::new()),
    };
    let argument = Some(block.unwrap_or(argument)).filter(|argument| !argument.trim().is_empty());
    match (name, argument) {
        ("/system", text) => Ok(Wish::System(text)),
        ("/save", file) => Ok(Wish::Save(file.map(path))),
        ("/load", Some(file)) => Ok(Wish::Load(path(file))),
        ("/load", None) => Err("/load needs the name of a file".to_owned()),
        ("/retry", None) => Ok(Wish::Retry),
        ("/reset", None) => Ok(Wish::Reset),
        ("/stats", None) => Ok(Wish::Stats),
        ("/help", None) => Ok(Wish::Help),
        ("/quit" | "/exit", None) => Ok(Wish::Quit),
        ("/retry" | "/reset" | "/stats" | "/help" | "/quit" | "/exit", Some(_)) => {
            Err(format!("{name} stands alone"))
        }
        (name, _) => Err(format!(
            "{name} is no command: /help lists them, and // sends a message that begins with /"
        )),
    }
}

/// A file's name, in which `~/` is the home of whoever typed it.
fn path(name: String) -> PathBuf {
    match (name.strip_prefix("~/"), std::env::home_dir()) {
        (Some(below), Some(home)) => home.join(below),
        _ => PathBuf::from(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_from_commands() {
        let answer = |text: &str| Ok(Wish::Answer(text.to_owned()));
        for (typed, wish) in [
            ("", Ok(Wish::Nothing)),
            ("  \n ", Ok(Wish::Nothing)),
            ("\"\"\" \"\"\"", Ok(Wish::Nothing)),
            (" Hello? ", answer("Hello?")),
            ("a /quit", answer("a /quit")),
            ("//quit is what?", answer("/quit is what?")),
            ("\"\"\"/quit\n is what?\"\"\"", answer("/quit\n is what?")),
            (" /quit ", Ok(Wish::Quit)),
            ("/exit", Ok(Wish::Quit)),
            ("/reset", Ok(Wish::Reset)),
            ("/retry", Ok(Wish::Retry)),
            ("/stats", Ok(Wish::Stats)),
            ("/help", Ok(Wish::Help)),
        ] {
            assert_eq!(read(typed), wish, "{typed}");
        }
    }

    #[test]
    fn commands_take_what_stands_behind_them() {
        let system = |text: &str| Ok(Wish::System(Some(text.to_owned())));
        assert_eq!(read("/system"), Ok(Wish::System(None)));
        assert_eq!(read("/system  Be brief. "), system("Be brief."));
        assert_eq!(read("/system Be\\\nbrief."), system("Be\nbrief."));
        assert_eq!(
            read("/system \"\"\"\nBe\n brief.\n\"\"\""),
            system("Be\n brief.")
        );
        let file = || PathBuf::from("my talk.json");
        assert_eq!(read("/save my talk.json"), Ok(Wish::Save(Some(file()))));
        assert_eq!(read("/load my talk.json"), Ok(Wish::Load(file())));
        assert_eq!(read("/save"), Ok(Wish::Save(None)));
        let home = std::env::home_dir().unwrap();
        assert_eq!(read("/load ~/t.json"), Ok(Wish::Load(home.join("t.json"))));
    }

    #[test]
    fn what_is_no_command_is_said() {
        assert!(
            read("/load")
                .unwrap_err()
                .contains("needs the name of a file")
        );
        assert!(read("/quit now").unwrap_err().contains("stands alone"));
        let unknown = read("/usr/bin is what?").unwrap_err();
        assert!(unknown.starts_with("/usr/bin is no command"), "{unknown}");
    }

    #[test]
    fn help_names_every_command() {
        for name in [
            "system", "retry", "reset", "save", "load", "stats", "help", "quit",
        ] {
            assert!(HELP.contains(&format!("/{name} ")), "{name}");
        }
    }
}
