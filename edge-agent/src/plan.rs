//! What to deploy: measures this edge, the link and the cloud, and searches for the best split.
//!
//! ```text
//! measure        this edge, once, kept   ┐
//! cloud_profile  the cloud, by itself    ├─► assemble ─► tandem_planner::search ─► report, plot, deploy
//! link_probe     the way between them    ┘
//! ```

pub mod advice;
pub mod args;
pub mod assemble;
pub mod bounds;
pub mod cache;
pub mod choices;
pub mod cloud_profile;
pub mod codec_costs;
pub mod deploy;
pub mod drafts;
pub mod expected;
pub mod figures;
pub mod link_probe;
pub mod measure;
pub mod measured;
pub mod plot;
pub mod report;
pub mod start;
pub mod table;

use crate::config::{DEFAULTS, EdgeConfig};
use crate::edge::with_whole_model_here;
use crate::status::for_operator;
use anyhow::Context as _;
use args::PlanArgs;
use cache::Cache;
use measure::Choices;
use measured::MeasuredEdge;
use report::Report;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tandem_client::{Dialer, Link, ReachError};
use tandem_config::Layers;
use tandem_engine::ModelFiles;
use tandem_model_source::ProgressTo;
use tandem_planner::{LinkProfile, Outcome, Problem, Sensitivity, search};
use tandem_proto::v1;
use tandem_telemetry::logging;
use tandem_text::Tokenizer;

/// A model, and what is known of it for planning.
#[derive(Debug)]
pub struct Subject {
    files: Arc<ModelFiles>,
    tokenizer: Tokenizer,
    sensitivity: Option<Sensitivity>,
    /// Of the file of it: whether it has changed.
    sensitivity_checksum: Option<u32>,
    choices: Choices,
    cache: Cache,
}

/// A solved problem.
#[derive(Debug)]
pub struct Solved {
    /// What was asked.
    pub problem: Problem,
    /// What was found.
    pub outcome: Outcome,
    /// How long measuring took, and the search.
    pub took: (Duration, Duration),
}

/// Runs the command.
///
/// # Errors
/// When something cannot be measured, and when no plan holds the limits: the report is printed first.
pub async fn plan(args: PlanArgs) -> anyhow::Result<()> {
    let PlanArgs {
        edge,
        limits,
        fresh,
        explain,
        json,
        out,
        problem,
        plot,
    } = args;
    let layers = edge.clone().layers_over(Layers::new(DEFAULTS))?;
    let config = limits.load_over(edge)?;
    logging::init(&config.log)?;
    let config = with_whole_model_here(config, ProgressTo::Terminal).await?;
    let began = Instant::now();
    let subject = Subject::open(&config).await?;
    let edge = subject.edge(&config, fresh).await?;
    let dialer = Dialer::new(config.dialer()).await?;
    let link = dialer
        .reach()
        .await
        .map_err(|error| no_cloud(error, &dialer))?;
    let cloud = Cloud::ask(&link, &subject).await?;
    let way = cloud.probe(&link).await?;
    let solved = subject.solve(&config, &edge, &cloud, way, began.elapsed())?;
    let report = Report::new(&solved);
    let mut stdout = std::io::stdout().lock();
    if json {
        writeln!(stdout, "{}", serde_json::to_string_pretty(&report)?)?
    } else {
        write!(stdout, "{}", report.text(explain))?
    }
    drop(stdout);
    if let Some(path) = problem {
        std::fs::write(&path, serde_json::to_vec(&solved.problem)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = plot {
        plot::draw(&solved, &path).with_context(|| format!("cannot draw {}", path.display()))?;
    }
    let Some(chosen) = &solved.outcome.chosen else {
        anyhow::bail!("no plan holds the limits");
    };
    if let Some(path) = out {
        let yaml = deploy::Deployment::of(&solved.problem, chosen, &config).yaml(layers)?;
        std::fs::write(&path, yaml).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

impl Subject {
    /// Opens the model.
    ///
    /// # Errors
    /// When it cannot be used, or the configuration does not fit it.
    pub async fn open(config: &EdgeConfig) -> anyhow::Result<Self> {
        let directory = config.model.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let files = ModelFiles::open(&directory)?;
            let tokenizer = Tokenizer::load(&directory)?;
            anyhow::Ok((files, tokenizer))
        });
        let (files, tokenizer) = opened
            .await?
            .with_context(|| format!("cannot open the model in {}", config.model.display()))?;
        if let Some(split) = config.split.get() {
            let layers = files.config.layers;
            anyhow::ensure!(
                split < layers,
                "split is {split}; a plan leaves the cloud at least one of {layers} layers"
            );
        }
        let fingerprint = files.identity.to_string();
        let (sensitivity, sensitivity_checksum) = read_sensitivity(config, &fingerprint)?.unzip();
        let choices = choices::types(config, &files, sensitivity.as_ref())?;
        Ok(Self {
            cache: Cache::new(&config.plan.cache, &config.model, &fingerprint),
            files: Arc::new(files),
            tokenizer,
            sensitivity,
            sensitivity_checksum,
            choices,
        })
    }

    /// Figures of this edge: those kept, if they still hold and nobody wants fresh ones, or new ones.
    ///
    /// # Errors
    /// When a step fails.
    pub async fn edge(&self, config: &EdgeConfig, fresh: bool) -> anyhow::Result<MeasuredEdge> {
        let identity = measure::identity(config, &self.files, &self.choices);
        let file = identity.file();
        let kept: Option<MeasuredEdge> = if fresh { None } else { self.cache.read(&file) };
        if let Some(kept) = kept {
            if kept.identity == identity {
                return Ok(kept);
            }
            tracing::info!("measuring this edge again: what was measured no longer fits it");
        }
        let files = Arc::clone(&self.files);
        let measured = measure::measure(config, files, &self.tokenizer, &self.choices).await?;
        if self.cache.write(&file, &measured).is_none() {
            tracing::warn!(
                "what was measured cannot be kept: set plan.cache to a folder that can be written to"
            );
        }
        Ok(measured)
    }

    /// Searches.
    ///
    /// # Errors
    /// When figures make no sense.
    pub fn solve(
        &self,
        config: &EdgeConfig,
        edge: &MeasuredEdge,
        cloud: &Cloud,
        way: LinkProfile,
        measuring: Duration,
    ) -> anyhow::Result<Solved> {
        let inputs = assemble::Inputs {
            config,
            files: &self.files,
            sensitivity: self.sensitivity.as_ref(),
            choices: &self.choices,
            edge,
            described: &cloud.described,
            cloud_machine: cloud.profile.machine.as_ref(),
            drafts: cloud
                .verifies_drafts()
                .then(|| drafts::kept(config, &self.cache, self.files.identity))
                .flatten(),
        };
        let profile = cloud_profile::profile(&cloud.described, &cloud.profile)?;
        let problem = assemble::problem(&inputs, profile, way)?;
        let began = Instant::now();
        let outcome = search(&problem);
        Ok(Solved {
            took: (measuring, began.elapsed()),
            problem,
            outcome,
        })
    }
}

/// What precision costs the model, if that was measured, and the file's CRC-32C.
fn read_sensitivity(
    config: &EdgeConfig,
    fingerprint: &str,
) -> anyhow::Result<Option<(Sensitivity, u32)>> {
    let path = config.model.join(Sensitivity::FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let found: Sensitivity =
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
    if found.weights_fingerprint != fingerprint {
        tracing::warn!(path = %path.display(), "not used: measured on other weights than this model's");
        return Ok(None);
    }
    Ok(Some((found, crc32c::crc32c(&text))))
}

/// Why no cloud can be planned with, for whoever runs this edge.
fn no_cloud(error: ReachError, dialer: &Dialer) -> anyhow::Error {
    match error {
        ReachError::Cloud(error) => {
            anyhow::anyhow!(for_operator(&error.into(), &dialer.addresses()))
        }
        error @ ReachError::Dial(_) => error.into(),
    }
}

/// A cloud that has said what it serves and what its steps take.
#[derive(Debug)]
pub struct Cloud {
    described: Arc<v1::DescribeBackResponse>,
    profile: v1::ProfileBackResponse,
}

impl Cloud {
    /// Asks it, and checks that it serves the model.
    ///
    /// # Errors
    /// When it cannot be reached, or serves another.
    pub async fn ask(link: &Link, subject: &Subject) -> anyhow::Result<Self> {
        let cloud = link.describe().await;
        let described = cloud
            .map_err(|error| anyhow::anyhow!(for_operator(&error.into(), link.address())))?
            .described;
        let model = described.model.clone().unwrap_or_default();
        let theirs = tandem_wire::identity(&model.weights_fingerprint, &model.files_fingerprint);
        anyhow::ensure!(
            theirs.is_ok_and(|theirs| subject.files.identity.is(&theirs) == Some(true)),
            "the cloud at {} serves {}, which is another model than the one here",
            link.address(),
            model.name
        );
        Ok(Self {
            profile: cloud_profile::ask(link).await?,
            described,
        })
    }

    /// Whether answers may be drafted.
    fn verifies_drafts(&self) -> bool {
        let features = &self.described.features;
        features.contains(&v1::Feature::Drafts.into()) && !self.described.numerics.is_empty()
    }

    /// Measures the link to it.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn probe(&self, link: &Link) -> anyhow::Result<LinkProfile> {
        let open = link_probe::opening(&self.described);
        link_probe::probe(link, open)
            .await
            .map_err(|error| match error {
                link_probe::ProbeError::Cloud(error) => {
                    let said = for_operator(&error.into(), link.address());
                    anyhow::anyhow!("cannot measure the link: {said}")
                }
                other => anyhow::anyhow!("cannot measure the link to {}: {other}", link.address()),
            })
    }
}
