//! The connection to the cloud: one for all sessions, made again when it breaks.

use crate::error::CloudError;
use crate::uplink::Uplink;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tandem_config::address::EndpointError;
use tandem_proto::v1;
use tandem_proto::v1::split_service_client::SplitServiceClient;
use tandem_telemetry::metrics::Metric;
use tandem_transport::auth::Bearer;
use tandem_transport::grpc::{TransportConfig, endpoint};
use tandem_transport::reload::{self, MaterialError, Watch};
use tandem_transport::tls::{ClientTlsSettings, channel};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

/// A client of the cloud, which shows it the edge's token where there is one.
pub type CloudClient = SplitServiceClient<InterceptedService<Channel, Bearer>>;

/// How long to wait before the cloud is asked again, at first.
pub const FIRST_RETRY: Duration = Duration::from_millis(200);
/// The same, at most.
pub const LAST_RETRY: Duration = Duration::from_secs(10);

/// Where the cloud is, and how it is spoken to.
#[derive(Debug, Clone)]
pub struct LinkConfig<'a> {
    /// Its address.
    pub cloud: &'a str,
    /// HTTP/2.
    pub transport: &'a TransportConfig,
    /// What it must show, and is shown.
    pub tls: &'a ClientTlsSettings,
    /// The file of the token that it is shown; empty for none.
    pub token: &'a PathBuf,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// About how large a frame gets, in bytes.
    pub frame_bytes: usize,
    /// Counts the files that were read again, by what and outcome.
    pub reloads: Metric,
}

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
    /// What the cloud said of itself, until something says that it may have changed.
    description: Arc<Mutex<Option<Arc<v1::DescribeBackResponse>>>>,
}

impl Link {
    /// A connection that is made when it is first used.
    ///
    /// # Errors
    /// The address cannot be parsed, or a certificate, a key or a token cannot be used.
    pub async fn new(config: LinkConfig<'_>) -> Result<Self, LinkError> {
        let endpoint = endpoint(config.cloud, config.transport, config.connect_timeout)?;
        let channel = channel(&endpoint, config.tls, "cloud_tls", config.reloads)
            .await
            .map_err(LinkError::Tls)?;
        Self::over(channel, config).await
    }

    /// The same over a channel that was made otherwise.
    ///
    /// # Errors
    /// The token cannot be used.
    pub async fn over(channel: Channel, config: LinkConfig<'_>) -> Result<Self, LinkError> {
        let bearer = Bearer::load(config.token, "cloud_token", config.reloads)
            .await
            .map_err(LinkError::Token)?;
        let watch = bearer.reloaded().map(|token| token.watch(reload::EVERY));
        Ok(Self {
            address: config.cloud.into(),
            channel,
            bearer,
            _watch: watch.map(Arc::new),
            max_message: config.transport.max_message.as_usize(),
            connect_timeout: config.connect_timeout,
            uplink: Uplink::new(config.frame_bytes),
            description: Arc::default(),
        })
    }

    /// The cloud's address, as it was configured. Clients are not told it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A client on this connection.
    pub fn client(&self) -> CloudClient {
        let (channel, bearer) = (self.channel.clone(), self.bearer.clone());
        SplitServiceClient::with_interceptor(channel, bearer)
            .max_decoding_message_size(self.max_message)
    }

    /// The way up.
    pub fn uplink(&self) -> &Uplink {
        &self.uplink
    }

    /// What the cloud serves and accepts; asked once, and again after [`Link::forget`].
    ///
    /// # Errors
    /// The cloud cannot be reached in time.
    pub async fn describe(&self) -> Result<Arc<v1::DescribeBackResponse>, CloudError> {
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let mut client = self.client();
        let answering = client.describe_back(v1::DescribeBackRequest {});
        let answer = tokio::time::timeout(2 * self.connect_timeout, answering)
            .await
            .map_err(|_| CloudError::Unreachable {
                why: "it did not answer in time".to_owned(),
                sent: true,
            })?
            .map_err(|status| CloudError::of_call(&status))?;
        let description = Arc::new(answer.into_inner());
        *self.lock() = Some(Arc::clone(&description));
        Ok(description)
    }

    /// Asks until the cloud answers.
    pub async fn wait(&self) {
        let mut wait = FIRST_RETRY;
        while let Err(error) = self.describe().await {
            tracing::warn!(
                cloud = self.address(),
                %error,
                "the cloud does not answer; retrying"
            );
            tokio::time::sleep(wait).await;
            wait = (2 * wait).min(LAST_RETRY);
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
