//! Reading the small JSON files of a Hugging Face model directory. All but
//! `tokenizer.json` are optional there, so "absent" is an answer and not an error.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use crate::error::{Result, TextError};

/// Most characters of an offending value that an error message repeats.
const SHOWN: usize = 60;

/// The text of `dir/name`, or `None` if there is no such file.
pub(crate) fn read_text(dir: &Path, name: &str) -> Result<Option<String>> {
    let path = dir.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TextError::Read { path, source }),
    }
}

/// The JSON object in `dir/name`, `Null` if there is no such file: indexing it by
/// any field then gives `Null` too, which is what an absent field means.
pub(crate) fn read_json(dir: &Path, name: &str) -> Result<Value> {
    let Some(text) = read_text(dir, name)? else {
        return Ok(Value::Null);
    };
    serde_json::from_str(&text).map_err(|source| TextError::Json {
        path: dir.join(name),
        source,
    })
}

/// The error for a `field` of `dir/name` that holds `found`.
pub(crate) fn bad_field(
    dir: &Path,
    name: &str,
    field: &'static str,
    expected: &'static str,
    found: &Value,
) -> TextError {
    let mut found = found.to_string();
    if let Some((end, _)) = found.char_indices().nth(SHOWN) {
        found.truncate(end);
        found.push('…');
    }
    TextError::Field {
        path: dir.join(name),
        field,
        expected,
        found,
    }
}
