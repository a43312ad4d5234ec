//! From what was measured and what is configured to the planner's problem.

use super::bounds;
use super::choices;
use super::measure::Choices;
use super::measured::{MeasuredCodec, MeasuredEdge, MeasuredWeights};
use crate::config::{EdgeConfig, PlanConfig};
use crate::draft_model;
use anyhow::Context as _;
use std::str::FromStr as _;
use std::time::Duration;
use tandem_codec::Codec;
use tandem_engine::ModelFiles;
use tandem_planner::{
    AttentionTimes, CloudProfile, CodecCost, CodecOption, Constraints, DraftProfile, EdgeProfile,
    KvOption, LayerTimes, LinkProfile, Objective, Problem, Sensitivity, Space, WeightChoice,
    WeightOption, Workload,
};
use tandem_program::machine;
use tandem_proto::v1;
use tandem_shape::{KvType, ModelConfig, WeightScheme, WeightType};
use tandem_wire::fingerprint;

/// Plans within this share of the best are as good: less than figures differ from run to run.
const INDIFFERENCE: f64 = 0.01;
/// The same for balanced plans. The cloud's compute for a request varies by 5 to 10%, and what an edge's
/// types change of how its steps and the cloud's coincide is no reason to take more memory.
const BALANCED_INDIFFERENCE: f64 = 0.05;
/// Positions that room for keys and values is made for at once.
const KV_POSITIONS: usize = 32;
/// What part of the memory that a process may take a plan may use, unless the configuration says how much.
const PART_OF_MEMORY: u64 = 4;
/// What everything is put together from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The configuration.
    pub config: &'a EdgeConfig,
    /// The model.
    pub files: &'a ModelFiles,
    /// What precision costs, if that was measured.
    pub sensitivity: Option<&'a Sensitivity>,
    /// What may be chosen.
    pub choices: &'a Choices,
    /// Figures of this edge.
    pub edge: &'a MeasuredEdge,
    /// What the cloud serves.
    pub described: &'a v1::DescribeBackResponse,
    /// What the cloud runs on, if it says so.
    pub cloud_machine: Option<&'a v1::Machine>,
    /// How drafts fared, if that is known.
    pub drafts: Option<DraftProfile>,
}

/// The problem to solve.
///
/// # Errors
/// When figures are missing or make no sense.
pub fn problem(
    inputs: &Inputs<'_>,
    cloud: CloudProfile,
    link: LinkProfile,
) -> anyhow::Result<Problem> {
    let Inputs { config, files, .. } = inputs;
    let plan = &config.plan;
    let edge = edge(inputs)?;
    let codecs: Vec<CodecOption> = inputs
        .edge
        .codecs
        .iter()
        .map(|c| codec(inputs, c))
        .collect();
    let given = files.package().is_some() || choices::given_types(config, files).weights.is_some();
    let splits = match config.split.get() {
        Some(split) => split..=split,
        None => 0..=inputs.choices.deepest,
    };
    Ok(Problem {
        space: Space {
            weights: if given {
                WeightChoice::Given(vec![0; inputs.choices.deepest])
            } else {
                WeightChoice::Among((0..edge.weights.len()).collect())
            },
            kv: (0..edge.kv.len()).collect(),
            codecs: choices::codecs(config, &codecs),
            splits,
        },
        workload: Workload {
            prompt_tokens: plan.prompt_tokens,
            output_tokens: plan.output_tokens,
            sessions: plan.sessions,
            chunk_rows: config.prefill.chunk_rows,
            frame_bytes: config.prefill.frame.as_usize(),
        },
        constraints: constraints(plan, files.config.max_context(), edge.base_bytes),
        objective: plan.objective,
        indifference: match plan.objective {
            Objective::Balanced => BALANCED_INDIFFERENCE,
            _ => INDIFFERENCE,
        },
        slowdown: plan.slowdown,
        contention: contention(config, inputs.cloud_machine),
        drafts: inputs.drafts.clone(),
        cloud: CloudProfile {
            max_context: cloud.max_context.min(files.config.max_context()),
            ..cloud
        },
        edge,
        link,
        codecs,
    })
}

/// How much slower steps of edge and cloud get that run at the same time: on one machine they share its
/// processors.
pub fn contention(config: &EdgeConfig, cloud: Option<&v1::Machine>) -> f64 {
    let here = Here {
        host: machine::running_host(),
        processors: machine::processors(),
        device: &config.device,
        threads: config.thread_count(),
    };
    here.contention_with(cloud)
}

/// Where this edge computes.
struct Here<'a> {
    host: String,
    processors: Option<usize>,
    device: &'a str,
    threads: usize,
}

impl Here<'_> {
    fn contention_with(&self, cloud: Option<&v1::Machine>) -> f64 {
        let shared = cloud.filter(|cloud| {
            let same = !self.host.is_empty() && cloud.running_host == self.host;
            same && self.device == "cpu" && cloud.device == "cpu"
        });
        let (Some(cloud), Some(processors)) = (shared, self.processors) else {
            return 1.0;
        };
        let threads = self.threads + cloud.threads as usize;
        (threads as f64 / processors as f64).max(1.0)
    }
}

/// Bytes that a plan may use where the configuration does not say: a part of what this process may take,
/// whatever others use at the moment, so that two starts agree. What is resident before a layer is loaded is
/// no choice of a plan, and keeps none of it from being made.
fn default_memory(total: Option<u64>, base_bytes: u64) -> Option<u64> {
    total.map(|total| (total / PART_OF_MEMORY).max(base_bytes))
}

fn constraints(plan: &PlanConfig, model_limit: usize, base_bytes: u64) -> Constraints {
    let seconds = |limit: Duration| (!limit.is_zero()).then_some(limit.as_secs_f64());
    let memory = match plan.memory.get() {
        0 => default_memory(machine::memory_total(), base_bytes),
        bytes => Some(bytes),
    };
    Constraints {
        memory,
        token_deadline: seconds(plan.deadline.get()),
        first_token: seconds(plan.first_token.get()),
        min_context: plan.context.min(model_limit),
        max_kl: (plan.max_kl > 0.0).then_some(plan.max_kl),
        outage: plan.outage,
    }
}

fn edge(inputs: &Inputs<'_>) -> anyhow::Result<EdgeProfile> {
    let measured = inputs.edge;
    let shape = &inputs.files.config;
    let weights = measured.weights.iter().map(|w| weight_option(inputs, w));
    let weights = weights.collect::<anyhow::Result<Vec<WeightOption>>>()?;
    let first = weights.first().context("no type of weights was measured")?;
    let kv = measured.kv.iter().map(|kind| {
        let named = KvType::from_str(&kind.name)?;
        // f32 is what others are compared with, and what is given is not questioned.
        let given = choices::given_types(inputs.config, inputs.files)
            .kv
            .is_some();
        let exact = (given || named == KvType::F32).then_some(0.0);
        let known = inputs
            .sensitivity
            .and_then(|s| s.kv_layer_kl(&kind.name, shape.layers))
            .or(exact);
        anyhow::Ok(KvOption {
            name: kind.name.clone(),
            layer_position_bytes: kind.layer_position_bytes,
            attention: AttentionTimes::fit(&kind.steps, &first.times)?,
            layer_kl: known.unwrap_or(bounds::kv(named)),
            kl_is_bound: known.is_none(),
        })
    });
    Ok(EdgeProfile {
        layers: measured.layers,
        kv: kv.collect::<anyhow::Result<_>>()?,
        weights,
        kv_positions: KV_POSITIONS,
        head_seconds: measured.head_seconds,
        base_bytes: measured.base_bytes
            + inputs.config.sessions.prefix_memory.get()
            + draft_model::memory_bytes(inputs.config)?,
        chunk_bytes: chunk_bytes(shape, inputs.config.prefill.chunk_rows),
    })
}

fn weight_option(inputs: &Inputs<'_>, measured: &MeasuredWeights) -> anyhow::Result<WeightOption> {
    let scheme = WeightScheme::from_str(&measured.name)?;
    // What is given is not questioned.
    let given = inputs.files.package().is_some()
        || choices::given_types(inputs.config, inputs.files)
            .weights
            .is_some();
    let known = |layer: usize| {
        let kind = scheme.of_layer(layer);
        let exact = (given || kind == WeightType::F32).then_some(0.0);
        let known = inputs
            .sensitivity
            .and_then(|s| s.layer_kl(&kind.to_string()));
        known.and_then(|known| known.get(layer).copied()).or(exact)
    };
    let kl = |layer: usize| known(layer).unwrap_or(bounds::weights(scheme.of_layer(layer)));
    let layers = 0..inputs.files.config.layers;
    Ok(WeightOption {
        name: measured.name.clone(),
        layer_bytes: measured.layer_bytes,
        times: LayerTimes::fit(&measured.steps)?,
        kl_is_bound: layers.clone().any(|layer| known(layer).is_none()),
        layer_kl: layers.map(kl).collect(),
    })
}

fn codec(inputs: &Inputs<'_>, measured: &MeasuredCodec) -> CodecOption {
    let named = Codec::from_str(&measured.name).ok();
    let known = &inputs.described.profile_fingerprints;
    let cuts = measured.cuts.iter().enumerate().map(|(number, cut)| {
        let profile = cut.profile.as_deref();
        // A profile that the cloud neither has nor takes: rows would be written without it, and what
        // they then cost was not measured.
        let shared = profile.is_none_or(|profile| {
            let mut known = known.iter().filter_map(|k| fingerprint(k));
            let has = known.any(|known| known.to_string() == profile);
            has || inputs.described.accepts_profiles
        });
        let given = choices::given_codec(inputs.config).is_some();
        let exact = (given || named == Some(Codec::F32)).then_some(0.0);
        let kl = inputs
            .sensitivity
            .and_then(|s| s.codec_kl(&measured.name, number + 1, profile))
            .filter(|_| shared)
            .or(exact);
        CodecCost {
            decode_bytes: cut.decode_bytes,
            prefill_bytes: cut.prefill_bytes,
            encode_seconds: cut.encode_seconds,
            decode_seconds: cut.decode_seconds,
            kl: kl.unwrap_or(named.map_or(f64::INFINITY, bounds::codec)),
            kl_is_bound: kl.is_none(),
        }
    });
    CodecOption {
        name: measured.name.clone(),
        cuts: cuts.collect(),
    }
}

/// Bytes of a chunk's rows while a layer runs: residual and its norm, queries, keys, values and what
/// attention gives, the two halves of the gate and their product, all f32; twice, because the next is
/// made before the last is given back.
fn chunk_bytes(shape: &ModelConfig, rows: usize) -> u64 {
    let heads = (2 * shape.heads + 2 * shape.kv_heads) * shape.head_dim;
    let values = 2 * shape.hidden + heads + 3 * shape.intermediate;
    2 * 4 * (rows * values) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_memory_is_a_quarter_and_at_least_what_is_there_without_a_layer() {
        assert_eq!(default_memory(Some(4 << 30), 1 << 20), Some(1 << 30));
        assert_eq!(default_memory(Some(4 << 20), 3 << 20), Some(3 << 20));
        assert_eq!(default_memory(None, 1), None);
    }

    #[test]
    fn only_one_machines_processors_are_shared() {
        let here = |host: &str, processors, device, threads| Here {
            host: host.to_owned(),
            processors,
            device,
            threads,
        };
        let cloud = |host: &str, device: &str| v1::Machine {
            running_host: host.to_owned(),
            device: device.to_owned(),
            threads: 2,
            ..v1::Machine::default()
        };
        let close = cloud("a", "cpu");
        let of = |here: Here<'_>, cloud: &v1::Machine| here.contention_with(Some(cloud));
        assert_eq!(of(here("a", Some(2), "cpu", 1), &close), 1.5);
        assert_eq!(
            of(here("a", Some(8), "cpu", 4), &close),
            1.0,
            "there are enough"
        );
        for (apart, why) in [
            (of(here("b", Some(2), "cpu", 2), &close), "another host"),
            (
                of(here("", Some(2), "cpu", 2), &cloud("", "cpu")),
                "hosts that are not known",
            ),
            (
                of(here("a", Some(2), "cpu", 2), &cloud("a", "cuda:0")),
                "a device of its own",
            ),
            (of(here("a", Some(2), "cuda", 2), &close), "here too"),
            (
                of(here("a", None, "cpu", 2), &close),
                "processors that are not known",
            ),
            (
                here("a", Some(2), "cpu", 2).contention_with(None),
                "an old cloud",
            ),
        ] {
            assert_eq!(apart, 1.0, "{why}");
        }
    }
}
