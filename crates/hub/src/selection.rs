//! Which of a repository's files make the model that Tandem loads.

use crate::error::HubError;
use crate::repo_path::RepoPath;
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};

pub(crate) const SINGLE: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
/// Taken where they are there. The manifest makes a package of the directory; the sensitivity and
/// the profiles (below) are what calibration left beside the model.
const OPTIONAL: [&str; 7] = [
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "tandem-package.json",
    "codec/sensitivity.json",
];
const PROFILES: (&str, &str) = ("codec/", ".profile");
/// How the names of files begin that a licence asks to be passed on, in lower case.
const LEGAL: [&str; 4] = ["licen", "notice", "copying", "use_policy"];
/// What is never taken, whatever its name begins with.
const OTHER_WEIGHTS: [&str; 10] = [
    "bin", "ckpt", "gguf", "h5", "msgpack", "onnx", "pickle", "pkl", "pt", "pth",
];
/// More shards than any model is cut into, and than a process may hold open.
const MAX_SHARDS: usize = 10_000;

/// The tensors that a side needs.
#[derive(Clone, Copy)]
pub enum Wanted<'a> {
    /// Every shard.
    All,
    /// The shards that hold at least one tensor for which this is true. A model in one file comes whole,
    /// and so does one whose hub does not give the SHA-256 of every shard: without them nobody could
    /// tell which weights these are a part of.
    Tensors(&'a IsWanted<'a>),
}

/// Whether a side needs a tensor, from its name and from which others there are.
pub type IsWanted<'a> = dyn Fn(&str, &dyn Fn(&str) -> bool) -> bool + 'a;

/// Where a model's weights lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weights {
    /// In `model.safetensors`.
    Single,
    /// In the files that `model.safetensors.index.json` names. It wins where both are there, as it
    /// does when the directory is loaded.
    Sharded,
}

impl Weights {
    /// Finds the weights among the names of a repository's files.
    pub(crate) fn find<'a>(
        names: impl Iterator<Item = &'a str>,
        repository: &str,
    ) -> Result<Self, HubError> {
        let mut found = None;
        let mut gguf = Vec::new();
        for name in names {
            match name {
                INDEX => found = Some(Self::Sharded),
                SINGLE => found = found.or(Some(Self::Single)),
                _ if extension(name) == "gguf" => gguf.push(name.to_owned()),
                _ => {}
            }
        }
        match found {
            Some(weights) => Ok(weights),
            None if gguf.is_empty() => Err(HubError::NoSafetensors {
                repository: repository.to_owned(),
            }),
            None => Err(HubError::OnlyGguf {
                repository: repository.to_owned(),
                files: gguf,
            }),
        }
    }

    /// The one file of weights that is always taken.
    pub(crate) fn first_file(self) -> &'static str {
        match self {
            Self::Single => SINGLE,
            Self::Sharded => INDEX,
        }
    }
}

/// The first file without which there is no model, if one is lacking.
pub(crate) fn missing_required(has: impl Fn(&str) -> bool) -> Option<&'static str> {
    REQUIRED.into_iter().find(|file| !has(file))
}

/// Whether a file goes with a model's weights: what is read beside them, and its licence.
pub(crate) fn is_companion(name: &str) -> bool {
    let is_profile = name
        .strip_prefix(PROFILES.0)
        .and_then(|rest| rest.strip_suffix(PROFILES.1))
        .is_some_and(|stem| !stem.is_empty() && !stem.contains('/'));
    let lower = name.to_lowercase();
    let is_legal = !name.contains('/')
        && LEGAL.iter().any(|start| lower.starts_with(start))
        && !OTHER_WEIGHTS.contains(&&*extension(name))
        && extension(name) != "safetensors";
    REQUIRED.contains(&name) || OPTIONAL.contains(&name) || is_profile || is_legal
}

/// The shards that hold a wanted tensor, from the index.
pub(crate) fn shards(index: &[u8], wanted: Wanted<'_>) -> Result<BTreeSet<RepoPath>, HubError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: HashMap<String, String>,
    }
    let wrong = |problem: String| HubError::Index {
        file: INDEX.to_owned(),
        problem,
    };
    let index: Index = serde_json::from_slice(index).map_err(|e| wrong(e.to_string()))?;
    let mut shards = BTreeSet::new();
    for (tensor, file) in &index.weight_map {
        let path = RepoPath::new(file)?;
        if path.depth() > 0 || extension(file) != "safetensors" {
            return Err(wrong(format!("{file:?} is no safetensors file beside it")));
        }
        let is_wanted = match wanted {
            Wanted::All => true,
            Wanted::Tensors(is_wanted) => {
                is_wanted(tensor, &|other| index.weight_map.contains_key(other))
            }
        };
        if is_wanted {
            shards.insert(path);
        }
    }
    if shards.len() > MAX_SHARDS {
        return Err(HubError::TooLarge {
            what: INDEX.to_owned(),
            size: shards.len() as u64,
            limit: MAX_SHARDS as u64,
            unit: "shards",
        });
    }
    Ok(shards)
}

fn extension(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((_, extension)) => extension.to_lowercase(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_and_what_the_licence_asks_for_goes_along() {
        for name in [
            "config.json",
            "tokenizer.json",
            "chat_template.jinja",
            "LICENSE",
            "LICENSE.txt",
            "Notice",
            "USE_POLICY.md",
            "codec/cut-004.profile",
            "codec/sensitivity.json",
        ] {
            assert!(is_companion(name), "{name}");
        }
        for name in [
            "README.md",
            "pytorch_model.bin",
            "license.bin",
            "LICENSE.pkl",
            "model.gguf",
            "onnx/model.onnx",
            "original/config.json",
            "original/LICENSE",
            "codec/.profile",
            "codec/a/b.profile",
        ] {
            assert!(!is_companion(name), "{name}");
        }
    }

    #[test]
    fn the_index_wins_and_other_forms_are_named() {
        let find = |names: &[&str]| Weights::find(names.iter().copied(), "o/n");
        assert_eq!(find(&[SINGLE]).unwrap(), Weights::Single);
        assert_eq!(find(&[SINGLE, INDEX]).unwrap(), Weights::Sharded);
        assert_eq!(find(&[INDEX, SINGLE, "a.gguf"]).unwrap(), Weights::Sharded);
        let error = find(&["m.Q4_0.gguf", "config.json"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("m.Q4_0.gguf") && error.contains("name the .gguf file"),
            "{error}"
        );
        let error = find(&["pytorch_model.bin"]).unwrap_err();
        assert!(matches!(error, HubError::NoSafetensors { .. }));
    }

    #[test]
    fn only_shards_with_wanted_tensors_are_taken() {
        let index = br#"{"metadata":{},"weight_map":{"a.0":"1.safetensors","a.1":"2.safetensors","b":"2.safetensors"}}"#;
        let names = |wanted| -> Vec<String> {
            shards(index, wanted)
                .unwrap()
                .into_iter()
                .map(String::from)
                .collect()
        };
        assert_eq!(names(Wanted::All), ["1.safetensors", "2.safetensors"]);
        assert_eq!(names(Wanted::Tensors(&|t, _| t == "b")), ["2.safetensors"]);
        assert!(names(Wanted::Tensors(&|_, _| false)).is_empty());
        let unless_b = |t: &str, has: &dyn Fn(&str) -> bool| t == "a.0" && !has("b");
        assert!(names(Wanted::Tensors(&unless_b)).is_empty());
        for bad in [
            "../1.safetensors",
            "/1.safetensors",
            "a/1.safetensors",
            "1.bin",
        ] {
            let index = format!(r#"{{"weight_map":{{"a":"{bad}"}}}}"#);
            assert!(shards(index.as_bytes(), Wanted::All).is_err(), "{bad}");
        }
        assert!(shards(b"[]", Wanted::All).is_err());
    }
}
