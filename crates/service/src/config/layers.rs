//! Layers of YAML, the later over the earlier, and the typed tree that they make.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_yaml::{Mapping, Value};

use super::error::{ConfigError, Misfit, Origin};
use super::line::line_of;
use super::path::{FieldPath, Segment};
use super::validate::{Validate, Violations};

/// Loads a tree from one file alone.
///
/// # Errors
/// The file cannot be read, is not YAML, or does not fit `T`; the message has the path of the key,
/// the file and the line.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    Layers(Vec::new()).file(path)?.tree().map(|(tree, _)| tree)
}

/// Configuration in layers: defaults, a file, flags. A later layer wins.
///
/// A mapping over a mapping is merged key by key; anything else replaces what was there. A section
/// left empty (`limits:` with every key of it commented out) changes nothing.
#[derive(Debug)]
pub struct Layers(Vec<Result<Layer, ConfigError>>);

#[derive(Debug)]
struct Layer {
    source: Source,
    value: Value,
}

#[derive(Debug)]
enum Source {
    Defaults { text: String },
    File { path: PathBuf, text: String },
    Flag { name: String },
}

impl Layers {
    /// Begins with the defaults that a binary ships.
    pub fn new(defaults: &str) -> Self {
        Self(vec![Layer::parse(Source::Defaults {
            text: defaults.to_owned(),
        })])
    }

    /// Lays a user's file over what is there.
    ///
    /// # Errors
    /// The file cannot be read or is not a YAML mapping.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        let path = path.into();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        self.0.push(Ok(Layer::parse(Source::File { path, text })?));
        Ok(self)
    }

    /// Lays a value over the key with a dotted path; errors call it `--` and the key. For flags that
    /// are spelt otherwise or may not be given there is [`Self::flag`].
    pub fn set(self, key: &str, value: impl Serialize) -> Self {
        self.flag(&format!("--{key}"), key, Some(value))
    }

    /// Lays the value of a flag over the key with a dotted path; a flag that was not given changes
    /// nothing. The name, as it is written on the command line, appears in errors.
    pub fn flag(mut self, name: &str, key: &str, value: Option<impl Serialize>) -> Self {
        let Some(value) = value else { return self };
        let layer = serde_yaml::to_value(value)
            .map(|value| Layer {
                source: Source::Flag {
                    name: name.to_owned(),
                },
                value: nest(key, value),
            })
            .map_err(|error| ConfigError::Syntax {
                origin: Origin::Flag {
                    name: name.to_owned(),
                },
                message: error.to_string(),
            });
        self.0.push(layer);
        self
    }

    /// Merges the layers, fits them to `T` and checks its ranges.
    ///
    /// # Errors
    /// A layer is not YAML, a key is unknown or missing, a value has the wrong type, or values are
    /// out of range, in which case the error has all of them.
    pub fn build<T: DeserializeOwned + Validate>(self) -> Result<T, ConfigError> {
        let (tree, layers) = self.tree::<T>()?;
        let violations = Violations::of(&tree);
        if violations.is_empty() {
            return Ok(tree);
        }
        let misfits = violations.into_iter().map(|violation| Misfit {
            origin: origin_of(&layers, &violation.path),
            path: violation.path,
            message: violation.message,
        });
        Err(ConfigError::Invalid(misfits.collect()))
    }

    /// What the layers above the defaults say, merged: what a file would hold that says the same.
    ///
    /// # Errors
    /// A layer is not YAML.
    pub fn changed(self) -> Result<Value, ConfigError> {
        let mut merged = Value::Mapping(Mapping::new());
        for layer in self.0 {
            let Layer { source, value } = layer?;
            if !matches!(source, Source::Defaults { .. }) {
                merge(&mut merged, value);
            }
        }
        Ok(merged)
    }

    fn tree<T: DeserializeOwned>(self) -> Result<(T, Vec<Layer>), ConfigError> {
        let layers = self.0.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut merged = Value::Mapping(Mapping::new());
        for layer in &layers {
            merge(&mut merged, layer.value.clone());
        }
        match serde_path_to_error::deserialize(merged) {
            Ok(tree) => Ok((tree, layers)),
            Err(error) => {
                let path = FieldPath::from(error.path());
                let origin = origin_of(&layers, &path);
                let message = error.into_inner().to_string();
                Err(ConfigError::Shape(Misfit {
                    origin,
                    path,
                    message,
                }))
            }
        }
    }
}

impl Layer {
    fn parse(source: Source) -> Result<Self, ConfigError> {
        let text = match &source {
            Source::Defaults { text } | Source::File { text, .. } => text.as_str(),
            Source::Flag { .. } => "",
        };
        let message = match serde_yaml::from_str(text) {
            Ok(value @ Value::Mapping(_)) => return Ok(Self { source, value }),
            Ok(Value::Null) => {
                return Ok(Self {
                    source,
                    value: Value::Mapping(Mapping::new()),
                });
            }
            Ok(_) => "must be a YAML mapping of keys to values".to_owned(),
            Err(error) => error.to_string(),
        };
        let origin = source.origin(|_| None);
        Err(ConfigError::Syntax { origin, message })
    }

    fn has(&self, path: &[Segment]) -> bool {
        let found = path
            .iter()
            .try_fold(&self.value, |value, segment| match segment {
                Segment::Key(key) => value.get(key),
                Segment::Index(index) => value.get(index),
            });
        found.is_some()
    }
}

impl Source {
    fn origin(&self, line: impl FnOnce(&str) -> Option<usize>) -> Origin {
        match self {
            Self::Defaults { text } => Origin::Defaults { line: line(text) },
            Self::File { path, text } => Origin::File {
                path: path.clone(),
                line: line(text),
            },
            Self::Flag { name } => Origin::Flag { name: name.clone() },
        }
    }
}

/// The topmost layer that sets the value at `path`, or else the nearest of its ancestors.
fn origin_of(layers: &[Layer], path: &FieldPath) -> Origin {
    let segments = path.segments();
    (1..=segments.len())
        .rev()
        .find_map(|depth| {
            layers
                .iter()
                .rev()
                .find(|layer| layer.has(&segments[..depth]))
        })
        .map_or(Origin::Nowhere, |layer| {
            layer.source.origin(|text| line_of(text, path))
        })
}

fn merge(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Mapping(below), Value::Mapping(above)) => {
            for (key, value) in above {
                match below.get_mut(&key) {
                    Some(slot) => merge(slot, value),
                    None => {
                        below.insert(key, value);
                    }
                }
            }
        }
        (Value::Mapping(_), Value::Null) => {}
        (below, above) => *below = above,
    }
}

/// The mapping in which `value` stands at the dotted `key`.
fn nest(key: &str, value: Value) -> Value {
    key.rsplit('.').fold(value, |value, key| {
        let mut mapping = Mapping::new();
        mapping.insert(Value::String(key.to_owned()), value);
        Value::Mapping(mapping)
    })
}

#[cfg(test)]
mod tests;
