//! JSON data for a chat template whose objects keep the order of their fields.
//! Python's dictionaries do, and a template that prints one with `tojson` (a tool's
//! schema, say) was trained on that order; `serde_json`'s own values are sorted.

use minijinja::Value;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value that a chat template can read: anything JSON can say.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateValue(Value);

impl TemplateValue {
    /// The value that `json` spells.
    ///
    /// # Errors
    /// Where and how `json` is not JSON.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    pub(crate) fn into_inner(self) -> Value {
        self.0
    }
}

impl From<bool> for TemplateValue {
    fn from(value: bool) -> Self {
        Self(Value::from(value))
    }
}

impl From<&str> for TemplateValue {
    fn from(text: &str) -> Self {
        Self(Value::from(text))
    }
}

impl From<Vec<Self>> for TemplateValue {
    fn from(list: Vec<Self>) -> Self {
        Self(list.into_iter().map(Self::into_inner).collect())
    }
}

impl<'de> Deserialize<'de> for TemplateValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self)
    }
}

impl Serialize for TemplateValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
