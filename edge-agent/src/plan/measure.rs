//! Measures this edge: what layers, attention, head and codecs take in each type that may be chosen.
//!
//! Layers are alike in the models we run, so some of them stand for all: as many as memory has room for
//! in every type, at two depths, so that what a step takes whatever its depth comes apart from what a
//! layer takes.

use super::codec_costs::codec_costs;
use super::measured::{Identity, MeasuredCodec, MeasuredEdge, MeasuredKv, MeasuredWeights, sample};
use crate::config::EdgeConfig;
use anyhow::Context as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tandem_engine::{
    Back, Compute, Engine, EngineOptions, Front, ModelFiles, TimedSteps, time_front, time_head,
};
use tandem_model::ComputeThread;
use tandem_program::machine;
use tandem_program::progress::Progress;
use tandem_shape::{Fingerprint, KvType, LayerRange, WeightScheme, WeightType};
use tandem_text::Tokenizer;

/// Layers that are measured, at most: more would not be more alike.
const MOST_LAYERS: usize = 16;
/// The part of the memory there is that layers to be measured may take.
const SHARE_OF_MEMORY: u64 = 3;
/// Steps of a kind, and the time that they may take together.
const REPEATS: usize = 11;
const PATIENCE: Duration = Duration::from_millis(700);
/// Positions at which attention is measured, as far as the model attends.
const POSITIONS: [usize; 4] = [128, 256, 512, 1024];
/// Tokens whose rows codecs are measured on.
const CODEC_ROWS: usize = 48;
/// What they are taken from, over and over if need be: plain prose.
const PROSE: &str = "A river does not choose its bed. Rain falls on the hills, gathers in gullies, and \
    runs where the ground lets it; over years the water cuts, and the valley that seems to have been \
    made for the river was made by it. People came later, built a mill where the stream was steep, and \
    a bridge where it was narrow. In spring, when the snow melts, they still move the sheep uphill.";

/// What may be chosen, and so has to be measured.
#[derive(Debug, Clone)]
pub struct Choices {
    /// Types of weights: one scheme a choice.
    pub weights: Vec<WeightScheme>,
    /// Types of keys and values.
    pub kv: Vec<KvType>,
    /// The deepest split.
    pub deepest: usize,
}

/// What figures of this edge hold for.
pub fn identity(config: &EdgeConfig, files: &ModelFiles, choices: &Choices) -> Identity {
    let profile = |split: usize| {
        let profile = files.profiles.of(split)?;
        Some((split, Fingerprint(profile.fingerprint()).to_string()))
    };
    Identity {
        processor: machine::processor(),
        backend: config.backend.clone(),
        device: config.device.clone(),
        threads: config.thread_count(),
        libtorch: tandem_model::libtorch_version().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        weights_fingerprint: files.identity.to_string(),
        profiles: (0..files.config.layers).filter_map(profile).collect(),
        weights: choices
            .weights
            .iter()
            .map(WeightScheme::to_string)
            .collect(),
        kv: choices.kv.iter().map(KvType::to_string).collect(),
        chunk_rows: config.prefill.chunk_rows,
        frame_bytes: config.prefill.frame.as_usize(),
    }
}

/// Measures everything.
///
/// # Errors
/// When the model cannot be loaded or a step fails.
pub async fn measure(
    config: &EdgeConfig,
    files: Arc<ModelFiles>,
    tokenizer: &Tokenizer,
    choices: &Choices,
) -> anyhow::Result<MeasuredEdge> {
    let edge = Measuring {
        config,
        depth: depth(&files, choices),
        files,
    };
    let parts = 2 * choices.weights.len() + choices.kv.len() + 2;
    let mut progress = Progress::new("measuring", parts, parts);
    // Before the first layer, and behind everything else that an edge has in memory.
    let base_bytes = machine::resident_bytes().unwrap_or(0);
    let mut weights = Vec::new();
    for scheme in &choices.weights {
        weights.push(edge.weights(scheme, choices, &mut progress).await?);
    }
    let mut kv = Vec::new();
    for &kind in &choices.kv {
        progress.advance(&format!("keys and values in {kind}"));
        kv.push(edge.kv(kind, choices).await?);
    }
    progress.advance("head");
    let head_seconds = edge.head(choices).await?;
    progress.advance("codecs");
    let codecs = edge.codecs(tokenizer, choices).await?;
    Ok(MeasuredEdge {
        identity: identity(config, &edge.files, choices),
        layers: edge.files.config.layers,
        weights,
        kv,
        head_seconds,
        base_bytes,
        codecs,
    })
}

/// Layers to measure: all that may run here, as far as they fit as f32.
fn depth(files: &ModelFiles, choices: &Choices) -> usize {
    let layer = (size_of::<f32>() * files.config.layer_weights()) as u64;
    let room = machine::memory_limit().unwrap_or(u64::MAX) / SHARE_OF_MEMORY;
    let fit = usize::try_from(room / layer.max(1)).unwrap_or(usize::MAX);
    fit.clamp(2, MOST_LAYERS).min(choices.deepest).max(1)
}

struct Measuring<'a> {
    config: &'a EdgeConfig,
    files: Arc<ModelFiles>,
    depth: usize,
}

/// Bytes that a front takes.
#[derive(Debug, Clone, Copy)]
struct Bytes {
    weights: u64,
    kv_position: u64,
}

impl Measuring<'_> {
    fn timed(&self, positions: Vec<usize>) -> TimedSteps {
        let chunk = self.config.prefill.chunk_rows;
        let mut rows: Vec<usize> = [1, 16, chunk].into_iter().filter(|&r| r <= chunk).collect();
        rows.dedup();
        TimedSteps {
            rows,
            positions,
            repeats: REPEATS,
            patience: PATIENCE,
        }
    }

    fn compute(&self, scheme: &WeightScheme, kv: Option<KvType>, layers: usize) -> Compute {
        // A package's types are its own: there is nothing to ask for.
        let weights = match (self.files.package(), LayerRange::new(0, layers, layers)) {
            (None, Ok(range)) => Some(scheme.within(range.without_head())),
            _ => None,
        };
        Compute {
            place: self.config.compute().place,
            weights,
            kv,
        }
    }

    /// A front of its own engine thread, which ends with it.
    async fn front(
        &self,
        layers: usize,
        compute: Compute,
    ) -> anyhow::Result<(Engine<Front>, Bytes)> {
        let sizes: Arc<OnceLock<Bytes>> = Arc::default();
        let (files, told) = (Arc::clone(&self.files), Arc::clone(&sizes));
        let load = move || {
            let front = files.front(layers, &compute, |_| {})?;
            let _ = told.set(Bytes {
                weights: front.weight_bytes(),
                kv_position: front.kv_bytes_per_position(),
            });
            Ok::<_, tandem_model::ModelError>(front)
        };
        let engine = Engine::start(
            "measured",
            EngineOptions::new(self.config.thread_count()),
            load,
        )
        .await?;
        let bytes = sizes.get().copied().context("the front has no size")?;
        Ok((engine, bytes))
    }

    async fn weights(
        &self,
        scheme: &WeightScheme,
        choices: &Choices,
        progress: &mut Progress,
    ) -> anyhow::Result<MeasuredWeights> {
        let kv = choices.kv.first().copied();
        let timed = self.timed(Vec::new());
        let mut steps = Vec::new();
        let mut layer_bytes = 0;
        let mut depths = vec![self.depth, self.depth / 2];
        depths.retain(|&layers| layers > 0);
        depths.dedup();
        for layers in depths {
            progress.advance(&format!("{layers} layers in {scheme}"));
            let compute = self.compute(scheme, kv, layers);
            let (engine, bytes) = self.front(layers, compute).await?;
            layer_bytes = layer_bytes.max(bytes.weights / layers as u64);
            let times = time_front(&engine, layers, &self.files.config, &timed).await?;
            steps.extend(times.iter().map(sample));
        }
        Ok(MeasuredWeights {
            name: scheme.to_string(),
            layer_bytes,
            steps,
        })
    }

    async fn kv(&self, kind: KvType, choices: &Choices) -> anyhow::Result<MeasuredKv> {
        let scheme = choices.weights.first().cloned().unwrap_or_default();
        let chunk = self.config.prefill.chunk_rows;
        let longest = self.files.config.max_context().saturating_sub(chunk);
        let positions: Vec<usize> = POSITIONS.into_iter().filter(|&p| p <= longest).collect();
        let compute = self.compute(&scheme, Some(kind), self.depth);
        let (engine, bytes) = self.front(self.depth, compute).await?;
        let timed = self.timed(positions);
        let times = time_front(&engine, self.depth, &self.files.config, &timed).await?;
        Ok(MeasuredKv {
            name: kind.to_string(),
            layer_position_bytes: bytes.kv_position.div_ceil(self.depth as u64),
            steps: times.iter().map(sample).collect(),
        })
    }

    /// The head as it would be beside weights of the first type.
    async fn head(&self, choices: &Choices) -> anyhow::Result<Option<f64>> {
        let layers = self.files.config.layers;
        if self.files.package().is_some() {
            return Ok(None);
        }
        let most = choices.weights.first().map(WeightScheme::of_most);
        let compute = Compute {
            place: self.config.compute().place,
            weights: most.map(|most: WeightType| most.into()),
            kv: None,
        };
        let files = Arc::clone(&self.files);
        let load = move || files.back(layers - 1, &compute, |_| {});
        let threads = self.config.thread_count();
        let engine: Engine<Back> =
            Engine::start("measured head", EngineOptions::new(threads), load).await?;
        let timed = self.timed(Vec::new());
        let seconds = time_head(&engine, layers - 1, &self.files.config, &timed).await?;
        Ok(Some(seconds))
    }

    async fn codecs(
        &self,
        tokenizer: &Tokenizer,
        choices: &Choices,
    ) -> anyhow::Result<Vec<MeasuredCodec>> {
        let prose = tokenizer.encode(PROSE, true)?;
        let limit = self.files.config.max_context().min(CODEC_ROWS);
        let tokens: Vec<u32> = prose.iter().copied().cycle().take(limit).collect();
        let scheme = choices.weights.first().cloned().unwrap_or_default();
        // All cuts in the smallest type: what a row costs hardly depends on the layers' own.
        let layers = choices.deepest;
        let compute = self.compute(&scheme, None, layers);
        let (files, threads) = (Arc::clone(&self.files), self.config.thread_count());
        let frame_bytes = self.config.prefill.frame.as_usize();
        let measuring = tokio::task::spawn_blocking(move || {
            let _computing = ComputeThread::begin(threads);
            let front = files.front(layers, &compute, |_| {})?;
            codec_costs(&front, &files.profiles, &tokens, frame_bytes, |_| {})
        });
        measuring.await?
    }
}
