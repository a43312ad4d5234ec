//! The log of a run: JSON lines, the first one with its settings, then one an item in the order of
//! the data. A run that was stopped goes on behind the last whole line.

mod lines;

use crate::error::Result;
use crate::task::item::Item;
use crate::task::outcome::Outcome;
use crate::task::settings::Settings;
use lines::{header_line, line_of, parse, whole_lines};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// What can be wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It cannot be opened, read or written.
    #[error("the log {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another run holds it.
    #[error("the log {path} is being written by another run")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A line is none of a log.
    #[error("{path}, line {line}: expected a line of a log that --log has written: {detail}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// It belongs to a run with other settings.
    #[error("the log {path} is of {found}; this run is {wanted}")]
    OtherSettings {
        /// The file.
        path: PathBuf,
        /// The log's settings.
        found: String,
        /// This run's.
        wanted: String,
    },
    /// It belongs to a run on other data.
    #[error("item {item} of the log {path} is another one than that of the data")]
    OtherItem {
        /// The file.
        path: PathBuf,
        /// Number of the item, from 0.
        item: usize,
    },
    /// A reference does not reach as far as this run.
    #[error("the log {path} has {found} items, this run {needed}; finish that one, or use --limit")]
    Short {
        /// The file.
        path: PathBuf,
        /// Items in the log.
        found: usize,
        /// Items of this run.
        needed: usize,
    },
}

/// A log that is being written. It is locked while this lives.
#[derive(Debug)]
pub(crate) struct ItemLog {
    file: File,
    path: PathBuf,
}

impl ItemLog {
    /// Opens or begins the log of a run, and returns the outcomes it holds of the run's items. What
    /// a killed run has left of a line is dropped.
    ///
    /// # Errors
    /// When the file cannot be used, is no log, or is one of other settings or items.
    pub(crate) fn open(
        path: &Path,
        settings: &Settings,
        items: &[Item],
    ) -> Result<(Self, Vec<Outcome>)> {
        let failed = |source| LogError::Io {
            path: path.to_owned(),
            source,
        };
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).map_err(failed)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => LogError::InUse {
                path: path.to_owned(),
            },
            TryLockError::Error(source) => failed(source),
        })?;
        let mut log = Self {
            file,
            path: path.to_owned(),
        };
        let mut bytes = Vec::new();
        log.file.read_to_end(&mut bytes).map_err(failed)?;
        let whole = whole_lines(&bytes);
        let header = header_line(path, settings)?;
        let outcomes = match whole {
            [] if header.as_bytes().starts_with(&bytes) => Vec::new(),
            _ => {
                let (found, outcomes) = parse(path, whole)?;
                if found != *settings {
                    return Err(LogError::OtherSettings {
                        path: path.to_owned(),
                        found: found.to_string(),
                        wanted: settings.to_string(),
                    }
                    .into());
                }
                of_items(path, outcomes, items)?
            }
        };
        let end = whole.len() as u64;
        log.file.set_len(end).map_err(failed)?;
        log.file.seek(SeekFrom::Start(end)).map_err(failed)?;
        if end == 0 {
            log.write(&header)?;
        }
        Ok((log, outcomes))
    }

    /// Writes down an item.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn append(&mut self, outcome: &Outcome) -> Result<()> {
        self.write(&line_of(&self.path, outcome)?)
    }

    fn write(&mut self, line: &str) -> Result<()> {
        let written = self.file.write_all(line.as_bytes());
        Ok(written.map_err(|source| LogError::Io {
            path: self.path.clone(),
            source,
        })?)
    }
}

/// Reads the log of another run on the same items.
///
/// # Errors
/// When the file cannot be read, is no log, or is one of another task, other items or fewer.
pub(crate) fn read(
    path: &Path,
    settings: &Settings,
    items: &[Item],
) -> Result<(Settings, Vec<Outcome>)> {
    let bytes = std::fs::read(path).map_err(|source| LogError::Io {
        path: path.to_owned(),
        source,
    })?;
    let (found, outcomes) = parse(path, whole_lines(&bytes))?;
    if found.task != settings.task {
        return Err(LogError::OtherSettings {
            path: path.to_owned(),
            found: found.to_string(),
            wanted: settings.to_string(),
        }
        .into());
    }
    let outcomes = of_items(path, outcomes, items)?;
    if outcomes.len() == items.len() {
        Ok((found, outcomes))
    } else {
        Err(LogError::Short {
            path: path.to_owned(),
            found: outcomes.len(),
            needed: items.len(),
        }
        .into())
    }
}

/// Those of the outcomes that are of the items, once it is sure that they are.
fn of_items(
    path: &Path,
    mut outcomes: Vec<Outcome>,
    items: &[Item],
) -> std::result::Result<Vec<Outcome>, LogError> {
    outcomes.truncate(items.len());
    let mut both = outcomes.iter().zip(items).zip(0..);
    match both.find(|((outcome, item), number)| !outcome.is_of(*number, item)) {
        None => Ok(outcomes),
        Some((_, item)) => Err(LogError::OtherItem {
            path: path.to_owned(),
            item,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::EvalError;
    use crate::task::outcome::tests::example;
    use crate::task::settings::tests::examples;

    fn three() -> (Vec<Item>, Vec<Outcome>) {
        let found = [(-1.25, 3), (-0.1, 5)];
        (0..3).map(|n| example(n, n % 2, &found)).unzip()
    }

    fn written(path: &Path, outcomes: &[Outcome], items: &[Item]) {
        let (mut log, _) = ItemLog::open(path, &examples()[0], items).unwrap();
        for outcome in outcomes {
            log.append(outcome).unwrap();
        }
    }

    fn failure<T: std::fmt::Debug>(result: Result<T>) -> LogError {
        match result {
            Err(EvalError::Log(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_torn_line_is_dropped_and_the_rest_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (items, outcomes) = three();
        written(&path, &outcomes, &items);
        let whole = std::fs::read(&path).unwrap();
        let line_ends: Vec<_> = (0..whole.len()).filter(|&i| whole[i] == b'\n').collect();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut log, taken) = ItemLog::open(&path, &examples()[0], &items).unwrap();
            let lines = line_ends.iter().filter(|&&end| end < cut).count();
            assert_eq!(taken, outcomes[..lines.saturating_sub(1)], "cut at {cut}");
            for outcome in &outcomes[taken.len()..] {
                log.append(outcome).unwrap();
            }
            assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn fewer_items_than_the_log_has_leave_it_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (items, outcomes) = three();
        written(&path, &outcomes, &items);
        let (_log, taken) = ItemLog::open(&path, &examples()[0], &items[..1]).unwrap();
        assert_eq!(taken, outcomes[..1]);
        let (settings, read) = read(&path, &examples()[0], &items).unwrap();
        assert_eq!((settings, read), (examples()[0].clone(), outcomes));
    }

    #[test]
    fn what_does_not_belong_to_the_run_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (items, outcomes) = three();
        written(&path, &outcomes[..2], &items);
        let [same, other] = examples();

        let message = failure(ItemLog::open(&path, &other, &items)).to_string();
        for settings in [&same, &other] {
            assert!(message.contains(&settings.to_string()), "{message}");
        }
        let (swapped, _) = example(1, 0, &[(-1.0, 3), (-1.0, 5)]);
        let swapped = [items[0].clone(), swapped];
        let error = failure(ItemLog::open(&path, &same, &swapped));
        assert!(
            matches!(error, LogError::OtherItem { item: 1, .. }),
            "{error}"
        );

        // A reference may have other settings, but for the task, and must not end before this run.
        assert!(read(&path, &other, &items[..2]).is_ok());
        let error = failure(read(&path, &other, &items));
        assert!(
            matches!(
                error,
                LogError::Short {
                    found: 2,
                    needed: 3,
                    ..
                }
            ),
            "{error}"
        );
        let task = crate::task::name::TaskName::Boolq;
        let error = failure(read(&path, &Settings { task, ..other }, &items));
        assert!(matches!(error, LogError::OtherSettings { .. }), "{error}");
    }

    #[test]
    fn what_is_no_log_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (items, _) = three();
        for text in ["a text", "a text\n", "{}\n"] {
            std::fs::write(&path, text).unwrap();
            let error = failure(ItemLog::open(&path, &examples()[0], &items));
            assert!(matches!(error, LogError::Line { line: 1, .. }), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn one_run_writes_a_log_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (items, _) = three();
        let _held = ItemLog::open(&path, &examples()[0], &items).unwrap();
        let error = failure(ItemLog::open(&path, &examples()[0], &items));
        assert!(matches!(error, LogError::InUse { .. }), "{error}");
    }
}
