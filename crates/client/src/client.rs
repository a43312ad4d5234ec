//! What all sessions of an edge share.

use crate::clouds::{Clouds, DialError, Dialer, Wish};
use crate::codec_choice::CodecChoice;
use crate::drafts::model::{Begins, DraftModel, Guesses};
use crate::drafts::{Acceptance, DraftStart, Drafter, EarlierAnswers};
use crate::error::{CloudError, SessionError};
use crate::generation::{Asked, ReplayTerms};
use crate::link::Cloud;
use crate::pool::Asker;
use crate::prefixes::{Prefixes, Remembered, SessionBeginnings};
use crate::session::Session;
use crate::session_codecs::{SessionCodecs, WrittenRows};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use tandem_codec::Profile;
use tandem_engine::{Engine, EngineSession, FrameCodec, Front, FrontOpen, OwnerNumber};
use tandem_model::PAGE_POSITIONS;
use tandem_proto::v1;
use tandem_shape::{Fingerprint, Identity, ModelConfig};
use tandem_wire::PROTOCOL_VERSION;

/// A client of the split API; clones share everything.
#[derive(Debug, Clone)]
pub struct SplitClient(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    front: FrontHalf,
    clouds: Clouds,
    limits: SessionLimits,
    prefixes: Prefixes,
    /// How often drafts were right.
    acceptance: Acceptance,
    /// What later answers may say again.
    earlier: EarlierAnswers,
    /// Makes numbers of those who ask: nobody can find two that are the same.
    owners: RandomState,
}

/// The half of the model that runs here.
#[derive(Debug)]
pub struct FrontHalf {
    /// The engine thread; `None` with split 0.
    pub engine: Option<Engine<Front>>,
    /// Layers that run here.
    pub split: usize,
    /// The model's shape.
    pub config: ModelConfig,
    /// Which weights it has.
    pub identity: Identity,
    /// Of the tokenizer.
    pub tokenizer: Fingerprint,
    /// What has been calibrated for the cut.
    pub profile: Option<Arc<Profile>>,
    /// Bytes of 32 positions of a session's keys and values in its layers; `None` where sessions cannot have any in
    /// common.
    pub page_bytes: Option<u64>,
    /// Whether a row comes to the same bits whatever runs with it here.
    pub is_reproducible: bool,
    /// A smaller model that guesses what this one will say.
    pub draft_model: Option<DraftModel>,
}

/// How large things get.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Tokens of a prompt computed at once.
    pub chunk_rows: usize,
    /// About how large a frame gets, in bytes.
    pub frame_bytes: usize,
    /// The most positions of a session; 0 for what the cloud grants.
    pub context: usize,
    /// For how long answers try to go on.
    pub replay: ReplayTerms,
    /// The most bytes of the beginnings that are kept for later prompts; 0 for none.
    pub prefix_memory: u64,
    /// The most drafts on their way; 0 for none.
    pub drafts: usize,
    /// The most of them in one message.
    pub drafts_a_message: usize,
    /// Bytes of memory for earlier answers, which later ones may repeat; 0 for none.
    pub drafts_memory: usize,
}

/// What a session is opened for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening<'a> {
    /// The most positions.
    pub(crate) context: usize,
    /// The cloud that has its back.
    pub(crate) cloud: &'a Cloud,
    /// How many sessions of the answer were lost.
    pub(crate) replays: u32,
    /// Who asks.
    pub(crate) asker: &'a Asker,
    /// The tokens whose rows it is to run.
    pub(crate) tokens: &'a [u32],
    /// How these rows were written before, as far as they were.
    pub(crate) written: &'a WrittenRows,
}

/// How a session is opened, or taken up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenAs {
    /// The session's id.
    pub(crate) id: [u8; 16],
    /// From where it goes on, where it is there already.
    pub(crate) resume: Option<v1::Resume>,
}

impl SplitClient {
    /// A client of the clouds that `dialer` leads to. The messages on each link teach a `choice` of its own what that link
    /// is like.
    ///
    /// # Errors
    /// An address cannot be dialled.
    pub fn new(
        front: FrontHalf,
        dialer: Dialer,
        choice: CodecChoice,
        limits: SessionLimits,
    ) -> Result<Self, DialError> {
        let own = tandem_wire::description("", &front.config, front.identity, front.tokenizer);
        Ok(Self(Arc::new(Shared {
            clouds: Clouds::new(dialer, choice, (own, front.split))?,
            front,
            limits,
            prefixes: Prefixes::new(limits.prefix_memory),
            acceptance: Acceptance::default(),
            earlier: EarlierAnswers::new(limits.drafts_memory),
            owners: RandomState::new(),
        })))
    }

    /// The half of the model that runs here.
    pub fn front(&self) -> &FrontHalf {
        &self.0.front
    }

    /// The clouds that sessions may be opened with.
    pub fn clouds(&self) -> &Clouds {
        &self.0.clouds
    }

    /// How large things get.
    pub fn limits(&self) -> SessionLimits {
        self.0.limits
    }

    /// The most positions that a session may have, as far as is known without asking a cloud.
    pub fn most_positions(&self) -> usize {
        let most = self.front().config.max_context();
        let known = self.clouds().known();
        let granted = known.iter().map(|cloud| self.context(cloud)).max();
        granted.unwrap_or(match self.limits().context {
            0 => most,
            context => context.min(most),
        })
    }

    /// The most positions of a session, given what the cloud grants.
    pub fn context(&self, cloud: &Cloud) -> usize {
        let granted = cloud.described.max_context as usize;
        let limit = granted.min(self.front().config.max_context());
        match self.limits().context {
            0 => limit,
            context => context.min(limit),
        }
    }

    /// Whether an answer whose session is lost goes on in another one.
    pub fn can_replay(&self, cloud: &Cloud) -> bool {
        !self.limits().replay.within.is_zero() && cloud.serves(v1::Feature::Replay)
    }

    /// Whether a session whose stream broke is taken up again.
    fn can_resume(&self, cloud: &Cloud) -> bool {
        self.can_replay(cloud) && cloud.serves(v1::Feature::Resume)
    }

    /// Whether rows may be of drafts: the tokens have to be those without.
    pub(crate) fn can_draft(&self, cloud: &Cloud) -> bool {
        let is_exact = self.front().is_reproducible && !cloud.described.numerics.is_empty();
        self.limits().drafts > 0 && is_exact && cloud.serves(v1::Feature::Drafts)
    }

    /// What makes the drafts of an answer of at most `context` positions.
    pub(crate) fn drafter(&self, asked: &Asked, context: usize) -> Option<Drafter> {
        if self.limits().drafts == 0 {
            return None;
        }
        let earlier = self.0.earlier.of(&asked.asker);
        let guesses = self.guesses(asked, context);
        let acceptance = &self.0.acceptance;
        Some(Drafter::new(&earlier, &asked.prompt, acceptance, guesses))
    }

    /// How the round trips of all answers have begun.
    pub fn draft_starts(&self) -> Vec<DraftStart> {
        self.0.acceptance.starts(self.limits().drafts)
    }

    /// What the draft model guesses of an answer.
    fn guesses(&self, asked: &Asked, context: usize) -> Option<Guesses> {
        let model = self.front().draft_model.as_ref()?;
        let sampling = asked.run.sampling.as_ref();
        let vocabulary = self.front().config.vocabulary.min(model.vocabulary());
        let begins = Begins {
            asker: asked.asker.clone(),
            parameters: tandem_wire::parameters(sampling, vocabulary).ok()?,
            eos: asked.run.eos_token_ids.clone(),
            prompt: asked.prompt.len(),
            vocabulary,
        };
        Some(Guesses::new(model, (&asked.prompt, context), begins))
    }

    /// Keeps an answer, which later ones to the same asker may repeat.
    pub(crate) fn remember(&self, asker: &Asker, answer: &[u32]) {
        if self.limits().drafts > 0 {
            self.0.earlier.keep(asker, answer);
        }
    }

    /// The cloud for an answer behind a prompt.
    ///
    /// # Errors
    /// None answers in time.
    pub async fn choose(&self, asker: &Asker, prompt: &[u32]) -> Result<Cloud, CloudError> {
        let wish = Wish {
            // The answer has one token at least.
            positions: prompt.len() + 1,
            like: None,
            only_like: false,
            but_for: &[],
            holds: &|cloud| self.would_begin_with(asker, prompt, cloud),
        };
        self.clouds().choose(&wish).await
    }

    /// Opens a session with a cloud that has described itself. Does not wait for it. It has those of the tokens that
    /// it begins with; the rest is to be run. Its rows count among the asker's in the front.
    ///
    /// # Errors
    /// When the front has no room.
    pub(crate) async fn open(&self, opening: Opening<'_>) -> Result<Session, SessionError> {
        // From here on, so that those who choose now know of it.
        let answering = opening.cloud.link.answering();
        let codecs = self.session_codecs(opening.cloud);
        let (beginnings, found) = self.beginning(opening, &codecs);
        let front: Option<EngineSession<Front>> = match &self.front().engine {
            Some(engine) => {
                let number = OwnerNumber(self.0.owners.hash_one(&opening.asker.owner));
                let open = FrontOpen {
                    context: opening.context,
                    pages: found.iter().filter_map(|page| page.front.clone()).collect(),
                    gives_pages: beginnings.is_some(),
                };
                Some(engine.open_for(number, opening.replays, open).await?)
            }
            None => None,
        };
        Ok(Session::open(
            self.clone(),
            front,
            opening,
            (codecs, answering),
            (beginnings, found),
        ))
    }

    /// How many tokens of a prompt a new session would begin with.
    pub fn would_begin_with(&self, asker: &Asker, prompt: &[u32], cloud: &Cloud) -> usize {
        let opening = Opening {
            context: 0,
            cloud,
            replays: 0,
            asker,
            tokens: prompt,
            written: &WrittenRows::default(),
        };
        let (_, found) = self.beginning(opening, &self.session_codecs(cloud));
        found.len() * PAGE_POSITIONS
    }

    /// The pages that a session begins with, where it may begin with any.
    fn beginning(
        &self,
        opening: Opening<'_>,
        codecs: &SessionCodecs,
    ) -> (Option<SessionBeginnings>, Vec<Remembered>) {
        if !self.shares_prefixes(opening.cloud) {
            return (None, Vec::new());
        }
        let link = &opening.cloud.link;
        let mut beginnings = self.0.prefixes.of(opening.asker, link.number());
        let next = codecs.written(link.choice().step());
        let codec = |position| match self.front().engine {
            Some(_) => {
                let codec = opening.written.of_page(position, next)?;
                codecs.can_write(codec).then_some(codec)
            }
            None => Some(FrameCodec::default()),
        };
        let found = beginnings.find(opening.tokens, codec);
        (Some(beginnings), found)
    }

    /// Whether sessions begin with what others have filled. Where an answer cannot go on in another session, the cloud
    /// holds memory for its whole context anyhow.
    fn shares_prefixes(&self, cloud: &Cloud) -> bool {
        let kept_here = self.0.prefixes.are_kept() && self.front().page_bytes.is_some();
        kept_here && self.can_replay(cloud) && cloud.serves(v1::Feature::Prefixes)
    }

    /// How rows may be written for a cloud. What takes the profile to read is written by it only
    /// where the cloud has it or takes it from us.
    pub(crate) fn session_codecs(&self, cloud: &Cloud) -> SessionCodecs {
        let cloud = &cloud.described;
        let shared = self.front().profile.as_ref().is_some_and(|profile| {
            let known = &cloud.profile_fingerprints;
            cloud.accepts_profiles || known.iter().any(|k| *k == profile.fingerprint())
        });
        SessionCodecs::new(self.clouds().codecs().codecs(), &cloud.codecs, shared)
    }

    /// The first message of a session.
    pub(crate) fn open_message(
        &self,
        opening: Opening<'_>,
        codecs: &SessionCodecs,
        page_names: Vec<Vec<u8>>,
        OpenAs { id, resume }: OpenAs,
    ) -> v1::Open {
        let cloud = opening.cloud;
        let front = self.front();
        let profile = front.profile.as_ref().filter(|_| codecs.by_profile());
        let fingerprint = profile.map(|p| p.fingerprint().to_vec());
        let known = fingerprint
            .as_ref()
            .is_some_and(|f| cloud.described.profile_fingerprints.contains(f));
        v1::Open {
            versions: Some(v1::VersionRange {
                min: PROTOCOL_VERSION,
                max: PROTOCOL_VERSION,
            }),
            features: [
                (v1::Feature::Replay, self.can_replay(cloud)),
                (v1::Feature::Prefixes, self.shares_prefixes(cloud)),
                (v1::Feature::Resume, self.can_resume(cloud)),
                (v1::Feature::Drafts, self.can_draft(cloud)),
                (
                    v1::Feature::Constraints,
                    cloud.serves(v1::Feature::Constraints),
                ),
            ]
            .into_iter()
            .filter(|(_, used)| *used)
            .map(|(feature, _)| feature.into())
            .collect(),
            weights_fingerprint: tandem_wire::bytes(front.identity.weights()),
            files_fingerprint: tandem_wire::bytes(front.identity.files()),
            tokenizer_fingerprint: front.tokenizer.0.to_vec(),
            split: u32::try_from(front.split).unwrap_or(u32::MAX),
            codecs: codecs.names(),
            session_id: id.to_vec(),
            context: u32::try_from(opening.context).unwrap_or(u32::MAX),
            profile_fingerprint: fingerprint.unwrap_or_default(),
            profile: match profile {
                Some(profile) if !known => profile.to_bytes(),
                _ => Vec::new(),
            },
            replays: opening.replays,
            page_names,
            resume,
        }
    }
}
