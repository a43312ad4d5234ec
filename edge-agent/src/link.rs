//! The connection to the cloud: one for all sessions, made again when it breaks.

use crate::codec_choice::CodecChoice;
use crate::config::EdgeConfig;
use crate::uplink::Uplink;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tandem_proto::v1;
use tandem_proto::v1::split_service_client::SplitServiceClient;
use tandem_service::grpc::{EndpointError, endpoint};
use tandem_service::status::unavailable;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// A connection to a cloud.
#[derive(Debug, Clone)]
pub struct Link {
    channel: Channel,
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
    /// When the address is none.
    pub fn new(config: &EdgeConfig) -> Result<Self, EndpointError> {
        let timeout = config.connect_timeout.get();
        let endpoint = endpoint(&config.cloud, &config.transport, timeout)?;
        Ok(Self {
            channel: endpoint.connect_lazy(),
            max_message: config.transport.max_message.as_usize(),
            connect_timeout: timeout,
            uplink: Uplink::new(config.prefill.frame.as_usize()),
            choice: None,
            description: Arc::default(),
        })
    }

    /// A client on this connection.
    pub fn client(&self) -> SplitServiceClient<Channel> {
        SplitServiceClient::new(self.channel.clone()).max_decoding_message_size(self.max_message)
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
/// absence, a status of its own is passed on.
pub fn reached(status: &Status) -> Status {
    let transport = std::error::Error::source(status).is_some();
    match status.code() {
        Code::Unknown | Code::Unavailable | Code::Internal | Code::Cancelled if transport => {
            let cause = deepest(status);
            unreachable_cloud(&cause)
        }
        Code::Unknown | Code::Cancelled => unreachable_cloud(status.message()),
        _ => status.clone(),
    }
}

fn unreachable_cloud(why: &str) -> Status {
    unavailable(
        "CLOUD_UNREACHABLE",
        format!("the cloud cannot be reached: {why}"),
        Some(Duration::from_secs(1)),
    )
}

fn deepest(status: &Status) -> String {
    let mut error: &dyn std::error::Error = status;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
