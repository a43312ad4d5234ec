//! How each data set's lines become items: the prompt formats of EleutherAI's lm-evaluation-harness
//! (`lm_eval/tasks/`, version 1.0 of these tasks, 2.0 of BoolQ), without examples before them.
//!
//! A choice stands behind its context and one space, the harness's `target_delimiter`.

mod arc;
mod boolq;
mod hellaswag;
mod lambada;
mod lettered;
mod openbookqa;
mod piqa;
mod winogrande;

use crate::task::item::Item;
use crate::task::name::TaskName;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A line of a data set.
trait Record: DeserializeOwned {
    /// What a line should be.
    const EXPECTED: &'static str;

    /// The item, or what is wrong with it. `label` comes from a file of its own.
    fn item(self, label: Option<usize>) -> Result<Item, String>;
}

/// The item of a line.
///
/// # Errors
/// What is wrong with the line.
pub(crate) fn item(task: TaskName, line: &str, label: Option<usize>) -> Result<Item, String> {
    match task {
        TaskName::Hellaswag => of::<hellaswag::Record>(line, label),
        TaskName::Piqa => of::<piqa::Record>(line, label),
        TaskName::Arc | TaskName::ArcEasy | TaskName::ArcChallenge => {
            of::<arc::Record>(line, label)
        }
        TaskName::Winogrande => of::<winogrande::Record>(line, label),
        TaskName::Openbookqa => of::<openbookqa::Record>(line, label),
        TaskName::Boolq => of::<boolq::Record>(line, label),
        TaskName::Lambada => of::<lambada::Record>(line, label),
    }
}

/// What a line of the task's data should be.
pub(crate) fn expected(task: TaskName) -> &'static str {
    match task {
        TaskName::Hellaswag => hellaswag::Record::EXPECTED,
        TaskName::Piqa => piqa::Record::EXPECTED,
        TaskName::Arc | TaskName::ArcEasy | TaskName::ArcChallenge => arc::Record::EXPECTED,
        TaskName::Winogrande => winogrande::Record::EXPECTED,
        TaskName::Openbookqa => openbookqa::Record::EXPECTED,
        TaskName::Boolq => boolq::Record::EXPECTED,
        TaskName::Lambada => lambada::Record::EXPECTED,
    }
}

fn of<R: Record>(line: &str, label: Option<usize>) -> Result<Item, String> {
    let record: R = serde_json::from_str(line).map_err(|e| e.to_string())?;
    record.item(label)
}

/// A label: data sets write it as a number, as its digits, or as true and false.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Label {
    Number(usize),
    Digits(String),
    Truth(bool),
}

impl Label {
    fn value(&self) -> Result<usize, String> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Truth(truth) => Ok(usize::from(*truth)),
            Self::Digits(digits) => digits
                .trim()
                .parse()
                .map_err(|_| format!("the label is {digits:?}, not a number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_read_as_any_data_set_writes_it() {
        let read = |text| serde_json::from_str::<Label>(text).unwrap().value();
        assert_eq!(read("3"), Ok(3));
        assert_eq!(read("\"3\""), Ok(3));
        assert_eq!(read("true"), Ok(1));
        assert!(read("\"\"").is_err());
    }
}
