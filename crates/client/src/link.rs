//! The link to a cloud: one connection for all sessions with it, made again when it breaks, and what is known of the
//! cloud at its end.

use crate::clouds::{Load, Place};
use crate::codec_choice::CodecChoice;
use crate::drafts::RoundTimes;
use crate::error::CloudError;
use crate::fit::{self, Misfit};
use crate::uplink::Uplink;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tandem_proto::v1;
use tandem_proto::v1::split_service_client::SplitServiceClient;
use tandem_transport::auth::Bearer;
use tokio::sync::Notify;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

/// A client of the cloud, which shows it the edge's token where there is one.
pub type CloudClient = SplitServiceClient<InterceptedService<Channel, Bearer>>;

/// How long a cloud is left alone that did not answer, at first.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The same, at most.
pub(crate) const LAST_PAUSE: Duration = Duration::from_secs(2);

/// A link to a cloud; clones are the same one.
#[derive(Debug, Clone)]
pub struct Link(Arc<Shared>);

/// What a link is made of.
#[derive(Debug)]
pub(crate) struct LinkParts {
    /// No other link of the dialer has the same.
    pub(crate) number: u64,
    /// For people.
    pub(crate) address: String,
    /// Where it leads.
    pub(crate) place: Place,
    /// Its connection.
    pub(crate) channel: Channel,
    /// The edge's token.
    pub(crate) bearer: Bearer,
    /// The largest message that is taken from it.
    pub(crate) max_message: usize,
    /// How long a connection may take.
    pub(crate) connect_timeout: Duration,
    /// About how large a frame gets, in bytes.
    pub(crate) frame_bytes: usize,
    /// The codec of each step.
    pub(crate) choice: CodecChoice,
}

#[derive(Debug)]
struct Shared {
    parts: LinkParts,
    uplink: Uplink,
    round_times: RoundTimes,
    state: Mutex<State>,
    /// Told when the cloud has to be asked again.
    forgotten: Notify,
}

#[derive(Debug)]
struct State {
    /// What the cloud said of itself, until something says that it may have changed.
    known: Option<Known>,
    /// For how long the cloud is left alone when it fails next.
    pause: Duration,
    /// When it may be asked again.
    ask_at: Instant,
    load: Load,
}

#[derive(Debug)]
struct Known {
    cloud: Arc<v1::DescribeBackResponse>,
    since: Instant,
}

/// A cloud that has said what it is, and the link to it.
#[derive(Debug, Clone)]
pub struct Cloud {
    /// The link.
    pub link: Link,
    /// What it says of itself.
    pub described: Arc<v1::DescribeBackResponse>,
}

/// An answer of this edge that a cloud makes.
#[derive(Debug)]
pub(crate) struct Answering(Link);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.lock().load.ended();
    }
}

impl Cloud {
    /// Whether it serves a feature.
    pub(crate) fn serves(&self, feature: v1::Feature) -> bool {
        self.described.features.contains(&feature.into())
    }
}

impl Link {
    pub(crate) fn new(parts: LinkParts) -> Self {
        Self(Arc::new(Shared {
            uplink: Uplink::new(parts.frame_bytes),
            round_times: RoundTimes::default(),
            parts,
            state: Mutex::new(State {
                known: None,
                pause: FIRST_PAUSE,
                ask_at: Instant::now(),
                load: Load::default(),
            }),
            forgotten: Notify::new(),
        }))
    }

    /// The cloud's address, as it was configured, and where that leads. Clients are not told it.
    pub fn address(&self) -> &str {
        &self.0.parts.address
    }

    /// What round trips of answers take.
    pub(crate) fn round_times(&self) -> &RoundTimes {
        &self.0.round_times
    }

    /// Answers that the cloud makes, as far as is known.
    pub(crate) fn answers(&self) -> u32 {
        self.lock().load.answers()
    }

    /// No other link has it.
    pub(crate) fn number(&self) -> u64 {
        self.0.parts.number
    }

    pub(crate) fn place(&self) -> Place {
        self.0.parts.place
    }

    /// A client on this connection.
    pub fn client(&self) -> CloudClient {
        let parts = &self.0.parts;
        let (channel, bearer) = (parts.channel.clone(), parts.bearer.clone());
        SplitServiceClient::with_interceptor(channel, bearer)
            .max_decoding_message_size(parts.max_message)
    }

    /// The way up.
    pub fn uplink(&self) -> &Uplink {
        &self.0.uplink
    }

    /// The codec of each step.
    pub fn choice(&self) -> &CodecChoice {
        &self.0.parts.choice
    }

    /// What the cloud serves and accepts; asked once, and again after [`Link::forget`].
    ///
    /// # Errors
    /// The cloud cannot be reached in time.
    pub async fn describe(&self) -> Result<Cloud, CloudError> {
        if let Some(known) = self.known() {
            return Ok(known);
        }
        self.ask().await.inspect_err(|_| self.lock().leave_alone())
    }

    async fn ask(&self) -> Result<Cloud, CloudError> {
        let mut client = self.client();
        let answering = client.describe_back(v1::DescribeBackRequest {});
        let answer = tokio::time::timeout(2 * self.0.parts.connect_timeout, answering)
            .await
            .map_err(|_| CloudError::Unreachable {
                why: "it did not answer in time".to_owned(),
                sent: true,
            })?
            .map_err(|status| CloudError::of_call(&status))?;
        let cloud = Arc::new(answer.into_inner());
        let mut state = self.lock();
        if let Some(load) = &cloud.load {
            state.load.said(load, 0);
        }
        state.known = Some(Known {
            cloud: Arc::clone(&cloud),
            since: Instant::now(),
        });
        Ok(Cloud {
            link: self.clone(),
            described: cloud,
        })
    }

    /// What the cloud is known to serve, without asking.
    pub fn known(&self) -> Option<Cloud> {
        let state = self.lock();
        let described = Arc::clone(&state.known.as_ref()?.cloud);
        let link = self.clone();
        Some(Cloud { link, described })
    }

    /// The cloud may be another one now, or none: no new session is opened with it until it has described itself again.
    pub fn forget(&self) {
        let mut state = self.lock();
        if let Some(known) = state.known.take() {
            // Who has served for longer than it was left alone is no cloud that fails.
            if known.since.elapsed() > state.pause {
                state.pause = FIRST_PAUSE;
            }
            state.leave_alone();
        }
        drop(state);
        self.0.forgotten.notify_one();
    }

    /// Resolves when something says that the cloud may have changed.
    pub(crate) async fn forgotten(&self) {
        self.0.forgotten.notified().await;
    }

    /// When the cloud may be asked again, where nothing is known of it.
    pub(crate) fn ask_at(&self) -> Option<Instant> {
        let state = self.lock();
        state.known.is_none().then_some(state.ask_at)
    }

    /// How busy the cloud is, as far as is known here.
    pub(crate) fn load(&self) -> Load {
        self.lock().load
    }

    /// Something was heard of how busy the cloud is.
    pub(crate) fn note_load(&self, note: impl FnOnce(&mut Load)) {
        note(&mut self.lock().load);
    }

    /// Counts an answer that the cloud makes for this edge, until it is dropped.
    pub(crate) fn answering(&self) -> Answering {
        self.lock().load.begins();
        Answering(self.clone())
    }

    /// How the cloud does not fit a front, where it is known not to.
    pub(crate) fn misfit(&self, own: &v1::ModelDescription, split: usize) -> Option<Misfit> {
        fit::check(own, split, &self.known()?.described).err()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn leave_alone(&mut self) {
        self.ask_at = Instant::now() + self.pause;
        self.pause = (2 * self.pause).min(LAST_PAUSE);
    }
}
