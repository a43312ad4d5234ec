//! A loaded edge: what both doors and the commands are handed their parts from.

use crate::answer::{AnswerRequest, Answers};
use crate::config::EdgeConfig;
use crate::conversation::Conversation;
use crate::draft_model;
use crate::error::{AnswerError, RequestError};
use crate::marks::Marks;
use crate::metrics::{DEPLOYMENT_INFO, WEIGHT_BYTES, observe_step};
use crate::prompts::{Prompted, Prompts};
use crate::request::Terms;
use crate::request_span::Served;
use crate::sampling_defaults::SamplingDefaults;
use anyhow::Context as _;
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tandem_client::adaptation::Adaptation;
use tandem_client::{CodecChoice, Dialer, FrontHalf, SessionLimits, SessionPool, SplitClient};
use tandem_codec::Codec;
use tandem_engine::{Engine, EngineOptions, ModelFiles};
use tandem_model::{ModelError, ModelFile, Package};
use tandem_model_source::{Part, ProgressTo, locate};
use tandem_proto::v1;
use tandem_shape::Fingerprint;
use tandem_text::{ChatTemplate, Tokenizer};

/// A loaded edge.
#[derive(Debug)]
pub struct Edge {
    /// What makes answers.
    pub answers: Answers,
    /// Text and messages to ids.
    pub prompts: Prompts,
    /// How the model marks what it thinks and calls.
    pub marks: Marks,
    /// How tokens are chosen where a request does not say.
    sampling: SamplingDefaults,
    /// What runs here.
    held: v1::HeldLayers,
    /// What of the model stays in its file, where layers run here.
    embedding: Option<ModelFile>,
    /// The plan that its split is of, where it has made one.
    pub plan: Option<serde_json::Value>,
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
    if config.drafts.have_model() {
        let small = config.drafts.model.clone();
        let locate = move || locate(&small, None, progress);
        let located = tokio::task::spawn_blocking(locate).await?;
        let located = located.context("the draft model is not to be had")?;
        config.drafts.model = located.directory;
    }
    config.settle_preset(package);
    Ok(config)
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
        // Before the model: what is wrong with a certificate is known at once.
        let dialer = Dialer::new(config.dialer()).await?;
        Self::behind(dialer, config, on_layer).await
    }

    /// The same with connections that are made otherwise.
    ///
    /// # Errors
    /// When the model cannot be loaded.
    pub async fn behind(
        dialer: Dialer,
        config: &EdgeConfig,
        on_layer: impl FnMut(usize) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let started = Instant::now();
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
        let embedding = (split > 0).then(|| files.embedding_file()).transpose()?;
        // Bytes of its weights and of its pages, and whether its rows are always the same.
        let loaded = Arc::new(OnceLock::new());
        let engine = match split {
            0 => None,
            _ => {
                let is_loaded = Arc::clone(&loaded);
                let load = move || {
                    let front = files.front(split, &compute, on_layer)?;
                    let _ = is_loaded.set((
                        front.weight_bytes(),
                        front.page_bytes(),
                        front.is_reproducible(),
                    ));
                    Ok::<_, ModelError>(front)
                };
                let options = EngineOptions {
                    threads: config.thread_count(),
                    step: config.engine.step.get(),
                    observe: observe_step,
                };
                let started = Engine::start("front", options, load).await;
                Some(started.context("cannot load the model")?)
            }
        };
        let loaded = loaded.get().copied();
        let (weight_bytes, page_bytes, is_reproducible) = loaded.unwrap_or((0, Some(0), true));
        let held = tandem_wire::held_layers(0..split, &precision, weight_bytes);
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
        let tokenizer_fingerprint = Fingerprint(tokenizer.fingerprint());
        let draft_model = if config.drafts.have_model() {
            Some(draft_model::load(config, tokenizer_fingerprint).await?)
        } else {
            None
        };
        let front = FrontHalf {
            engine,
            split,
            config: shape,
            identity,
            tokenizer: tokenizer_fingerprint,
            profile,
            page_bytes,
            is_reproducible,
            draft_model,
        };
        let limits = SessionLimits {
            chunk_rows: config.prefill.chunk_rows,
            frame_bytes: config.prefill.frame.as_usize(),
            context: config.sessions.context,
            replay: config.replay.terms(),
            prefix_memory: config.sessions.prefix_memory.get(),
            drafts: config.drafts.max,
            drafts_a_message: config.drafts.message,
            drafts_memory: config.drafts.memory.as_usize(),
        };
        let prompts = Prompts::new(tokenizer.clone(), ChatTemplate::load(&config.model));
        Ok(Self {
            marks: Marks::new(prompts.template(), config.tool_calls),
            prompts,
            answers: Answers {
                client: SplitClient::new(front, dialer, choice, limits)?,
                pool: SessionPool::new(config.sessions.max, config.sessions.idle_ttl.get()),
                tokenizer,
                served: Served {
                    model: config.name.clone(),
                    split,
                    codec,
                },
            },
            sampling,
            held,
            embedding,
            plan: None,
        })
    }

    /// The ids of a plain prompt, as long as a session may be.
    ///
    /// # Errors
    /// As [`Prompts::of_text`] says.
    pub async fn text_ids(&self, text: String) -> Result<Vec<u32>, AnswerError> {
        self.text_ids_with(text, true).await
    }

    /// The same with the special tokens that the model puts around a prompt or without them.
    ///
    /// # Errors
    /// As [`Prompts::of_text`] says.
    pub async fn text_ids_with(
        &self,
        text: String,
        special_tokens: bool,
    ) -> Result<Vec<u32>, AnswerError> {
        let context = self.client().most_positions();
        self.prompts.of_text(text, special_tokens, context).await
    }

    /// The text of ids, with special tokens or without them.
    ///
    /// # Errors
    /// As [`Prompts::of_ids`] says.
    pub async fn text_of(
        &self,
        ids: Vec<u32>,
        special_tokens: bool,
    ) -> Result<String, AnswerError> {
        let context = self.client().most_positions();
        self.prompts.of_ids(ids, special_tokens, context).await
    }

    /// Checks that ids are the model's, and no more than a session may have.
    ///
    /// # Errors
    /// The first that is not, or that they are too many.
    pub fn check_ids(&self, ids: &[u32]) -> Result<(), RequestError> {
        let context = self.client().most_positions();
        if ids.len() > context {
            return Err(RequestError::PromptTooLong {
                field: "prompt",
                problem: format!("has {} tokens; the context is {context} tokens", ids.len()),
            });
        }
        let vocabulary = self.client().front().config.vocabulary;
        match ids.iter().find(|&&id| id as usize >= vocabulary) {
            Some(&id) => Err(RequestError::TokenId { id, vocabulary }),
            None => Ok(()),
        }
    }

    /// The ids of a conversation, opened for an answer.
    ///
    /// # Errors
    /// As [`Prompts::of_conversation`] says.
    pub async fn chat_ids(&self, messages: Vec<v1::ChatMessage>) -> Result<Vec<u32>, AnswerError> {
        let conversation = Conversation::new(messages, &[])?;
        Ok(self.prompt_of(conversation).await?.ids)
    }

    /// The prompt of a conversation, opened for an answer.
    ///
    /// # Errors
    /// As [`Prompts::of_conversation`] says.
    pub async fn prompt_of(&self, conversation: Conversation) -> Result<Prompted, AnswerError> {
        let context = self.client().most_positions();
        self.prompts.of_conversation(conversation, context).await
    }

    /// The request for an answer behind `prompt`, which came at `began`.
    ///
    /// # Errors
    /// As [`Terms::check`] says.
    pub fn check(
        &self,
        terms: Terms,
        prompt: Vec<u32>,
        began: Instant,
    ) -> Result<AnswerRequest, RequestError> {
        let vocabulary = self.client().front().config.vocabulary;
        terms.check(prompt, &self.sampling, vocabulary, began)
    }

    /// Looks whether the model is still the one that was loaded.
    ///
    /// # Errors
    /// When its file was written to.
    pub fn check_model(&self) -> Result<(), ModelError> {
        self.embedding.as_ref().map_or(Ok(()), ModelFile::check)
    }

    /// Sessions with the cloud.
    pub fn client(&self) -> &SplitClient {
        &self.answers.client
    }

    /// The model as clients see it.
    pub fn model(&self) -> v1::ModelDescription {
        let front = self.client().front();
        let name = &self.answers.served.model;
        tandem_wire::description(name, &front.config, front.identity, front.tokenizer)
    }

    /// What is served, with what the cloud says of itself where it answers.
    pub async fn describe(&self) -> v1::GetModelResponse {
        let (client, served) = (self.client(), &self.answers.served);
        let cloud = client.clouds().any().await.ok();
        let count = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        v1::GetModelResponse {
            model: Some(self.model()),
            split: count(served.split),
            codec: served.codec.name().to_owned(),
            context: cloud
                .as_ref()
                .map_or(0, |cloud| count(client.context(cloud))),
            cloud_reachable: cloud.is_some(),
            edge: (served.split > 0).then(|| self.held.clone()),
            cloud: cloud.and_then(|cloud| cloud.described.held.clone()),
            default_sampling: Some(self.sampling.parameters().clone()),
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
