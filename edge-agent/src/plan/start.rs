//! `split: auto`: an edge that plans for itself when it starts.
//!
//! The plan is kept, and holds as long as what it was made from: this machine's figures, the model, what
//! was asked for, and the cloud's machine and types. The link is not among it: it is never the same twice,
//! and a session follows it by itself.

use super::assemble::contention;
use super::deploy::Deployment;
use super::expected::Expected;
use super::figures::divergence_in_words;
use super::measured::Identity;
use super::{Cloud, Subject, no_cloud};
use crate::config::{EdgeConfig, PlanConfig, Preset};
use crate::draft_model;
use serde::{Deserialize, Serialize};
use std::time::Instant;
use tandem_client::Dialer;
use tandem_program::machine;
use tandem_proto::v1;

/// A plan, kept between starts.
const PLAN_FILE: &str = "edge-plan.json";

/// What a plan holds for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Grounds {
    edge: Identity,
    plan: PlanConfig,
    given: Given,
    sensitivity: Option<u32>,
    /// Memory that this process may take: a part of it is the default limit.
    memory: Option<u64>,
    cloud: Option<CloudGrounds>,
}

/// The settings that a plan takes as given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Given {
    preset: Preset,
    weights: String,
    kv: String,
    codec: String,
    floor: String,
    sessions: usize,
    context: usize,
    /// Memory of a model that drafts.
    #[serde(default)]
    draft_model: u64,
}

/// What a plan holds for in the cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CloudGrounds {
    address: String,
    machine: String,
    /// By how much the two slow each other down, in words: floats are not compared.
    contention: String,
    types: (String, String),
    first_layer: u32,
    max_context: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    grounds: Grounds,
    deployment: Deployment,
    expected: Expected,
    /// As `plan --json` writes it. Absent of an earlier release.
    #[serde(default)]
    report: Option<serde_json::Value>,
}

/// What runs.
#[derive(Debug)]
pub struct Planned {
    /// The configuration, with a split.
    pub config: EdgeConfig,
    /// The plan that the split is of, as `plan --json` writes it; none where it was given.
    pub report: Option<serde_json::Value>,
}

/// Whether to wait for a cloud that does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// As long as it takes: a server has nothing better to do.
    Wait,
    /// Not at all.
    Fail,
}

/// The configuration with what `split: auto` comes to; unchanged where a split is given.
///
/// # Errors
/// When something cannot be measured, or no plan holds the limits.
pub async fn planned(config: EdgeConfig, patience: Patience) -> anyhow::Result<Planned> {
    if config.split.get().is_some() {
        let report = None;
        return Ok(Planned { config, report });
    }
    let began = Instant::now();
    let subject = Subject::open(&config).await?;
    let mut grounds = Grounds {
        edge: super::measure::identity(&config, &subject.files, &subject.choices),
        plan: config.plan.clone(),
        given: Given::of(&config)?,
        sensitivity: subject.sensitivity_checksum,
        memory: machine::memory_total(),
        cloud: None,
    };
    let kept: Option<Kept> = subject.cache.read(PLAN_FILE);
    let dialer = Dialer::new(config.dialer()).await?;
    let link = match (dialer.reach().await, &kept) {
        (Ok(link), _) => link,
        (Err(_), Some(kept)) if grounds.are_but_for_the_cloud(&kept.grounds) => {
            tracing::warn!(
                cloud = dialer.addresses(),
                "the cloud does not answer; deploying what was planned last"
            );
            kept.tell("planned before");
            return kept.over(&config);
        }
        (Err(error), _) if patience == Patience::Fail => {
            let error = no_cloud(error, &dialer);
            anyhow::bail!("split is auto, and a plan needs the cloud: {error}");
        }
        (Err(_), _) => {
            tracing::info!("split is auto, and a plan needs the cloud");
            dialer.wait().await?
        }
    };
    let cloud = Cloud::ask(&link, &subject).await?;
    grounds.cloud = Some(CloudGrounds::of(&config, &cloud));
    if let Some(kept) = kept {
        if kept.grounds == grounds {
            kept.tell("planned before");
            return kept.over(&config);
        }
        tracing::info!("planning again: the last plan was made for something else");
    }
    let edge = subject.edge(&config, false).await?;
    let way = cloud.probe(&link).await?;
    let solved = subject.solve(&config, &edge, &cloud, way, began.elapsed())?;
    let report = super::report::Report::new(&solved);
    let Some(chosen) = &solved.outcome.chosen else {
        let report = report.text(false);
        anyhow::bail!("split is auto, and no plan holds the limits\n{report}");
    };
    let kept = Kept {
        grounds,
        deployment: Deployment::of(&solved.problem, chosen, &config),
        expected: Expected::of(&solved.problem, &solved.outcome, chosen),
        report: report.brief(),
    };
    kept.tell("planned");
    let _ = subject.cache.write(PLAN_FILE, &kept);
    kept.over(&config)
}

impl Grounds {
    fn are_but_for_the_cloud(&self, kept: &Self) -> bool {
        let kept = Self {
            cloud: self.cloud.clone(),
            ..kept.clone()
        };
        *self == kept
    }
}

impl Given {
    fn of(config: &EdgeConfig) -> anyhow::Result<Self> {
        Ok(Self {
            preset: config.preset,
            weights: config.weights.clone(),
            kv: config.kv.clone(),
            codec: config.codec.clone(),
            floor: config.adapt.floor.to_string(),
            sessions: config.sessions.max,
            context: config.sessions.context,
            draft_model: draft_model::memory_bytes(config)?,
        })
    }
}

impl CloudGrounds {
    fn of(config: &EdgeConfig, cloud: &Cloud) -> Self {
        let v1::ProfileBackResponse {
            machine,
            weights,
            kv,
            ..
        } = &cloud.profile;
        let machine = machine.clone().unwrap_or_default();
        Self {
            address: config.cloud.to_string(),
            contention: contention(config, Some(&machine)).to_string(),
            machine: format!(
                "{}, {}, {} threads, libtorch {}",
                machine.processor, machine.device, machine.threads, machine.libtorch
            ),
            types: (weights.clone(), kv.clone()),
            first_layer: cloud.described.first_layer,
            max_context: cloud.described.max_context,
        }
    }
}

impl Kept {
    /// What runs by it.
    fn over(&self, config: &EdgeConfig) -> anyhow::Result<Planned> {
        Ok(Planned {
            config: self.deployment.over(config)?,
            report: self.report.clone(),
        })
    }

    /// One line with what runs and what to expect of it, and another where not to split is the answer.
    fn tell(&self, what: &str) {
        let Self {
            deployment,
            expected,
            ..
        } = self;
        tracing::info!(
            split = deployment.split,
            weights = %deployment.weights,
            kv = %deployment.kv,
            codec = %deployment.codec,
            sessions = deployment.sessions,
            context = deployment.context,
            memory = %expected.memory(),
            binds = %expected.binds(),
            kl = %divergence_in_words(expected.kl, expected.kl_is_bound),
            token_ms = %format!("{:.1}", 1e3 * expected.token_seconds),
            cloud_ms = %format!("{:.1}", 1e3 * expected.cloud_seconds_per_token),
            "{what}"
        );
        if let Some(advice) = &expected.advice {
            tracing::info!("{advice}");
        }
    }
}
