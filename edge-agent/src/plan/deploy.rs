//! A plan as settings of an edge.

use crate::config::EdgeConfig;
use serde::{Deserialize, Serialize};
use tandem_config::Layers;
use tandem_planner::{Plan, Problem, WeightChoice};

/// The settings that a plan decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Layers on the edge.
    pub split: usize,
    /// Types of their weights.
    pub weights: String,
    /// Type of their keys and values.
    pub kv: String,
    /// How rows are written.
    pub codec: String,
    /// Sessions at once: there is memory for no more.
    pub sessions: usize,
    /// The most positions of a session.
    pub context: usize,
}

impl Deployment {
    /// What a plan says. What the configuration says already stays as it is, and with split 0 there is
    /// nothing else to say.
    pub fn of(problem: &Problem, plan: &Plan, config: &EdgeConfig) -> Self {
        let candidate = &plan.candidate;
        let unless_given = |given: &str, planned: String| match (given, candidate.split) {
            ("auto", 1..) => planned,
            _ => given.to_owned(),
        };
        let name = |names: Option<&String>| names.cloned().unwrap_or_default();
        let kv = problem.edge.kv.get(candidate.kv).map(|kv| &kv.name);
        let codec = problem.codecs.get(candidate.codec).map(|codec| &codec.name);
        // A package's types are not asked for: it has them.
        let weights = match &problem.space.weights {
            WeightChoice::Given(_) => config.weights.clone(),
            WeightChoice::Among(_) => unless_given(&config.weights, candidate.scheme(problem)),
        };
        Self {
            split: candidate.split,
            weights,
            kv: unless_given(&config.kv, name(kv)),
            codec: unless_given(&config.codec, name(codec)),
            sessions: config.sessions.max.min(problem.workload.sessions).max(1),
            context: match config.sessions.context {
                0 => plan.estimate.context.max(1),
                context => context.min(plan.estimate.context.max(1)),
            },
        }
    }

    /// A configuration with these settings over another.
    ///
    /// # Errors
    /// When a setting cannot be.
    pub fn over(&self, config: &EdgeConfig) -> anyhow::Result<EdgeConfig> {
        let mut config = config.clone();
        config.split = self.split.to_string().parse()?;
        config.weights.clone_from(&self.weights);
        config.kv.clone_from(&self.kv);
        config.codec.clone_from(&self.codec);
        config.sessions.max = self.sessions;
        config.sessions.context = self.context;
        Ok(config)
    }

    /// A configuration file that deploys it: what the layers say beyond the defaults, and these
    /// settings over it.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn yaml(&self, layers: Layers) -> anyhow::Result<String> {
        let changed = layers
            .set("split", self.split)
            .set("weights", &self.weights)
            .set("kv", &self.kv)
            .set("codec", &self.codec)
            .set("sessions.max", self.sessions)
            .set("sessions.context", self.context)
            .changed()?;
        let yaml = serde_yaml::to_string(&changed)?;
        Ok(format!(
            "# Planned by edge-agent plan: edge-agent serve --config THIS.\n{yaml}"
        ))
    }
}
