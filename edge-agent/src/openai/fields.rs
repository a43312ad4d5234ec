//! A JSON object that is read field by field, so that every field is either served, known to change
//! nothing, or refused by its name: none is passed over.

use crate::error::RequestError;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The fields of an object that have not been read yet. `null` is as good as absent.
#[derive(Debug)]
pub(super) struct Fields {
    /// Where the object is, such as `messages[2]`; empty for the body.
    path: String,
    left: Map<String, Value>,
}

impl Fields {
    /// The fields of a body.
    ///
    /// # Errors
    /// The body is no JSON object.
    pub(super) fn of_body(body: &[u8]) -> Result<Self, RequestError> {
        let refused = RequestError::Body;
        match serde_json::from_slice(body) {
            Ok(Value::Object(left)) => Ok(Self {
                path: String::new(),
                left,
            }),
            Ok(_) => Err(refused("is not a JSON object".to_owned())),
            Err(error) => Err(refused(format!("is not JSON: {error}"))),
        }
    }

    /// The fields of an object within the body.
    ///
    /// # Errors
    /// It is no object.
    pub(super) fn of(path: String, value: Value) -> Result<Self, RequestError> {
        match value {
            Value::Object(left) => Ok(Self { path, left }),
            _ => Err(RequestError::Field {
                path,
                problem: "must be an object".to_owned(),
            }),
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
        let value = match self.left.remove(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value,
        };
        match serde_path_to_error::deserialize(value) {
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
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(()),
            Some(value) if changes_nothing(&value) => Ok(()),
            Some(_) => Err(self.refuse(name, why)),
        }
    }

    /// Leaves out fields that say something to another server and ask for nothing.
    pub(super) fn leave(&mut self, names: &[&str]) {
        for name in names {
            self.left.remove(*name);
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// A field is left that nobody has read.
    pub(super) fn end(self) -> Result<(), RequestError> {
        match self.left.iter().find(|(_, value)| !value.is_null()) {
            None => Ok(()),
            Some((name, _)) => Err(self.refuse(name, "is not served")),
        }
    }

    /// A field and what is wrong with it.
    pub(super) fn refuse(&self, name: &str, why: impl Into<String>) -> RequestError {
        let field = match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        RequestError::Field {
            path: field,
            problem: why.into(),
        }
    }
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
