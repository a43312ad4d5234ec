//! Prompts from a file of JSON lines.

use crate::error::{EvalError, Result};
use serde::Deserialize;
use std::path::Path;

/// A line: MT-bench's questions have `turns`, of which the first is taken, simpler files a `prompt`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Turns { turns: Vec<String> },
    Prompt { prompt: String },
}

/// The first `most` prompts of a file. Empty lines are passed over.
///
/// # Errors
/// When the file cannot be read, a line is not a prompt, or there is none.
pub fn read(path: &Path, most: usize) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|source| EvalError::Text {
        path: path.to_owned(),
        source,
    })?;
    let lines = text.lines().enumerate();
    let prompts: Vec<String> = lines
        .filter(|(_, line)| !line.trim().is_empty())
        .take(most)
        .map(|(number, line)| {
            let bad = || EvalError::Prompt {
                path: path.to_owned(),
                line: number + 1,
            };
            match serde_json::from_str(line).map_err(|_| bad())? {
                Line::Turns { turns } => turns.into_iter().next().ok_or_else(bad),
                Line::Prompt { prompt } => Ok(prompt),
            }
        })
        .collect::<Result<_>>()?;
    if prompts.is_empty() {
        Err(EvalError::Prompt {
            path: path.to_owned(),
            line: 1,
        })
    } else {
        Ok(prompts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn written(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn prompts_and_first_turns_are_read() {
        let file = written(
            "{\"prompt\": \"a\", \"id\": 1}\n\n{\"turns\": [\"b\", \"c\"]}\n{\"prompt\": \"d\"}\n",
        );
        assert_eq!(read(file.path(), 9).unwrap(), ["a", "b", "d"]);
        assert_eq!(read(file.path(), 2).unwrap(), ["a", "b"]);
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        for text in [
            "{\"prompt\": \"a\"}\n{\"turns\": []}",
            "{\"prompt\": \"a\"}\nno",
        ] {
            let file = written(text);
            let error = read(file.path(), 9).unwrap_err();
            assert!(
                matches!(error, EvalError::Prompt { line: 2, .. }),
                "{error}"
            );
        }
        assert!(read(written("").path(), 9).is_err());
    }
}
