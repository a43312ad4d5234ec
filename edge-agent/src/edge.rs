//! What all answers share: the front, the text side, the connection, the sessions.

use crate::adaptation::Adaptation;
use crate::codec_choice::CodecChoice;
use crate::config::EdgeConfig;
use crate::link::Link;
use crate::metrics::{DEPLOYMENT_INFO, WEIGHT_BYTES};
use crate::pool::SessionPool;
use crate::prompts::Prompts;
use crate::sampling_defaults::SamplingDefaults;
use anyhow::Context as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tandem_codec::{Codec, Profile};
use tandem_engine::{Engine, FrameCodec, Front, ModelFiles};
use tandem_model::{ModelError, Package};
use tandem_model_source::{Part, ProgressTo, locate};
use tandem_proto::v1;
use tandem_shape::{Fingerprint, Identity, ModelConfig};
use tandem_text::{ChatTemplate, Tokenizer};
use tandem_wire::PROTOCOL_VERSION;
use tonic::Status;

/// A loaded edge.
#[derive(Debug)]
pub struct Edge {
    /// The engine thread; `None` with split 0.
    pub front: Option<Engine<Front>>,
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// Text and messages to ids.
    pub prompts: Prompts,
    /// How tokens are chosen where a request does not say.
    pub sampling: SamplingDefaults,
    /// The connection to the cloud.
    pub link: Link,
    /// Finished conversations.
    pub pool: SessionPool,
    /// The model's shape.
    pub config: ModelConfig,
    /// Layers that run here.
    pub split: usize,
    /// How rows are written at best.
    pub codec: Codec,
    /// The codec of each step.
    pub choice: CodecChoice,
    /// What has been calibrated for the cut.
    profile: Option<Arc<Profile>>,
    /// Tokens computed at once.
    pub chunk_rows: usize,
    /// About how large a frame gets.
    pub frame_bytes: usize,
    /// The most positions of a session; 0 for what the cloud grants.
    context: usize,
    name: String,
    identity: Identity,
    /// What runs here.
    held: v1::HeldLayers,
}

/// Brings the model to this machine and names its directory in the configuration, and itself where no
/// other name is configured. Says what the exact preset leaves to no plan. Of a model in shards on the
/// hub, only those of the layers that run here come, where the split is known: a plan looks at all.
///
/// # Errors
/// When there is no such model, or it cannot be brought.
pub async fn with_model_here(
    config: EdgeConfig,
    progress: ProgressTo,
) -> anyhow::Result<EdgeConfig> {
    let part = config.split.get().map(Part::front);
    with_part_here(config, part, progress).await
}

/// As [`with_model_here`], with all of the model.
///
/// # Errors
/// As [`with_model_here`].
pub async fn with_whole_model_here(
    config: EdgeConfig,
    progress: ProgressTo,
) -> anyhow::Result<EdgeConfig> {
    with_part_here(config, None, progress).await
}

async fn with_part_here(
    mut config: EdgeConfig,
    part: Option<Part>,
    progress: ProgressTo,
) -> anyhow::Result<EdgeConfig> {
    let model = config.model.clone();
    let (located, package) = tokio::task::spawn_blocking(move || {
        let located = locate(&model, part, progress)?;
        let package = Package::open(&located.directory)?.is_some();
        anyhow::Ok((located, package))
    })
    .await??;
    if config.name.is_empty() {
        config.name = located.name;
    }
    config.model = located.directory;
    config.settle_preset(package);
    Ok(config)
}

/// How the rows of a session may be written.
#[derive(Debug, Clone)]
pub struct SessionCodecs {
    /// The best first, at least one.
    offered: Vec<Codec>,
    /// Whether the cloud reads what our profile writes.
    shared_profile: bool,
}

impl Edge {
    /// Loads everything. Does not wait for the cloud. `on_layer` is told of each loaded layer.
    ///
    /// # Errors
    /// When the model cannot be loaded.
    pub async fn load(
        config: &EdgeConfig,
        on_layer: impl FnMut(usize) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let started = Instant::now();
        // Before the model: what is wrong with a certificate is known at once.
        let link = Link::new(config).await?;
        let directory = config.model.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let files = ModelFiles::open_part(&directory)?;
            let tokenizer = Tokenizer::load(&directory)?;
            anyhow::Ok((files, tokenizer))
        });
        let (files, tokenizer) = opened
            .await?
            .with_context(|| format!("cannot open the model in {}", config.model.display()))?;
        let sampling = SamplingDefaults::load(&config.model, files.config.vocabulary)?;
        let layers = files.config.layers;
        let package = files.package().map(|package| package.range.end());
        let split = config.split.get().or(package).unwrap_or(layers / 3);
        anyhow::ensure!(
            split <= layers,
            "split is {split}, the model has {layers} layers"
        );
        let profile = files.profiles.of(split).cloned();
        let codec = config.row_codec();
        let choice = codec_choice(config, codec, files.config.hidden)?;
        let shape = files.config.clone();
        let identity = files.identity;
        let compute = config.front_compute(files.package().is_some());
        let precision = files.precision(&compute)?;
        let weight_bytes = Arc::new(AtomicU64::new(0));
        let front = match split {
            0 => None,
            _ => {
                let loaded_bytes = Arc::clone(&weight_bytes);
                let load = move || {
                    let front = files.front(split, &compute, on_layer)?;
                    loaded_bytes.store(front.weight_bytes(), Ordering::Relaxed);
                    Ok::<_, ModelError>(front)
                };
                let started = Engine::start("front", config.thread_count(), load).await;
                Some(started.context("cannot load the model")?)
            }
        };
        let held =
            tandem_wire::held_layers(0..split, &precision, weight_bytes.load(Ordering::Relaxed));
        let name = config.name.clone();
        let info = [
            name.clone(),
            split.to_string(),
            held.weights.clone(),
            held.kv.clone(),
            codec.to_string(),
        ];
        DEPLOYMENT_INFO.named_gauge(&info).set(1.0);
        WEIGHT_BYTES.gauge(&[]).set(held.weight_bytes as f64);
        if profile.is_none() && codec.is_read_by_profile() && split > 0 {
            tracing::info!(
                split,
                %codec,
                "no codec profile for this cut beside the model: rows take about a bit a value more than \
                 with one; tandem-eval calibrate --model {} --text FILE --split {split} makes it",
                config.model.display()
            );
        }
        tracing::info!(
            model = %config.model.display(),
            split,
            layers,
            weights = %precision.weights,
            kv = %precision.kv(),
            %codec,
            floor = %config.adapt.floor,
            calibrated = profile.is_some(),
            threads = config.thread_count(),
            fingerprint = %format!("{:.16}", identity.to_string()),
            seconds = started.elapsed().as_secs_f64(),
            "loaded"
        );
        Ok(Self {
            front,
            prompts: Prompts::new(tokenizer.clone(), ChatTemplate::load(&config.model)),
            tokenizer,
            sampling,
            link: link.watched_by(choice.clone()),
            pool: SessionPool::new(config.sessions.max, config.sessions.idle_ttl.get()),
            config: shape,
            split,
            codec,
            choice,
            profile,
            chunk_rows: config.prefill.chunk_rows,
            frame_bytes: config.prefill.frame.as_usize(),
            context: config.sessions.context,
            name,
            identity,
            held,
        })
    }

    /// The ids of a plain prompt, as long as a session may be.
    ///
    /// # Errors
    /// As [`Prompts::of_text`] says.
    pub async fn text_ids(&self, text: String) -> Result<Vec<u32>, Status> {
        self.prompts.of_text(text, self.most_positions()).await
    }

    /// The ids of a conversation, opened for an answer.
    ///
    /// # Errors
    /// As [`Prompts::of_messages`] says.
    pub async fn chat_ids(&self, messages: Vec<v1::ChatMessage>) -> Result<Vec<u32>, Status> {
        let context = self.most_positions();
        self.prompts.of_messages(messages, context).await
    }

    /// The most positions that a session may have, as far as is known without asking the cloud.
    fn most_positions(&self) -> usize {
        match (self.link.known(), self.context) {
            (Some(cloud), _) => self.context(&cloud),
            (None, 0) => self.config.max_context(),
            (None, context) => context.min(self.config.max_context()),
        }
    }

    /// The most positions of a session, given what the cloud grants.
    pub fn context(&self, cloud: &v1::DescribeBackResponse) -> usize {
        let granted = cloud.max_context as usize;
        let limit = granted.min(self.config.max_context());
        match self.context {
            0 => limit,
            context => context.min(limit),
        }
    }

    /// How rows may be written for a cloud. What takes the profile to read is written by it only
    /// where the cloud has it or takes it from us.
    pub fn session_codecs(&self, cloud: &v1::DescribeBackResponse) -> SessionCodecs {
        let shared = self.profile.as_ref().is_some_and(|profile| {
            let known = &cloud.profile_fingerprints;
            cloud.accepts_profiles || known.iter().any(|k| *k == profile.fingerprint())
        });
        let known = |codec: &Codec| cloud.codecs.iter().any(|name| name == codec.name());
        let offered: Vec<Codec> = self.choice.codecs().iter().copied().filter(known).collect();
        SessionCodecs {
            offered: match offered.is_empty() {
                // The cloud says itself that it knows none.
                true => self.choice.codecs().to_vec(),
                false => offered,
            },
            shared_profile: shared,
        }
    }

    /// The first message of a session.
    pub fn open_message(&self, context: usize, cloud: &v1::DescribeBackResponse) -> v1::Open {
        let codecs = self.session_codecs(cloud);
        let read_by_profile = codecs
            .offered
            .iter()
            .any(|codec| codec.is_read_by_profile());
        let by_profile = read_by_profile && codecs.shared_profile;
        let profile = self.profile.as_ref().filter(|_| by_profile);
        let fingerprint = profile.map(|p| p.fingerprint().to_vec());
        let known = fingerprint
            .as_ref()
            .is_some_and(|f| cloud.profile_fingerprints.contains(f));
        v1::Open {
            versions: Some(v1::VersionRange {
                min: PROTOCOL_VERSION,
                max: PROTOCOL_VERSION,
            }),
            features: Vec::new(),
            weights_fingerprint: tandem_wire::bytes(self.identity.weights()),
            files_fingerprint: tandem_wire::bytes(self.identity.files()),
            tokenizer_fingerprint: self.tokenizer.fingerprint().to_vec(),
            split: u32::try_from(self.split).unwrap_or(u32::MAX),
            codecs: codecs
                .offered
                .iter()
                .map(|codec| codec.name().to_owned())
                .collect(),
            session_id: rand::random::<[u8; 16]>().to_vec(),
            context: u32::try_from(context).unwrap_or(u32::MAX),
            profile_fingerprint: fingerprint.unwrap_or_default(),
            profile: match (profile, known) {
                (Some(profile), false) => profile.to_bytes(),
                _ => Vec::new(),
            },
        }
    }

    /// The model's name for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model as clients see it.
    pub fn description(&self) -> v1::ModelDescription {
        let tokenizer = Fingerprint(self.tokenizer.fingerprint());
        tandem_wire::description(&self.name, &self.config, self.identity, tokenizer)
    }

    /// What runs here; `None` with split 0.
    pub fn held(&self) -> Option<v1::HeldLayers> {
        (self.split > 0).then(|| self.held.clone())
    }

    /// Shared by all answers.
    pub fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }
}

impl SessionCodecs {
    /// How rows are written that the link allows `codec` for: in the smallest codec of the session
    /// that is as large, or its best.
    pub fn written(&self, codec: Codec) -> FrameCodec {
        let as_large = |offered: &&Codec| offered.typical_bits() >= codec.typical_bits();
        let codec = self.offered.iter().rfind(as_large);
        let codec = codec.or(self.offered.first()).copied().unwrap_or_default();
        FrameCodec {
            codec,
            calibrated: self.shared_profile || !codec.is_read_by_profile(),
        }
    }
}

fn codec_choice(config: &EdgeConfig, best: Codec, hidden: usize) -> anyhow::Result<CodecChoice> {
    let Some(floor) = config.adapt.floor.codec() else {
        return Ok(CodecChoice::fixed(best));
    };
    // With codec: auto this is known only now.
    anyhow::ensure!(
        floor.typical_bits() <= best.typical_bits(),
        "adapt.floor is {floor}, which is larger than {best}, the codec; name that or a smaller one"
    );
    let target = config.adapt.target();
    let adaptation = Adaptation::new(best, floor, hidden, target);
    Ok(CodecChoice::adaptive(adaptation))
}
