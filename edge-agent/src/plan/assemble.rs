//! From what was measured and what is configured to the planner's problem.

use super::measure::Choices;
use super::measured::{MeasuredCodec, MeasuredEdge, MeasuredWeights};
use crate::config::{EdgeConfig, PlanConfig};
use anyhow::Context as _;
use std::str::FromStr as _;
use std::time::Duration;
use tandem_codec::Codec;
use tandem_engine::ModelFiles;
use tandem_model::{Group, KvType, ModelConfig, WeightScheme, WeightType};
use tandem_planner::{
    AttentionTimes, CloudProfile, CodecCost, CodecOption, Constraints, EdgeProfile, KvOption,
    LayerTimes, LinkProfile, Problem, Sensitivity, Space, WeightChoice, WeightOption, Workload,
};
use tandem_proto::v1;
use tandem_service::machine;
use tandem_wire::fingerprint;

/// Plans within this share of the best are as good: less than figures differ from run to run.
const INDIFFERENCE: f64 = 0.01;
/// Positions that room for keys and values is made for at once.
const KV_POSITIONS: usize = 32;
/// What a calibrated codec promises of its divergence, for cuts at which it was not measured.
const PROMISED: [(&str, f64); 3] = [("high", 2.2e-4), ("balanced", 9e-4), ("economy", 7e-3)];
/// Types of weights from the smallest to the largest.
const BY_SIZE: [WeightType; 6] = [
    WeightType::Int4(Group::G128),
    WeightType::Int4(Group::G64),
    WeightType::Int4(Group::G32),
    WeightType::Int8,
    WeightType::Bf16,
    WeightType::F32,
];
/// Types of keys and values from the smallest to the largest.
const KV_BY_SIZE: [KvType; 4] = [KvType::Int4, KvType::Int8, KvType::Bf16, KvType::F32];

/// What may be chosen: what is configured, and where that is `auto` every type of which is known what it
/// costs in quality, or every type if nobody asks.
///
/// # Errors
/// When the configuration and the files do not fit.
pub fn choices(
    config: &EdgeConfig,
    files: &ModelFiles,
    sensitivity: Option<&Sensitivity>,
) -> anyhow::Result<Choices> {
    let compute = config.compute();
    let any = config.plan.max_kl == 0.0;
    let last = files.config.layers - 1;
    let package = files.package();
    let deepest = package.map_or(last, |package| package.range.end().min(last));
    let given = package
        .map(|p| p.weights.clone())
        .or(compute.weights.clone());
    let known = |name: &str| sensitivity.is_some_and(|s| s.layer_kl(name).is_some());
    let weights = match given {
        Some(_) => vec![files.precision(&compute)?.weights],
        None => BY_SIZE
            .into_iter()
            .filter(|&kind| kind == WeightType::F32 || any || known(&kind.to_string()))
            .map(WeightScheme::from)
            .collect(),
    };
    let known = |name: &str| sensitivity.is_some_and(|s| s.kv_layer_kl(name, 1).is_some());
    let kv = match compute.kv {
        Some(kv) => vec![kv],
        None => KV_BY_SIZE
            .into_iter()
            .filter(|&kind| kind == KvType::F32 || any || known(&kind.to_string()))
            .collect(),
    };
    Ok(Choices {
        weights,
        kv,
        deepest: config
            .split
            .get()
            .unwrap_or(deepest)
            .clamp(1, deepest.max(1)),
    })
}

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
    let own = config.codec().map(|codec| codec.to_string());
    let floor = config.adapt.floor.codec();
    let chosen = |codec: &CodecOption| match (&own, floor, Codec::from_str(&codec.name)) {
        (Some(own), ..) => *own == codec.name,
        // A session follows the link down to the floor, and begins no lower.
        (None, Some(floor), Ok(codec)) => codec.typical_bits() >= floor.typical_bits(),
        (None, ..) => true,
    };
    let given = files.package().is_some() || config.compute().weights.is_some();
    let splits = match config.split.get() {
        Some(split) => split..=split,
        None => 0..=inputs.choices.deepest,
    };
    Ok(Problem {
        space: Space {
            weights: match given {
                true => WeightChoice::Given(vec![0; inputs.choices.deepest]),
                false => WeightChoice::Among((0..edge.weights.len()).collect()),
            },
            kv: (0..edge.kv.len()).collect(),
            codecs: (0..codecs.len()).filter(|&c| chosen(&codecs[c])).collect(),
            splits,
        },
        workload: Workload {
            prompt_tokens: plan.prompt_tokens,
            output_tokens: plan.output_tokens,
            sessions: plan.sessions,
            chunk_rows: config.prefill.chunk_rows,
            frame_bytes: config.prefill.frame.as_usize(),
        },
        constraints: constraints(plan, files.config.max_context()),
        objective: plan.objective,
        indifference: INDIFFERENCE,
        contention: contention(config, inputs.cloud_machine),
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

fn constraints(plan: &PlanConfig, model_limit: usize) -> Constraints {
    let seconds = |limit: Duration| (!limit.is_zero()).then_some(limit.as_secs_f64());
    let memory = match plan.memory.get() {
        // Not all of it: figures are not exact, and nobody likes to be killed for a megabyte.
        0 => machine::memory_limit().map(|limit| limit / 5 * 4),
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
        // f32 is what others are compared with.
        let exact = (kind.name == KvType::F32.to_string()).then_some(0.0);
        let known = inputs
            .sensitivity
            .and_then(|s| s.kv_layer_kl(&kind.name, shape.layers));
        anyhow::Ok(KvOption {
            name: kind.name.clone(),
            layer_position_bytes: kind.layer_position_bytes,
            attention: AttentionTimes::fit(&kind.steps, &first.times)?,
            layer_kl: known.or(exact),
        })
    });
    Ok(EdgeProfile {
        layers: measured.layers,
        kv: kv.collect::<anyhow::Result<_>>()?,
        weights,
        kv_positions: KV_POSITIONS,
        head_seconds: measured.head_seconds,
        base_bytes: measured.base_bytes,
        chunk_bytes: chunk_bytes(shape, inputs.config.prefill.chunk_rows),
    })
}

fn weight_option(inputs: &Inputs<'_>, measured: &MeasuredWeights) -> anyhow::Result<WeightOption> {
    let scheme = WeightScheme::from_str(&measured.name)?;
    // What is given is not questioned.
    let given = inputs.files.package().is_some() || inputs.config.compute().weights.is_some();
    let kl = |layer: usize| {
        let kind = scheme.of_layer(layer);
        let exact = (given || kind == WeightType::F32).then_some(0.0);
        let known = inputs
            .sensitivity
            .and_then(|s| s.layer_kl(&kind.to_string()));
        known.and_then(|known| known.get(layer).copied()).or(exact)
    };
    Ok(WeightOption {
        name: measured.name.clone(),
        layer_bytes: measured.layer_bytes,
        times: LayerTimes::fit(&measured.steps)?,
        layer_kl: (0..inputs.files.config.layers).map(kl).collect(),
    })
}

fn codec(inputs: &Inputs<'_>, measured: &MeasuredCodec) -> CodecOption {
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
        let given = inputs.config.codec().is_some();
        let exact = (given || measured.name == "f32").then_some(0.0);
        let promised = PROMISED.iter().find(|(name, _)| *name == measured.name);
        let promised = promised.filter(|_| profile.is_some()).map(|(_, kl)| *kl);
        let kl = inputs
            .sensitivity
            .and_then(|s| s.codec_kl(&measured.name, number + 1, profile))
            .or(promised);
        CodecCost {
            decode_bytes: cut.decode_bytes,
            prefill_bytes: cut.prefill_bytes,
            encode_seconds: cut.encode_seconds,
            decode_seconds: cut.decode_seconds,
            kl: kl.filter(|_| shared).or(exact),
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
