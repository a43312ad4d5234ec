//! What is typed, over as many lines as it takes: a line that ends with a backslash goes on in the next, and `"""` begins
//! a block that goes on to the next `"""`.

/// Around a block.
const FENCE: &str = "\"\"\"";

/// Whether all of it is there.
pub(super) fn is_whole(typed: &str) -> bool {
    match block(typed) {
        Some((_, rest)) => rest.trim_end().ends_with(FENCE),
        None => !typed.ends_with('\\'),
    }
}

/// What was typed, in one piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Typed {
    /// What stands in front of a block: a command, or nothing. Without a block, all of it.
    pub(super) head: String,
    /// What stands in a block.
    pub(super) block: Option<String>,
}

/// Puts the lines together.
pub(super) fn joined(typed: &str) -> Typed {
    let Some((head, rest)) = block(typed) else {
        return Typed {
            head: typed.replace("\\\n", "\n").trim().to_owned(),
            block: None,
        };
    };
    // Where the input has ended before the block, all of it is meant.
    let rest = rest.trim_end();
    let inner = rest.strip_suffix(FENCE).unwrap_or(rest);
    let inner = inner.strip_prefix('\n').unwrap_or(inner);
    let inner = inner.strip_suffix('\n').unwrap_or(inner);
    Typed {
        head: head.trim().to_owned(),
        block: Some(inner.to_owned()),
    }
}

/// The parts in front of and behind the mark that begins a block: at the beginning, or behind a command.
fn block(typed: &str) -> Option<(&str, &str)> {
    let trimmed = typed.trim_start();
    let begins = match trimmed.strip_prefix('/') {
        Some(command) => {
            let (_, argument) = command.split_once(char::is_whitespace)?;
            argument.trim_start()
        }
        None => trimmed,
    };
    let rest = begins.strip_prefix(FENCE)?;
    let head = &trimmed[..trimmed.len() - begins.len()];
    Some((head, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(typed: &str) -> String {
        let joined = joined(typed);
        assert_eq!(joined.block, None);
        joined.head
    }

    fn in_block(typed: &str) -> (String, String) {
        let joined = joined(typed);
        (joined.head, joined.block.unwrap())
    }

    #[test]
    fn a_backslash_at_the_end_goes_on_in_the_next_line() {
        assert!(is_whole("one line"));
        assert!(is_whole(""));
        assert!(!is_whole("one \\"));
        assert!(!is_whole("one \\\ntwo\\"));
        assert!(is_whole("one \\\ntwo"));
        assert_eq!(head("one \\\n  two\\\nthree "), "one \n  two\nthree");
        // As it was pasted: lines that end with none.
        assert!(is_whole("a\nb\n"));
        assert_eq!(head("a\nb\n"), "a\nb");
    }

    #[test]
    fn a_block_goes_on_to_its_end() {
        for part in [
            "\"\"\"",
            "\"\"\"a",
            "\"\"\"a\\",
            " \"\"\"\na\n\n",
            "/system \"\"\"a",
        ] {
            assert!(!is_whole(part), "{part}");
        }
        let empty = String::new;
        for (typed, inner) in [
            ("\"\"\"\"\"\"", ""),
            ("\"\"\"a b\"\"\"", "a b"),
            ("\"\"\"\na\\\n\n  b \n\"\"\" ", "a\\\n\n  b "),
            ("\"\"\"/help\"\"\"", "/help"),
            ("\"\"\"\n\"\" is empty\n\"\"\"", "\"\" is empty"),
        ] {
            assert!(is_whole(typed), "{typed}");
            assert_eq!(in_block(typed), (empty(), inner.to_owned()));
        }
        let command = "/system \"\"\"\nBe brief.\nBe kind.\n\"\"\"";
        assert!(is_whole(command));
        let (name, text) = in_block(command);
        assert_eq!((&*name, &*text), ("/system", "Be brief.\nBe kind."));
    }

    #[test]
    fn marks_in_the_middle_begin_nothing() {
        let code = "def f():\n    \"\"\"What f does.";
        assert!(is_whole(code));
        assert_eq!(head(code), code);
    }

    #[test]
    fn what_ended_too_early_is_taken_as_it_is() {
        assert_eq!(
            in_block("\"\"\"\na\nb\n"),
            (String::new(), "a\nb".to_owned())
        );
        assert_eq!(head("a\\"), "a\\");
    }
}
