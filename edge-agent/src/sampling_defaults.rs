//! How tokens are chosen where a request does not say: as the model's `generation_config.json` says,
//! else as llama-server does.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tandem_proto::v1;

/// The file of a model that says how its makers sample.
const FILE: &str = "generation_config.json";

/// Sampling parameters for absent fields.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingDefaults(v1::SamplingParameters);

/// A `generation_config.json` that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SamplingDefaultsError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what transformers writes.
    #[error("{path}: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// What transformers' `GenerationConfig` says of sampling; it has much else.
#[derive(Debug, Default, Deserialize)]
struct GenerationConfig {
    do_sample: Option<bool>,
    temperature: Option<f32>,
    top_k: Option<u32>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
}

impl SamplingDefaults {
    /// Those of llama-server: temperature 0.8, the 40 most likely tokens, `top_p` 0.95, `min_p` 0.05.
    pub fn llama_server() -> Self {
        Self(v1::SamplingParameters {
            temperature: Some(0.8),
            top_k: Some(40),
            top_p: Some(0.95),
            min_p: Some(0.05),
            ..v1::SamplingParameters::default()
        })
    }

    /// Those of a model of `vocabulary` tokens.
    ///
    /// # Errors
    /// When its `generation_config.json` cannot be read or asks for what cannot be.
    pub fn load(model: &Path, vocabulary: usize) -> Result<Self, SamplingDefaultsError> {
        let path = model.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::llama_server());
            }
            Err(source) => return Err(SamplingDefaultsError::Read { path, source }),
        };
        let read = || {
            let config: GenerationConfig =
                serde_json::from_str(&text).map_err(|error| error.to_string())?;
            let Some(defaults) = Self::of(&config) else {
                return Ok(Self::llama_server());
            };
            match tandem_wire::parameters(Some(&defaults.0), vocabulary) {
                Ok(_) => Ok(defaults),
                Err(errors) => Err(errors.to_string()),
            }
        };
        read().map_err(|problem| SamplingDefaultsError::Malformed { path, problem })
    }

    /// What a file says; `None` when it says nothing of sampling.
    fn of(config: &GenerationConfig) -> Option<Self> {
        let GenerationConfig {
            do_sample,
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
        } = *config;
        let says = do_sample.is_some()
            || temperature.is_some()
            || top_k.is_some()
            || top_p.is_some()
            || min_p.is_some();
        if !says {
            return None;
        }
        let temperature = match do_sample {
            Some(false) => 0.0,
            // What transformers takes where a file leaves it out.
            _ => temperature.unwrap_or(1.0),
        };
        Some(Self(v1::SamplingParameters {
            temperature: Some(temperature),
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            ..v1::SamplingParameters::default()
        }))
    }

    /// Fills in what a request leaves open.
    pub fn complete(&self, asked: &mut v1::SamplingParameters) {
        asked.temperature = asked.temperature.or(self.0.temperature);
        asked.top_k = asked.top_k.or(self.0.top_k);
        asked.top_p = asked.top_p.or(self.0.top_p);
        asked.min_p = asked.min_p.or(self.0.min_p);
        asked.repetition_penalty = asked.repetition_penalty.or(self.0.repetition_penalty);
    }

    /// As clients see them.
    pub fn parameters(&self) -> &v1::SamplingParameters {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: Option<&str>) -> Result<SamplingDefaults, SamplingDefaultsError> {
        let folder = tempfile::tempdir().unwrap();
        if let Some(text) = text {
            std::fs::write(folder.path().join(FILE), text).unwrap();
        }
        SamplingDefaults::load(folder.path(), 100)
    }

    #[test]
    fn a_model_that_says_nothing_is_sampled_as_llama_server_does() {
        for nothing in [
            None,
            Some("{}"),
            Some(r#"{"eos_token_id": [1, 2], "bos_token_id": 1}"#),
        ] {
            assert_eq!(load(nothing).unwrap(), SamplingDefaults::llama_server());
        }
    }

    #[test]
    fn a_model_is_sampled_as_its_makers_say() {
        let qwen = r#"{"do_sample": true, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.1}"#;
        let mut asked = v1::SamplingParameters {
            top_k: Some(5),
            ..v1::SamplingParameters::default()
        };
        load(Some(qwen)).unwrap().complete(&mut asked);
        let completed = v1::SamplingParameters {
            temperature: Some(0.7),
            top_k: Some(5),
            top_p: Some(0.8),
            repetition_penalty: Some(1.1),
            ..v1::SamplingParameters::default()
        };
        assert_eq!(asked, completed);
        let greedy = load(Some(r#"{"do_sample": false, "temperature": 0.7}"#)).unwrap();
        assert_eq!(greedy.parameters().temperature, Some(0.0));
        let plain = load(Some(r#"{"do_sample": true}"#)).unwrap();
        assert_eq!(plain.parameters().temperature, Some(1.0));
        assert_eq!(plain.parameters().top_k, None);
    }

    #[test]
    fn a_file_that_asks_for_what_cannot_be_is_named() {
        for bad in [
            r#"{"temperature": -1}"#,
            r#"{"top_p": 7}"#,
            r#"{"top_k": "all"}"#,
            "[",
        ] {
            let error = load(Some(bad)).unwrap_err().to_string();
            assert!(error.contains(FILE), "{error}");
        }
    }
}
