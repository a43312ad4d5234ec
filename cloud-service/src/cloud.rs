//! What all streams share: the engine, and what it serves.

use crate::admission::Admission;
use crate::back_profile::{BackTimes, RecentWaits};
use crate::config::{AcceptProfiles, CloudConfig};
use crate::constraints::Constraints;
use crate::leases::Leases;
use crate::open::served_features;
use crate::prefixes::Prefixes;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;
use tandem_codec::Codec;
use tandem_engine::{Back, Engine, KvBudget, KvSizes, ModelFiles, Numerics, OwnerNumber, Profiles};
use tandem_model::{KvMemory, ModelError, ModelFile};
use tandem_program::machine;
use tandem_proto::v1;
use tandem_server::drain::DrainSignal;
use tandem_shape::{Fingerprint, Identity, ModelConfig};
use tandem_text::Tokenizer;
use tandem_transport::auth::{Owner, Peer};
use tandem_wire::PROTOCOL_VERSION;

/// A loaded back and its terms.
#[derive(Debug)]
pub struct Cloud {
    /// The engine thread.
    pub engine: Engine<Back>,
    /// The open sessions.
    pub admission: Admission,
    /// Memory for keys and values.
    pub budget: KvBudget,
    /// What sessions may begin with.
    pub prefixes: Prefixes,
    /// What answers may have to keep.
    pub constraints: Constraints,
    /// What is loaded.
    pub loaded: Loaded,
    /// The end of it all.
    pub drain: DrainSignal,
    /// The model's shape.
    pub config: ModelConfig,
    /// Identity of the weights.
    pub identity: Identity,
    /// Identity of the tokenizer.
    pub tokenizer: Fingerprint,
    /// First layer held.
    pub first_layer: usize,
    /// What of the model stays in its file, where the first layer runs here.
    embedding: Option<ModelFile>,
    /// The most positions of a session.
    pub context: usize,
    /// The most bytes of a frame.
    pub max_frame: usize,
    /// The codec profiles that lie beside the model.
    pub profiles: Profiles,
    /// Which edges may bring others.
    pub accept_profiles: AcceptProfiles,
    /// How long an idle session is kept.
    pub idle_ttl: Duration,
    /// How long a session is kept whose stream broke; zero for not at all.
    pub lease: Duration,
    /// Those that may be taken up.
    pub leases: Leases,
    /// How long answers may go on once the server drains.
    pub drain_deadline: Duration,
    /// How long a stream may take to open its session.
    pub open_timeout: Duration,
    /// What steps take, once that was asked for.
    pub times: BackTimes,
    /// How long steps waited lately.
    pub waits: RecentWaits,
    /// What the layers run on.
    pub machine: v1::Machine,
    /// The layers held, and how.
    pub held: v1::HeldLayers,
    /// What the bits of its results depend on; `None` where they depend on what runs beside them.
    pub numerics: Option<Numerics>,
    /// The model's name for people.
    pub name: String,
    /// Makes numbers of owners: nobody can find two that are the same.
    owners: RandomState,
}

/// What is known of a back once it is loaded.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Bytes that its matrices take.
    pub weight_bytes: u64,
    /// Whether a row comes to the same bits wherever it runs.
    pub reproducible: bool,
    /// What positions take.
    pub kv_sizes: KvSizes,
    /// The pages that its sessions hold.
    pub kv_memory: KvMemory,
}

impl Loaded {
    /// Of this one.
    pub fn of(back: &Back) -> Self {
        Self {
            weight_bytes: back.weight_bytes(),
            reproducible: back.is_reproducible(),
            kv_sizes: back.kv_sizes(),
            kv_memory: back.kv_memory().clone(),
        }
    }
}

impl Cloud {
    /// Gathers what streams need.
    ///
    /// # Errors
    /// When the configured types cannot be those of the files.
    pub fn new(
        config: &CloudConfig,
        name: String,
        files: &ModelFiles,
        tokenizer: &Tokenizer,
        (engine, loaded): (Engine<Back>, Loaded),
        budget: KvBudget,
        drain: DrainSignal,
    ) -> Result<Self, ModelError> {
        let precision = files.precision(&config.compute())?;
        let prefixes = Prefixes::new(
            config.sessions.prefix_memory.get(),
            budget.clone(),
            loaded.kv_sizes,
        );
        let first_layer = config.first_layer(files);
        let range = first_layer..files.config.layers;
        let embedding = (first_layer == 0)
            .then(|| files.embedding_file())
            .transpose()?;
        Ok(Self {
            engine,
            admission: Admission::new(&config.sessions, budget.clone(), prefixes.clone()),
            budget,
            prefixes,
            drain,
            identity: files.identity,
            tokenizer: Fingerprint(tokenizer.fingerprint()),
            constraints: Constraints::new(
                tokenizer,
                files.config.vocabulary,
                config.limits.constraint.as_usize(),
            ),
            first_layer,
            embedding,
            context: config.context(files.config.max_context()),
            max_frame: config.limits.max_frame.as_usize(),
            profiles: files.profiles.clone(),
            accept_profiles: config.limits.accept_profiles,
            idle_ttl: config.sessions.idle_ttl.get(),
            lease: config.sessions.lease.get(),
            leases: Leases::default(),
            drain_deadline: config.drain_deadline.get(),
            open_timeout: config.sessions.open_timeout.get(),
            config: files.config.clone(),
            times: BackTimes::default(),
            waits: RecentWaits::default(),
            machine: v1::Machine {
                processor: machine::processor(),
                device: config.device.clone(),
                threads: u32::try_from(config.thread_count()).unwrap_or(u32::MAX),
                libtorch: tandem_model::libtorch_version().to_owned(),
                running_host: machine::running_host(),
            },
            numerics: loaded.reproducible.then(|| Numerics::of(files, &precision)),
            held: tandem_wire::held_layers(range, &precision, loaded.weight_bytes),
            loaded,
            name,
            owners: RandomState::new(),
        })
    }

    /// Looks whether the model is still the one that was loaded.
    ///
    /// # Errors
    /// When its file was written to.
    pub fn check_model(&self) -> Result<(), ModelError> {
        self.embedding.as_ref().map_or(Ok(()), ModelFile::check)
    }

    /// Names of the codecs decoded.
    pub fn codecs(&self) -> impl Iterator<Item = &'static str> {
        Codec::ALL.into_iter().map(Codec::name)
    }

    /// The number that an owner's sessions share the engine under.
    pub fn owner_number(&self, owner: &Owner) -> OwnerNumber {
        OwnerNumber(self.owners.hash_one(owner))
    }

    /// Bytes that sessions have reserved for keys and values, those of pages not counted that are kept for others.
    pub fn session_bytes(&self) -> u64 {
        let used = self.budget.used();
        used.saturating_sub(self.prefixes.bytes())
    }

    /// How busy it is.
    pub fn load(&self) -> v1::BackLoad {
        let number = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        let (running, max) = self.admission.running();
        v1::BackLoad {
            running_sessions: number(running),
            max_sessions: number(max),
            kv_bytes: self.session_bytes(),
            kv_budget_bytes: self.budget.budget(),
            queue_seconds: self.waits.median().as_secs_f64(),
        }
    }

    /// What an edge asks for once a connection.
    pub fn describe(&self, peer: &Peer) -> v1::DescribeBackResponse {
        let number = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        v1::DescribeBackResponse {
            model: Some(tandem_wire::description(
                &self.name,
                &self.config,
                self.identity,
                self.tokenizer,
            )),
            versions: Some(v1::VersionRange {
                min: PROTOCOL_VERSION,
                max: PROTOCOL_VERSION,
            }),
            codecs: self.codecs().map(str::to_owned).collect(),
            first_layer: number(self.first_layer),
            max_context: number(self.context),
            max_frame_bytes: number(self.max_frame),
            features: served_features(peer, self)
                .into_iter()
                .map(i32::from)
                .collect(),
            profile_fingerprints: self
                .profiles
                .iter()
                .map(|profile| profile.fingerprint().to_vec())
                .collect(),
            accepts_profiles: self.accept_profiles.from(peer),
            held: Some(self.held.clone()),
            numerics: self
                .numerics
                .map_or(Vec::new(), |numerics| numerics.0.to_vec()),
            load: Some(self.load()),
        }
    }
}
