//! The connection to the cloud: one for all sessions, made again when it breaks.

use crate::codec_choice::CodecChoice;
use crate::config::EdgeConfig;
use crate::metrics::RELOADS;
use crate::uplink::Uplink;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tandem_config::address::EndpointError;
use tandem_proto::v1;
use tandem_proto::v1::split_service_client::SplitServiceClient;
use tandem_shape::Reason;
use tandem_status::{NOT_GRPC, cause, reason, speaks_grpc, unavailable, words};
use tandem_transport::auth::Bearer;
use tandem_transport::grpc::endpoint;
use tandem_transport::reload::{self, MaterialError, Watch};
use tandem_transport::tls::channel;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// A client of the cloud, which shows it the edge's token where there is one.
pub type CloudClient = SplitServiceClient<InterceptedService<Channel, Bearer>>;

/// How long to wait before the cloud is asked again, at first and at most.
pub(crate) const RETRY: (Duration, Duration) =
    (Duration::from_millis(200), Duration::from_secs(10));

/// No connection can be made, whatever the cloud does.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address cannot be parsed.
    #[error("cloud: {0}")]
    Address(#[from] EndpointError),
    /// A file of `cloud_tls` cannot be used.
    #[error("cloud_tls: {0}")]
    Tls(#[source] MaterialError),
    /// Nor that of `cloud_token`.
    #[error("cloud_token: {0}")]
    Token(#[source] MaterialError),
}

/// A connection to a cloud.
#[derive(Debug, Clone)]
pub struct Link {
    /// The cloud's, as it was configured.
    address: Arc<str>,
    channel: Channel,
    bearer: Bearer,
    /// Of the token, which a connection outlives.
    _watch: Option<Arc<Watch>>,
    max_message: usize,
    connect_timeout: Duration,
    uplink: Uplink,
    choice: Option<CodecChoice>,
    /// What the cloud said of itself, until something says that it may have changed.
    description: Arc<Mutex<Option<Arc<v1::DescribeBackResponse>>>>,
}

impl Link {
    /// A connection that is made when it is first used.
    ///
    /// # Errors
    /// When the address is none, or a certificate, a key or a token cannot be used.
    pub async fn new(config: &EdgeConfig) -> Result<Self, LinkError> {
        let timeout = config.connect_timeout.get();
        let endpoint = endpoint(&config.cloud, &config.transport, timeout)?;
        let channel = channel(&endpoint, &config.cloud_tls, "cloud_tls", RELOADS)
            .await
            .map_err(LinkError::Tls)?;
        let bearer = Bearer::load(&config.cloud_token, "cloud_token", RELOADS)
            .await
            .map_err(LinkError::Token)?;
        let watch = bearer.reloaded().map(|token| token.watch(reload::EVERY));
        Ok(Self {
            address: config.cloud.as_str().into(),
            channel,
            bearer,
            _watch: watch.map(Arc::new),
            max_message: config.transport.max_message.as_usize(),
            connect_timeout: timeout,
            uplink: Uplink::new(config.prefill.frame.as_usize()),
            choice: None,
            description: Arc::default(),
        })
    }

    /// The cloud's address, as it was configured. Clients are not told it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A status for whoever runs this edge: with the cloud's address where it tells of the cloud.
    pub fn words(&self, status: &Status) -> String {
        let of_cloud = match status.code() {
            Code::Unavailable => true,
            // A model without a chat template is this edge's own.
            Code::FailedPrecondition => {
                reason(status).is_none_or(|reason| reason != "CHAT_TEMPLATE")
            }
            _ => false,
        };
        match of_cloud {
            true => format!("{}: {}", self.address, words(status)),
            false => words(status),
        }
    }

    /// A client on this connection.
    pub fn client(&self) -> CloudClient {
        let (channel, bearer) = (self.channel.clone(), self.bearer.clone());
        SplitServiceClient::with_interceptor(channel, bearer)
            .max_decoding_message_size(self.max_message)
    }

    /// The same connection, whose messages teach `choice` what the link is like.
    #[must_use]
    pub fn watched_by(self, choice: CodecChoice) -> Self {
        Self {
            choice: Some(choice),
            ..self
        }
    }

    /// What learns from this connection's messages.
    pub fn choice(&self) -> Option<&CodecChoice> {
        self.choice.as_ref()
    }

    /// The way up.
    pub fn uplink(&self) -> &Uplink {
        &self.uplink
    }

    /// What the cloud serves and accepts; asked once, and again after [`Link::forget`].
    ///
    /// # Errors
    /// UNAVAILABLE when the cloud cannot be reached in time.
    pub async fn describe(&self) -> Result<Arc<v1::DescribeBackResponse>, Status> {
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let mut client = self.client();
        let asked = client.describe_back(v1::DescribeBackRequest {});
        let answer = tokio::time::timeout(2 * self.connect_timeout, asked)
            .await
            .map_err(|_| unreachable_cloud("it did not answer in time"))?
            .map_err(|status| reached(&status))?;
        let description = Arc::new(answer.into_inner());
        *self.lock() = Some(Arc::clone(&description));
        Ok(description)
    }

    /// Asks until the cloud answers.
    pub async fn wait(&self) {
        let mut wait = RETRY.0;
        while let Err(status) = self.describe().await {
            tracing::warn!(
                cloud = self.address(),
                error = status.message(),
                "the cloud does not answer; retrying"
            );
            tokio::time::sleep(wait).await;
            wait = (2 * wait).min(RETRY.1);
        }
    }

    /// What the cloud is known to serve, without asking.
    pub fn known(&self) -> Option<Arc<v1::DescribeBackResponse>> {
        self.lock().clone()
    }

    /// The cloud may be another one now.
    pub fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<v1::DescribeBackResponse>>> {
        self.description
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A failed call as a client of the edge should see it: a broken connection is the cloud's
/// absence, and so is a cloud that refuses the edge, whose token is none of the client's business;
/// another status of the cloud's own is passed on.
pub fn reached(status: &Status) -> Status {
    let mut told = told(status);
    if was_canceled(status) {
        told.set_source(Arc::new(NeverSent));
    }
    told
}

/// The call waited for a connection that ended meanwhile, as one does that the cloud finds too old.
#[derive(Debug, thiserror::Error)]
#[error("the connection ended before anything was sent")]
struct NeverSent;

/// Whether nothing of a call has left, so that it can be made again.
pub fn never_sent(status: &Status) -> bool {
    std::error::Error::source(status).is_some_and(|cause| cause.is::<NeverSent>())
}

fn was_canceled(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let hyper: Option<&hyper::Error> = error.downcast_ref();
        if hyper.is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The same for a stream that had begun: its connection is lost, rather than the cloud away.
pub fn lost(status: &Status) -> Status {
    match cause(status) {
        Some(cause) if !was_canceled(status) => unavailable(
            Reason::CloudUnreachable,
            format!("the connection to the cloud was lost: {cause}"),
            Some(Duration::from_secs(1)),
        ),
        _ => reached(status),
    }
}

fn told(status: &Status) -> Status {
    if !speaks_grpc(status.metadata()) {
        return unreachable_cloud(NOT_GRPC);
    }
    match status.code() {
        Code::Unknown | Code::Unavailable | Code::Internal | Code::Cancelled => {
            match (cause(status), status.code()) {
                (Some(cause), _) => unreachable_cloud(&cause),
                (None, Code::Unknown | Code::Cancelled) => unreachable_cloud(status.message()),
                (None, _) => status.clone(),
            }
        }
        // Every cloud has the calls of version 1.
        Code::Unimplemented if status.message().is_empty() => unreachable_cloud(
            "this port speaks gRPC, but is not a cloud-service's listen: it looks like an edge-agent's, or \
             the port of metrics",
        ),
        Code::Unauthenticated | Code::PermissionDenied => unavailable(
            Reason::CloudRefused,
            format!(
                "the cloud refuses this edge, see its cloud_token: {}",
                status.message()
            ),
            Some(Duration::from_secs(1)),
        ),
        _ => status.clone(),
    }
}

fn unreachable_cloud(why: &str) -> Status {
    unavailable(
        Reason::CloudUnreachable,
        format!("the cloud cannot be reached: {why}"),
        Some(Duration::from_secs(1)),
    )
}
