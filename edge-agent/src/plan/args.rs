//! The flags of `edge-agent plan`.

use crate::cli::{EdgeArgs, quiet_defaults};
use crate::config::EdgeConfig;
use clap::Args;
use std::path::PathBuf;
use tandem_config::{ByteSize, ConfigError, HumanDuration, Layers, parse_token_count};
use tandem_planner::Objective;

/// Flags of `plan`. What `split`, `weights`, `kv` and `codec` are set to is taken as given.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The edge.
    #[command(flatten)]
    pub edge: EdgeArgs,
    /// What the plan has to hold.
    #[command(flatten)]
    pub limits: PlanLimits,
    /// Measure again what was measured before.
    #[arg(long)]
    pub fresh: bool,
    /// Show where time, memory and quality go.
    #[arg(long)]
    pub explain: bool,
    /// Print one JSON document instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Write a configuration for `serve` that deploys the plan.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write all figures that the plan was made from, as JSON.
    #[arg(long, value_name = "FILE")]
    pub problem: Option<PathBuf>,
    /// Draw the plans that no other beats, as SVG.
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
}

/// Flags over the section `plan` of the configuration.
#[derive(Debug, Default, Args)]
pub struct PlanLimits {
    /// What is best: balanced, cloud-seconds, latency, edge-memory or quality.
    #[arg(long)]
    pub objective: Option<Objective>,
    /// With balanced: how many times as long as the fastest plan's a token may take.
    #[arg(long)]
    pub slowdown: Option<f64>,
    /// Memory that the edge may take, such as 512MiB; 0B for a quarter of what the process may take.
    #[arg(long)]
    pub memory: Option<ByteSize>,
    /// The longest that a token may take, such as 120ms; 0s for no limit.
    #[arg(long)]
    pub deadline: Option<HumanDuration>,
    /// The longest that the first token may take; 0s for no limit.
    #[arg(long)]
    pub first_token: Option<HumanDuration>,
    /// Tokens that a session must have room for, such as 2k (k is 1024).
    #[arg(long, value_parser = parse_token_count::<usize>)]
    pub max_context: Option<usize>,
    /// Divergence from the exact model in nats; 0 for no limit.
    #[arg(long)]
    pub max_kl: Option<f64>,
    /// How often the link may be worse than what deadlines are held on.
    #[arg(long)]
    pub outage: Option<f64>,
    /// Tokens of a typical prompt.
    #[arg(long, value_parser = parse_token_count::<usize>)]
    pub prompt_tokens: Option<usize>,
    /// Tokens of a typical answer.
    #[arg(long, value_parser = parse_token_count::<usize>)]
    pub output_tokens: Option<usize>,
    /// Conversations held at once.
    #[arg(long)]
    pub plan_sessions: Option<usize>,
    /// Where figures and plans are kept.
    #[arg(long, value_name = "DIR")]
    pub plan_cache: Option<PathBuf>,
}

impl PlanLimits {
    /// The configuration of an edge with these limits over it, whose logs are warnings unless asked for.
    ///
    /// # Errors
    /// When a file or a value cannot be.
    pub fn load_over(self, edge: EdgeArgs) -> Result<EdgeConfig, ConfigError> {
        self.flags_over(edge.layers_over(quiet_defaults())?).build()
    }

    /// These limits over other layers.
    pub(crate) fn flags_over(self, layers: Layers) -> Layers {
        layers
            .flag("--objective", "plan.objective", self.objective)
            .flag("--slowdown", "plan.slowdown", self.slowdown)
            .flag("--memory", "plan.memory", self.memory)
            .flag("--deadline", "plan.deadline", self.deadline)
            .flag("--first-token", "plan.first_token", self.first_token)
            .flag("--max-context", "plan.context", self.max_context)
            .flag("--max-kl", "plan.max_kl", self.max_kl)
            .flag("--outage", "plan.outage", self.outage)
            .flag("--prompt-tokens", "plan.prompt_tokens", self.prompt_tokens)
            .flag("--output-tokens", "plan.output_tokens", self.output_tokens)
            .flag("--plan-sessions", "plan.sessions", self.plan_sessions)
            .flag("--plan-cache", "plan.cache", self.plan_cache)
    }
}
