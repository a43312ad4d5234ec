//! GGUF's metadata: keys with typed values, checked for their kind when they are asked for.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::GgufError;
use crate::python_json::{self, Json};
use crate::value::{Keys, Kind, Value, element_at, le_u64, number_at};

/// The keys and values of one file.
pub(crate) struct Metadata {
    path: PathBuf,
    /// The bytes that texts and lists are ranges of.
    bytes: Vec<u8>,
    keys: Vec<String>,
    values: HashMap<String, Value>,
}

impl Metadata {
    /// Joins keys with the bytes that were read for them; refuses a key that occurs twice.
    pub(crate) fn new(path: &Path, keys: Keys, bytes: Vec<u8>) -> Result<Self, GgufError> {
        let mut metadata = Self {
            path: path.to_path_buf(),
            bytes,
            keys: Vec::new(),
            values: HashMap::new(),
        };
        for (key, value) in keys.0 {
            if metadata.values.insert(key.clone(), value).is_some() {
                return Err(GgufError::Damaged {
                    path: metadata.path,
                    detail: format!("the key {key} occurs twice"),
                });
            }
            metadata.keys.push(key);
        }
        Ok(metadata)
    }

    /// The file that the metadata is from.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The header's bytes: the metadata and what describes the tensors.
    pub(crate) fn header(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the key is there.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// An integer, `None` where the key is missing.
    pub(crate) fn int(&self, key: &str) -> Result<Option<i128>, GgufError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Int(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong_kind(key, other, "int")),
        }
    }

    /// A floating-point number or an integer as one.
    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>, GgufError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Float(value)) => Ok(Some(*value)),
            Some(Value::Int(value)) => Ok(Some(*value as f64)),
            Some(other) => Err(self.wrong_kind(key, other, "float")),
        }
    }

    /// A truth value.
    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong_kind(key, other, "bool")),
        }
    }

    /// A text.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Text(place)) => self.text_at(key, place.clone()).map(Some),
            Some(other) => Err(self.wrong_kind(key, other, "str")),
        }
    }

    /// A list of texts.
    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, GgufError> {
        let Some((kind, count, place)) = self.list(key)? else {
            return Ok(None);
        };
        if kind != Kind::Text && count > 0 {
            return Err(self.wrong_elements(key, "a list of str"));
        }
        // Reading the header has walked through these lengths, so each lies within the bytes.
        let mut texts = Vec::new();
        let mut position = place.start;
        for _ in 0..count {
            let (text, next) = self.text_in_list(key, position)?;
            texts.push(text);
            position = next;
        }
        Ok(Some(texts))
    }

    /// A list of integers.
    pub(crate) fn ints(&self, key: &str) -> Result<Option<Vec<i128>>, GgufError> {
        let integer = |value| match value {
            Value::Int(value) => Some(value),
            _ => None,
        };
        self.numbers(key, integer, "a list of int")
    }

    /// A list of floating-point numbers, or of integers as such.
    pub(crate) fn floats(&self, key: &str) -> Result<Option<Vec<f64>>, GgufError> {
        let number = |value| match value {
            Value::Int(value) => Some(value as f64),
            Value::Float(value) => Some(value),
            _ => None,
        };
        self.numbers(key, number, "a list of float")
    }

    /// How many elements a list has.
    pub(crate) fn list_len(&self, key: &str) -> Result<Option<u64>, GgufError> {
        Ok(self.list(key)?.map(|(_, count, _)| count))
    }

    /// Whether the value is a list.
    pub(crate) fn is_list(&self, key: &str) -> bool {
        matches!(self.values.get(key), Some(Value::List { .. }))
    }

    /// Whether the value is a number or truth value of zero, or the key is missing.
    pub(crate) fn is_absent_or_zero(&self, key: &str) -> bool {
        match self.values.get(key) {
            None => true,
            Some(Value::Int(value)) => *value == 0,
            Some(Value::Float(value)) => *value == 0.0,
            Some(Value::Bool(value)) => !value,
            Some(Value::Text(_) | Value::List { .. }) => false,
        }
    }

    /// Whether the value is `true`.
    pub(crate) fn is_true(&self, key: &str) -> bool {
        matches!(self.values.get(key), Some(Value::Bool(true)))
    }

    /// A value for a message: as Python shows it, a list by its length alone.
    pub(crate) fn shown(&self, key: &str) -> String {
        self.values
            .get(key)
            .map_or_else(|| "missing".into(), |value| self.show(value))
    }

    /// Every key that begins with `prefix`, in the file's order, with its value.
    pub(crate) fn under(&self, prefix: &str) -> Json<'_> {
        let keys = self.keys.iter().filter(|key| key.starts_with(prefix));
        Json::Map(
            keys.map(|key| (key.as_str().into(), self.json(&self.values[key.as_str()])))
                .collect(),
        )
    }

    /// The error for a key that is missing and has no default.
    pub(crate) fn missing(&self, key: &str) -> GgufError {
        GgufError::MissingKey {
            path: self.path.clone(),
            key: key.to_owned(),
            consequence: "",
        }
    }

    fn list(&self, key: &str) -> Result<Option<(Kind, u64, Range<usize>)>, GgufError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::List { kind, count, place }) => Ok(Some((*kind, *count, place.clone()))),
            Some(other) => Err(self.wrong_kind(key, other, "list")),
        }
    }

    fn numbers<T>(
        &self,
        key: &str,
        convert: impl Fn(Value) -> Option<T>,
        expected: &'static str,
    ) -> Result<Option<Vec<T>>, GgufError> {
        let Some((kind, count, place)) = self.list(key)? else {
            return Ok(None);
        };
        if count == 0 {
            return Ok(Some(Vec::new()));
        }
        let Some(width) = kind.width() else {
            return Err(self.wrong_elements(key, expected));
        };
        let fields = self.bytes[place].chunks_exact(width as usize);
        let numbers: Option<Vec<T>> = fields
            .map(|field| convert(number_at(kind, field)))
            .collect();
        numbers
            .map(Some)
            .ok_or_else(|| self.wrong_elements(key, expected))
    }

    fn text_at(&self, key: &str, place: Range<usize>) -> Result<&str, GgufError> {
        std::str::from_utf8(&self.bytes[place]).map_err(|error| GgufError::Damaged {
            path: self.path.clone(),
            detail: format!("{key} is not UTF-8: {error}"),
        })
    }

    /// The text whose length stands at `position`, and where the next one begins.
    fn text_in_list(&self, key: &str, position: usize) -> Result<(&str, usize), GgufError> {
        let start = position + 8;
        let length = le_u64(&self.bytes[position..start]) as usize;
        Ok((self.text_at(key, start..start + length)?, start + length))
    }

    fn wrong_kind(&self, key: &str, found: &Value, expected: &'static str) -> GgufError {
        GgufError::WrongKind {
            path: self.path.clone(),
            key: key.to_owned(),
            found: self.show(found),
            expected,
        }
    }

    fn wrong_elements(&self, key: &str, expected: &'static str) -> GgufError {
        let found = "a list of other values".to_owned();
        GgufError::WrongKind {
            path: self.path.clone(),
            key: key.to_owned(),
            found,
            expected,
        }
    }

    fn show(&self, value: &Value) -> String {
        match value {
            Value::Int(value) => value.to_string(),
            Value::Float(value) if value.is_finite() => python_json::float(*value),
            Value::Float(value) if value.is_nan() => "nan".into(),
            Value::Float(value) => if *value > 0.0 { "inf" } else { "-inf" }.into(),
            Value::Bool(true) => "True".into(),
            Value::Bool(false) => "False".into(),
            Value::Text(place) => {
                python_json::quoted(&String::from_utf8_lossy(&self.bytes[place.clone()]))
            }
            Value::List { count, .. } => format!("a list of {count}"),
        }
    }

    fn json(&self, value: &Value) -> Json<'_> {
        match value {
            Value::Int(value) => Json::Int(*value),
            Value::Float(value) => Json::Float(*value),
            Value::Bool(value) => Json::Bool(*value),
            Value::Text(place) => Json::Text(String::from_utf8_lossy(&self.bytes[place.clone()])),
            Value::List { kind, count, place } => {
                Json::List(self.elements(*kind, *count, place.clone()))
            }
        }
    }

    fn elements(&self, kind: Kind, count: u64, place: Range<usize>) -> Vec<Json<'_>> {
        if let Some(width) = kind.width() {
            let fields = self.bytes[place].chunks_exact(width as usize);
            return fields
                .map(|field| self.json(&number_at(kind, field)))
                .collect();
        }
        let mut elements = Vec::new();
        let mut position = place.start;
        for _ in 0..count {
            let (value, next) = element_at(&self.bytes, kind, position);
            elements.push(self.json(&value));
            position = next;
        }
        elements
    }
}
