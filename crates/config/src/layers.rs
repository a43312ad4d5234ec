//! Layers of YAML, the later over the earlier, and the typed tree that they make.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_yaml::{Mapping, Value};

use crate::error::{ConfigError, Misfit, Origin};
use crate::line::line_of;
use crate::path::{FieldPath, Segment};
use crate::validate::{Validate, Violations};

/// Loads a tree from one file alone.
///
/// # Errors
/// The file cannot be read, is not YAML, or does not fit `T`; the message has the path of the key,
/// the file and the line.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let layers = Layers {
        layers: Vec::new(),
        flags: Vec::new(),
    };
    let (layers, merged) = layers.file(path)?.merged()?;
    fitted(&layers, merged).map_err(ConfigError::Shape)
}

/// Configuration in layers: defaults, a file, flags. A later layer wins.
///
/// A mapping over a mapping is merged key by key; anything else replaces what was there. A section
/// left empty (`limits:` with every key of it commented out) changes nothing.
#[derive(Debug)]
pub struct Layers {
    layers: Vec<Result<Layer, ConfigError>>,
    /// Every flag there is, given or not, with the dotted path of its key.
    flags: Vec<(String, String)>,
}

/// The most misfits of one error: a file that has more is another program's.
const MOST_MISFITS: usize = 50;

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
        let defaults = Layer::parse(Source::Defaults {
            text: defaults.to_owned(),
        });
        Self {
            layers: vec![defaults],
            flags: Vec::new(),
        }
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
        let layer = Layer::parse(Source::File { path, text })?;
        self.layers.push(Ok(layer));
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
        self.flags.push((name.to_owned(), key.to_owned()));
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
        self.layers.push(layer);
        self
    }

    /// Every flag, given or not, with what its key is in the layers together: `none` for an empty one.
    pub fn flag_defaults(&self) -> Vec<(String, String)> {
        let mut merged = Value::Mapping(Mapping::new());
        for layer in self.layers.iter().flatten() {
            merge(&mut merged, layer.value.clone());
        }
        let default = |key: &str| match value_at(&merged, FieldPath::dotted(key).segments()) {
            Some(Value::String(text)) if !text.is_empty() => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Bool(on)) => on.to_string(),
            _ => "none".to_owned(),
        };
        let flags = self.flags.iter();
        flags
            .map(|(name, key)| (name.clone(), default(key)))
            .collect()
    }

    /// Merges the layers, fits them to `T` and checks its ranges. What does not fit is noted and replaced
    /// by its default, so that the rest is checked as well.
    ///
    /// # Errors
    /// A layer is not YAML; or keys are unknown or missing, values have the wrong type or are out of
    /// range: the error has all of them.
    pub fn build<T: DeserializeOwned + Validate>(self) -> Result<T, ConfigError> {
        let (layers, mut merged) = self.merged()?;
        let mut misfits: Vec<Misfit> = Vec::new();
        let tree: T = loop {
            let misfit = match fitted(&layers, merged.clone()) {
                Ok(tree) => break tree,
                Err(misfit) => misfit,
            };
            let mended = mend(&mut merged, &layers, &misfit.path);
            if !misfits.contains(&misfit) {
                misfits.push(misfit);
            }
            if !mended || misfits.len() == MOST_MISFITS {
                return Err(ConfigError::Invalid(misfits));
            }
        };
        for violation in Violations::of(&tree) {
            // A value that stands in for one that was refused may not go with the others.
            if misfits.iter().all(|misfit| misfit.path != violation.path) {
                misfits.push(Misfit {
                    origin: origin_of(&layers, &violation.path),
                    path: violation.path,
                    message: violation.message,
                });
            }
        }
        if misfits.is_empty() {
            Ok(tree)
        } else {
            Err(ConfigError::Invalid(misfits))
        }
    }

    /// What the layers above the defaults say, merged: what a file would hold that says the same.
    ///
    /// # Errors
    /// A layer is not YAML.
    pub fn changed(self) -> Result<Value, ConfigError> {
        let mut merged = Value::Mapping(Mapping::new());
        for layer in self.layers {
            let Layer { source, value } = layer?;
            if !matches!(source, Source::Defaults { .. }) {
                merge(&mut merged, value);
            }
        }
        Ok(merged)
    }

    fn merged(self) -> Result<(Vec<Layer>, Value), ConfigError> {
        let layers = self.layers.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut merged = Value::Mapping(Mapping::new());
        for layer in &layers {
            merge(&mut merged, layer.value.clone());
        }
        Ok((layers, merged))
    }
}

/// The tree that a merged value is, or the first thing in it that is not as `T` wants it.
fn fitted<T: DeserializeOwned>(layers: &[Layer], merged: Value) -> Result<T, Misfit> {
    serde_path_to_error::deserialize(merged).map_err(|error| {
        let path = FieldPath::from(error.path());
        Misfit {
            origin: origin_of(layers, &path),
            path,
            message: error.into_inner().to_string(),
        }
    })
}

/// Puts the default in the place of what stands at `path`, and takes out what has none. An item of a list
/// is mended with its list. Whether that changed anything.
fn mend(merged: &mut Value, layers: &[Layer], path: &FieldPath) -> bool {
    let keys: Vec<&str> = path.segments().iter().map_while(Segment::key).collect();
    let Some((last, parents)) = keys.split_last() else {
        return false;
    };
    let defaults = layers
        .first()
        .filter(|layer| matches!(layer.source, Source::Defaults { .. }));
    let Some(defaults) = defaults else {
        return false;
    };
    let default = keys
        .iter()
        .try_fold(&defaults.value, |value, key| value.get(key));
    let section = parents
        .iter()
        .try_fold(merged, |value, key| value.get_mut(key));
    let Some(Value::Mapping(section)) = section else {
        return false;
    };
    match default {
        None => section.remove(last).is_some(),
        Some(default) if section.get(last) == Some(default) => false,
        Some(default) => {
            section.insert(Value::String((*last).to_owned()), default.clone());
            true
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
        value_at(&self.value, path).is_some()
    }
}

fn value_at<'a>(tree: &'a Value, path: &[Segment]) -> Option<&'a Value> {
    path.iter().try_fold(tree, |value, segment| match segment {
        Segment::Key(key) => value.get(key),
        Segment::Index(index) => value.get(index),
    })
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
