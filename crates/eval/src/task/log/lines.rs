//! The lines of a log.

use super::LogError;
use crate::task::outcome::Outcome;
use crate::task::settings::Settings;
use serde::{Deserialize, Serialize};
use std::path::Path;

type Result<T> = std::result::Result<T, LogError>;

/// Names the format of a log in its first line.
const FORMAT: &str = "tandem-eval task 1";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    settings: Settings,
}

/// The first line.
pub(super) fn header_line(path: &Path, settings: &Settings) -> Result<String> {
    let header = Header {
        format: FORMAT.to_owned(),
        settings: settings.clone(),
    };
    line_of(path, &header)
}

/// A line of the log, with its end.
pub(super) fn line_of(path: &Path, value: &impl Serialize) -> Result<String> {
    let line = serde_json::to_string(value).map_err(|error| LogError::Io {
        path: path.to_owned(),
        source: error.into(),
    })?;
    Ok(line + "\n")
}

/// All lines but for one without an end.
pub(super) fn whole_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&b| b == b'\n');
    &bytes[..end.map_or(0, |end| end + 1)]
}

/// What whole lines say.
pub(super) fn parse(path: &Path, lines: &[u8]) -> Result<(Settings, Vec<Outcome>)> {
    let bad = |line: usize, detail: String| LogError::Line {
        path: path.to_owned(),
        line,
        detail,
    };
    let mut lines = lines.split_inclusive(|&b| b == b'\n').zip(1..);
    let (header, _) = lines
        .next()
        .ok_or_else(|| bad(1, "there is none".to_owned()))?;
    let header: Header = serde_json::from_slice(header).map_err(|e| bad(1, e.to_string()))?;
    if header.format != FORMAT {
        let detail = format!("its format is {:?}, not {FORMAT:?}", header.format);
        return Err(bad(1, detail));
    }
    let outcomes = lines
        .map(|(line, number)| serde_json::from_slice(line).map_err(|e| bad(number, e.to_string())));
    Ok((header.settings, outcomes.collect::<Result<_>>()?))
}
