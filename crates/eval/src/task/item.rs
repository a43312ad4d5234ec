//! An item: what a model reads, and what it is asked to find likely.

use crate::error::{EvalError, Result};
use crate::task::formats;
use crate::task::name::TaskName;
use std::path::Path;

/// One item of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What may follow. A single one is to be what the model says itself.
    pub choices: Vec<Choice>,
    /// Which choice is right, from 0.
    pub gold: usize,
}

/// A context, and a text whose likelihood behind it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What comes before.
    pub context: String,
    /// What is scored, with the space that parts it from the context.
    pub continuation: String,
    /// Characters that the log-likelihood is divided by: Unicode scalar values, as lm-evaluation-harness
    /// counts them for `acc_norm` (`lm_eval/api/task.py`).
    pub characters: usize,
}

impl Choice {
    /// `text` behind `context`, parted by a space that does not count.
    pub fn new(context: &str, text: &str) -> Self {
        Self {
            context: context.to_owned(),
            continuation: format!(" {text}"),
            characters: text.chars().count(),
        }
    }
}

impl Item {
    /// Choices behind one context.
    pub fn new(context: &str, texts: &[impl AsRef<str>], gold: usize) -> Self {
        let choices = texts.iter().map(|t| Choice::new(context, t.as_ref()));
        Self {
            choices: choices.collect(),
            gold,
        }
    }

    /// The first half of BLAKE3 of all that is in it, in hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for choice in &self.choices {
            for text in [&choice.context, &choice.continuation] {
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
        }
        hasher.update(&(self.gold as u64).to_le_bytes());
        hasher.finalize().to_hex()[..32].to_owned()
    }

    fn check(self) -> std::result::Result<Self, String> {
        let blank = |choice: &Choice| choice.context.trim().is_empty();
        match self.choices.len() {
            0 => Err("there are no choices".to_owned()),
            count if self.gold >= count => Err(format!(
                "choice {} is the right one, counted from 0, of {count}",
                self.gold
            )),
            _ if self.choices.iter().any(blank) => Err("the text is blank".to_owned()),
            _ => Ok(self),
        }
    }
}

/// The first `most` items of a file of JSON lines. `labels` is PIQA's second file, a number a line.
/// Empty lines are passed over.
///
/// # Errors
/// When a file cannot be read, a line is not an item of the task, or there is none.
pub fn read(
    task: TaskName,
    data: &Path,
    labels: Option<&Path>,
    most: Option<usize>,
) -> Result<Vec<Item>> {
    let labels = match labels {
        None => None,
        Some(_) if task != TaskName::Piqa => return Err(EvalError::LabelsUnused { task }),
        Some(path) => Some((path, lines(path)?)),
    };
    let mut items = Vec::new();
    for (number, line) in lines(data)?.into_iter().take(most.unwrap_or(usize::MAX)) {
        let label = match &labels {
            None => None,
            Some((path, lines)) => Some(label(path, lines.get(items.len()))?),
        };
        let item = formats::item(task, &line, label).and_then(Item::check);
        items.push(item.map_err(|detail| EvalError::TaskLine {
            path: data.to_owned(),
            line: number,
            expected: formats::expected(task),
            detail,
        })?);
    }
    if items.is_empty() {
        Err(EvalError::NoItems {
            path: data.to_owned(),
        })
    } else {
        Ok(items)
    }
}

/// Lines that are not empty, with their numbers from 1.
fn lines(path: &Path) -> Result<Vec<(usize, String)>> {
    let text = std::fs::read_to_string(path).map_err(|source| EvalError::Text {
        path: path.to_owned(),
        source,
    })?;
    let lines = text.lines().zip(1..).filter(|(l, _)| !l.trim().is_empty());
    Ok(lines
        .map(|(line, number)| (number, line.to_owned()))
        .collect())
}

fn label(path: &Path, line: Option<&(usize, String)>) -> Result<usize> {
    let bad = |line, detail: String| EvalError::TaskLine {
        path: path.to_owned(),
        line,
        expected: "a label, 0 or 1, for every line of the data",
        detail,
    };
    let (number, text) = line.ok_or_else(|| bad(1, "there are fewer labels".to_owned()))?;
    let label = text.trim().parse();
    label.map_err(|e: std::num::ParseIntError| bad(*number, e.to_string()))
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

    const PIQA: &str = "{\"goal\": \"a\", \"sol1\": \"b\", \"sol2\": \"c\"}\n";

    #[test]
    fn labels_of_their_own_file_belong_to_the_lines_of_the_data() {
        let data = written(&format!("{PIQA}\n{PIQA}"));
        let labels = written("1\n0\n");
        let items = |most| read(TaskName::Piqa, data.path(), Some(labels.path()), most);
        let gold: Vec<_> = items(None).unwrap().iter().map(|i| i.gold).collect();
        assert_eq!(gold, [1, 0]);
        assert_eq!(items(Some(1)).unwrap().len(), 1);

        let few = written("1\n");
        let error = read(TaskName::Piqa, data.path(), Some(few.path()), None).unwrap_err();
        assert!(error.to_string().contains("fewer labels"), "{error}");
        let error = read(TaskName::Boolq, data.path(), Some(few.path()), None).unwrap_err();
        assert!(matches!(error, EvalError::LabelsUnused { .. }), "{error}");
    }

    #[test]
    fn a_bad_line_is_named_with_what_was_expected() {
        for (bad, detail) in [
            ("no", "expected ident"),
            (
                "{\"goal\": \"a\", \"sol1\": \"b\", \"sol2\": \"c\"}",
                "label",
            ),
            (
                "{\"goal\": \"a\", \"sol1\": \"b\", \"sol2\": \"c\", \"label\": 2}",
                "choice 2",
            ),
            ("{\"goal\": \"a\", \"label\": 1}", "sol1"),
        ] {
            let good = "{\"goal\": \"a\", \"sol1\": \"b\", \"sol2\": \"c\", \"label\": 1}";
            let data = written(&format!("{good}\n{bad}\n"));
            let error = read(TaskName::Piqa, data.path(), None, None).unwrap_err();
            let message = error.to_string();
            assert!(
                matches!(error, EvalError::TaskLine { line: 2, .. }),
                "{message}"
            );
            assert!(
                message.contains("`goal`") && message.contains(detail),
                "{message}"
            );
        }
        assert!(matches!(
            read(TaskName::Piqa, written("\n").path(), None, None),
            Err(EvalError::NoItems { .. })
        ));
        let blank = written("{\"context\": \" \", \"continuation\": \"a\"}");
        assert!(read(TaskName::Lambada, blank.path(), None, None).is_err());
    }

    #[test]
    fn a_fingerprint_tells_items_apart() {
        let item = Item::new("a", &["b", "c"], 0);
        let others = [
            Item::new("a", &["b", "c"], 1),
            Item::new("a", &["b", "d"], 0),
            Item::new("a ", &["b", "c"], 0),
        ];
        assert_eq!(item.fingerprint(), item.clone().fingerprint());
        for other in others {
            assert_ne!(item.fingerprint(), other.fingerprint());
        }
    }
}
