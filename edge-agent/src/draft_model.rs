//! The smaller model that guesses tokens while others are on their way.

use crate::config::EdgeConfig;
use anyhow::Context as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tandem_client::DraftModel;
use tandem_engine::{Engine, EngineOptions, ModelFiles};
use tandem_model::{KvCache, ModelError, Package};
use tandem_shape::{Fingerprint, KvType, LayerRange, ModelConfig};
use tandem_text::Tokenizer;

/// Loads the model that `drafts.model` names, all of its layers.
///
/// # Errors
/// When it cannot be loaded, or has another tokenizer than the model for which it guesses.
pub(crate) async fn load(
    config: &EdgeConfig,
    tokenizer: Fingerprint,
) -> anyhow::Result<DraftModel> {
    let directory = &config.drafts.model;
    let loaded = of_directory(config, directory, tokenizer).await;
    loaded.with_context(|| format!("cannot draft with the model in {}", directory.display()))
}

/// About how much memory it takes: its matrices, and keys and values of one answer as long as a plan has room for. 0 without
/// one.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn memory_bytes(config: &EdgeConfig) -> anyhow::Result<u64> {
    if !config.drafts.have_model() {
        return Ok(0);
    }
    let directory = &config.drafts.model;
    let read = || -> anyhow::Result<_> {
        let package = Package::open(directory)?.map(|package| package.weights);
        Ok((ModelConfig::load(directory)?, package))
    };
    let (shape, package) =
        read().with_context(|| format!("no model can be read in {}", directory.display()))?;
    let asked = config.draft_compute(package.is_some()).weights;
    let weights = asked.or(package).unwrap_or_default();
    let layer = shape.layer_weights() as f64;
    let head = (shape.hidden * shape.vocabulary) as f64;
    let bits = (0..shape.layers).map(|number| layer * weights.of_layer(number).bits());
    let bits = bits.sum::<f64>() + head * weights.of_head().bits();
    let all = LayerRange::new(0, shape.layers, shape.layers)?;
    let positions = config.plan.context.min(shape.max_context());
    let kv = KvCache::bytes_for(&shape, all, positions, KvType::Bf16);
    Ok((bits / 8.0) as u64 + kv)
}

async fn of_directory(
    config: &EdgeConfig,
    directory: &Path,
    tokenizer: Fingerprint,
) -> anyhow::Result<DraftModel> {
    let at = directory.to_owned();
    let opened = tokio::task::spawn_blocking(move || {
        anyhow::Ok((ModelFiles::open(&at)?, Tokenizer::load(&at)?))
    });
    let (files, own) = opened.await??;
    anyhow::ensure!(
        Fingerprint(own.fingerprint()) == tokenizer,
        "it has another tokenizer: what it guesses would be other tokens"
    );
    let shape = files.config.clone();
    let compute = config.draft_compute(files.package().is_some());
    let weights = files.precision(&compute)?.weights;
    let bytes = Arc::new(OnceLock::new());
    let is_loaded = Arc::clone(&bytes);
    let load = move || {
        let back = files.back(0, &compute, |_| {})?;
        let _ = is_loaded.set(back.weight_bytes());
        Ok::<_, ModelError>(back)
    };
    let options = EngineOptions::new(config.thread_count());
    let engine = Engine::start("draft-model", options, load).await?;
    let weight_bytes = bytes.get().copied().unwrap_or(0);
    let idle_ttl = config.sessions.idle_ttl.get();
    let model = DraftModel::new(engine, shape, weight_bytes, idle_ttl).await?;
    tracing::info!(
        model = %directory.display(),
        %weights,
        weight_bytes,
        guess_seconds = model.step_time().as_secs_f64(),
        "a model drafts"
    );
    Ok(model)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::quiet_defaults;

    #[test]
    fn its_memory_is_that_of_its_matrices_and_of_an_answer() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models");
        let model = models.join("llama-mha-untied-bias");
        let config = |max: usize, weights: &str| {
            quiet_defaults()
                .set("model", &model)
                .set("drafts.max", max)
                .set("drafts.model", &model)
                .set("drafts.weights", weights)
                .build::<EdgeConfig>()
                .unwrap()
        };
        let files = ModelFiles::open(&model).unwrap();
        let shape = &files.config;
        let all = LayerRange::new(0, shape.layers, shape.layers).unwrap();
        for weights in ["f32", "int8"] {
            let config = config(3, weights);
            let positions = config.plan.context.min(shape.max_context());
            let kv = KvCache::bytes_for(shape, all, positions, KvType::Bf16);
            let back = files.back(0, &config.draft_compute(false), |_| {}).unwrap();
            let (found, held) = (memory_bytes(&config).unwrap() - kv, back.weight_bytes());
            // Without norms and biases, which are much of so small a model.
            let ratio = found as f64 / held as f64;
            assert!(
                (0.7..1.1).contains(&ratio),
                "{weights}: {found}, held {held}"
            );
        }
        assert_eq!(memory_bytes(&config(0, "f32")).unwrap(), 0);
    }
}
