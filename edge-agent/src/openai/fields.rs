//! A JSON object that is read field by field, so that of every field it is known whether it is served, refused by its
//! name, or passed over: of those last ones a list is kept.

use crate::error::RequestError;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// What is done about fields that nobody has read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownFields {
    /// They are passed over, and told.
    #[default]
    Ignore,
    /// They are refused by their names.
    Refuse,
}

/// Fields that were passed over, by their paths.
#[derive(Debug)]
pub(super) struct PassedOver {
    unknown: UnknownFields,
    paths: Vec<String>,
}

/// Names that are listed of one request.
const MOST_NAMES: usize = 32;

impl PassedOver {
    pub(super) fn new(unknown: UnknownFields) -> Self {
        Self {
            unknown,
            paths: Vec::new(),
        }
    }

    fn add(&mut self, path: String) {
        if self.paths.len() < MOST_NAMES && !self.paths.contains(&path) {
            self.paths.push(path);
        }
    }

    /// Their paths, without the numbers of lists.
    pub(super) fn into_paths(self) -> Vec<String> {
        self.paths
    }
}

/// The fields of an object that have not been read yet. `null` is as good as absent.
#[derive(Debug)]
pub(super) struct Fields {
    /// Where the object is, such as `messages[2]`; empty for the body.
    path: String,
    left: BTreeMap<String, Box<RawValue>>,
}

impl Fields {
    /// The fields of a body.
    ///
    /// # Errors
    /// The body is no JSON object.
    pub(super) fn of_body(body: &[u8]) -> Result<Self, RequestError> {
        let refused = RequestError::Body;
        match serde_json::from_slice(body) {
            Ok(left) => Ok(Self {
                path: String::new(),
                left,
            }),
            Err(_) if serde_json::from_slice::<&RawValue>(body).is_ok() => {
                Err(refused("is not a JSON object".to_owned()))
            }
            Err(error) => Err(refused(format!("is not JSON: {error}"))),
        }
    }

    /// The fields of an object within the body.
    ///
    /// # Errors
    /// It is no object.
    pub(super) fn of(path: String, value: &RawValue) -> Result<Self, RequestError> {
        match serde_json::from_str(value.get()) {
            Ok(left) => Ok(Self { path, left }),
            Err(_) => Err(RequestError::Field {
                path,
                problem: "must be an object".to_owned(),
            }),
        }
    }

    /// Where a field of this object is.
    pub(super) fn path_of(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }

    /// Reads a field that may be absent.
    ///
    /// # Errors
    /// It has another type.
    pub(super) fn take<T: DeserializeOwned>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, RequestError> {
        let Some(raw) = self.take_raw(name) else {
            return Ok(None);
        };
        // By way of a value, whose errors say nothing of lines and columns within the field.
        match serde_path_to_error::deserialize(value_of(&raw)) {
            Ok(read) => Ok(Some(read)),
            Err(error) => {
                let within = match error.path().to_string().as_str() {
                    "." => String::new(),
                    within if within.starts_with('[') => within.to_owned(),
                    within => format!(".{within}"),
                };
                let why = error.into_inner().to_string();
                Err(self.refuse(&format!("{name}{within}"), why))
            }
        }
    }

    /// Takes a field that may be absent as it came.
    pub(super) fn take_raw(&mut self, name: &str) -> Option<Box<RawValue>> {
        let raw = self.left.remove(name)?;
        (raw.get() != "null").then_some(raw)
    }

    /// Takes a list that may be absent, each element as it came.
    ///
    /// # Errors
    /// It is no list.
    pub(super) fn take_list(
        &mut self,
        name: &str,
    ) -> Result<Option<Vec<Box<RawValue>>>, RequestError> {
        let raw = self.take_raw(name);
        let list = raw.map(|raw| serde_json::from_str(raw.get()));
        list.transpose()
            .map_err(|_| self.refuse(name, "must be an array"))
    }

    /// Reads a field that must be there.
    ///
    /// # Errors
    /// It is absent or has another type.
    pub(super) fn require<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, RequestError> {
        self.take(name)?
            .ok_or_else(|| self.refuse(name, "is absent"))
    }

    /// Reads a field of which only values that change nothing are served.
    ///
    /// # Errors
    /// It has another value: `why` says what is served.
    pub(super) fn only(
        &mut self,
        name: &str,
        changes_nothing: impl FnOnce(&Value) -> bool,
        why: &str,
    ) -> Result<(), RequestError> {
        match self.take_raw(name) {
            None => Ok(()),
            Some(raw) if changes_nothing(&value_of(&raw)) => Ok(()),
            Some(_) => Err(self.refuse(name, why)),
        }
    }

    /// Passes over fields that say something to another server and ask for nothing.
    pub(super) fn pass_over(&mut self, names: &[&str], passed_over: &mut PassedOver) {
        for name in names {
            if self.take_raw(name).is_some() {
                passed_over.add(self.without_numbers(name));
            }
        }
    }

    /// Ends the reading: what is left is unknown.
    ///
    /// # Errors
    /// A field is left, and such are refused.
    pub(super) fn end(self, passed_over: &mut PassedOver) -> Result<(), RequestError> {
        for (name, value) in &self.left {
            if value.get() == "null" {
                continue;
            }
            match passed_over.unknown {
                UnknownFields::Ignore => passed_over.add(self.without_numbers(name)),
                UnknownFields::Refuse => return Err(self.refuse(name, "is not served")),
            }
        }
        Ok(())
    }

    /// The path of a field that is the same in all elements of lists.
    fn without_numbers(&self, name: &str) -> String {
        let path = self.path_of(name);
        let mut within = false;
        path.chars()
            .filter(|&c| {
                let keeps = !within || c == ']';
                within = (within || c == '[') && c != ']';
                keeps
            })
            .collect()
    }

    /// A field and what is wrong with it.
    pub(super) fn refuse(&self, name: &str, why: impl Into<String>) -> RequestError {
        RequestError::Field {
            path: self.path_of(name),
            problem: why.into(),
        }
    }
}

/// What JSON says that has been read once already.
pub(super) fn value_of(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

/// Whether a list or a text is empty: nothing is asked for by it.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_reads_is_told_or_refused() {
        let body = br#"{"a": 1, "b": null, "c": [{"d": 2, "e": 3}, {"d": 4}]}"#;
        let read = |unknown| {
            let mut passed_over = PassedOver::new(unknown);
            let mut fields = Fields::of_body(body)?;
            for (at, element) in fields.take_list("c")?.unwrap().iter().enumerate() {
                let mut element = Fields::of(format!("c[{at}]"), element)?;
                element.pass_over(&["e"], &mut passed_over);
                element.end(&mut passed_over)?;
            }
            fields.end(&mut passed_over)?;
            Ok::<_, RequestError>(passed_over.into_paths())
        };
        assert_eq!(
            read(UnknownFields::Ignore).unwrap(),
            ["c[].e", "c[].d", "a"]
        );
        let refused = read(UnknownFields::Refuse).unwrap_err();
        assert_eq!(refused.to_string(), "c[0].d: is not served");
    }

    #[test]
    fn a_list_is_as_long_as_it_may_be() {
        let fields = (0..100).map(|at| format!("\"f{at}\": 1"));
        let body = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
        let mut passed_over = PassedOver::new(UnknownFields::Ignore);
        let fields = Fields::of_body(body.as_bytes()).unwrap();
        fields.end(&mut passed_over).unwrap();
        assert_eq!(passed_over.into_paths().len(), MOST_NAMES);
    }
}
