//! Makes links to clouds, each to where a name leads.

use super::first_to_answer;
use super::names::Place;
use crate::codec_choice::CodecChoice;
use crate::error::CloudError;
use crate::link::{FIRST_PAUSE, LAST_PAUSE, Link, LinkParts};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tandem_codec::Codec;
use tandem_config::address::{Addresses, EndpointError, is_tls, server_uri};
use tandem_telemetry::metrics::Metric;
use tandem_transport::auth::Bearer;
use tandem_transport::grpc::{TransportConfig, endpoint};
use tandem_transport::reload::{self, MaterialError, Watch};
use tandem_transport::tls::{Channels, ClientTlsSettings};
use tonic::codegen::http::Uri;
use tonic::transport::Channel;

/// Where clouds are, and how they are spoken to.
#[derive(Debug, Clone)]
pub struct DialerConfig<'a> {
    /// Their addresses.
    pub clouds: &'a Addresses,
    /// HTTP/2.
    pub transport: TransportConfig,
    /// What they must show, and are shown.
    pub tls: &'a ClientTlsSettings,
    /// The file of the token that they are shown; empty for none.
    pub token: &'a PathBuf,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// About how large a frame gets, in bytes.
    pub frame_bytes: usize,
    /// Counts the files that were read again, by what and outcome.
    pub reloads: Metric,
}

/// No connection can be made, whatever the clouds do.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// An address cannot be parsed.
    #[error("cloud: {0}")]
    Address(#[from] EndpointError),
    /// A file of `cloud_tls` cannot be used.
    #[error("cloud_tls: {0}")]
    Tls(#[source] MaterialError),
    /// Nor that of `cloud_token`.
    #[error("cloud_token: {0}")]
    Token(#[source] MaterialError),
}

/// No cloud can be reached.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// No connection can be made, whatever the clouds do.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// None answers.
    #[error(transparent)]
    Cloud(#[from] CloudError),
}

/// Makes links to clouds; clones share what they are numbered by.
#[derive(Debug, Clone)]
pub struct Dialer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    servers: Vec<Uri>,
    ways: Ways,
    transport: TransportConfig,
    bearer: Bearer,
    /// Of the token, which links outlive.
    _watch: Option<Watch>,
    connect_timeout: Duration,
    frame_bytes: usize,
    links: AtomicU64,
}

/// How a cloud is connected to.
#[derive(Debug)]
enum Ways {
    /// Through the network.
    Network(Channels),
    /// By channels that were made otherwise, one for each server.
    Given(Vec<Channel>),
}

impl Dialer {
    /// Reads what connections need.
    ///
    /// # Errors
    /// An address cannot be parsed, or a certificate, a key or a token cannot be used.
    pub async fn new(config: DialerConfig<'_>) -> Result<Self, DialError> {
        let servers = servers(config.clouds)?;
        let channels = Channels::load(&servers, config.tls, "cloud_tls", config.reloads)
            .await
            .map_err(DialError::Tls)?;
        Self::by(servers, Ways::Network(channels), config).await
    }

    /// The same with channels that were made otherwise, one for each address.
    ///
    /// # Errors
    /// An address cannot be parsed, or the token cannot be used.
    pub async fn over(channels: Vec<Channel>, config: DialerConfig<'_>) -> Result<Self, DialError> {
        Self::by(servers(config.clouds)?, Ways::Given(channels), config).await
    }

    async fn by(
        servers: Vec<Uri>,
        ways: Ways,
        config: DialerConfig<'_>,
    ) -> Result<Self, DialError> {
        let bearer = Bearer::load(config.token, "cloud_token", config.reloads)
            .await
            .map_err(DialError::Token)?;
        let watch = bearer.reloaded().map(|token| token.watch(reload::EVERY));
        Ok(Self(Arc::new(Shared {
            servers,
            ways,
            transport: config.transport,
            bearer,
            _watch: watch,
            connect_timeout: config.connect_timeout,
            frame_bytes: config.frame_bytes,
            links: AtomicU64::new(0),
        })))
    }

    /// Where the clouds are, as it was configured.
    pub(crate) fn servers(&self) -> &[Uri] {
        &self.0.servers
    }

    /// Whether names may lead to several places.
    pub(crate) fn looks_up(&self) -> bool {
        matches!(self.0.ways, Ways::Network(_))
    }

    /// A link to each address, by its name. A connection is made when one is first used.
    ///
    /// # Errors
    /// As [`Dialer::dial`].
    pub fn links(&self, choice: &CodecChoice) -> Result<Vec<Link>, DialError> {
        let places = (0..self.0.servers.len()).map(Place::named);
        places.map(|place| self.dial(place, choice)).collect()
    }

    /// A link to the cloud that is the first to answer.
    ///
    /// # Errors
    /// None answers in time.
    pub async fn reach(&self) -> Result<Link, ReachError> {
        // Nothing is written on it.
        let links = self.links(&CodecChoice::fixed(Codec::default()))?;
        Ok(first_to_answer(links, |_| true).await?.link)
    }

    /// The same, however long it takes.
    ///
    /// # Errors
    /// An address cannot be dialled.
    pub async fn wait(&self) -> Result<Link, DialError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.reach().await {
                Ok(link) => return Ok(link),
                Err(ReachError::Dial(error)) => return Err(error),
                Err(ReachError::Cloud(error)) => tracing::warn!(
                    cloud = %self.addresses(),
                    %error,
                    "the cloud does not answer; retrying"
                ),
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LAST_PAUSE);
        }
    }

    /// The addresses, for people.
    pub fn addresses(&self) -> String {
        let places = self.0.servers.iter().enumerate();
        let shown = places.map(|(number, server)| Place::named(number).shown(server));
        shown.collect::<Vec<_>>().join(", ")
    }

    /// A link to a place, with a choice of codecs of its own.
    ///
    /// # Errors
    /// The place is no address.
    pub(crate) fn dial(&self, place: Place, choice: &CodecChoice) -> Result<Link, DialError> {
        let shared = &*self.0;
        let server = &shared.servers[place.server];
        let channel = match &shared.ways {
            Ways::Given(channels) => channels[place.server].clone(),
            Ways::Network(channels) => {
                let host = server.host().unwrap_or_default();
                let host = host.trim_matches(['[', ']']);
                let to = place.uri(server);
                let endpoint = endpoint(&to, &shared.transport, shared.connect_timeout)?;
                // The cloud is called by its name, wherever that leads.
                channels.lazy(&endpoint.origin(server.clone()), host)
            }
        };
        Ok(Link::new(LinkParts {
            number: shared.links.fetch_add(1, Ordering::Relaxed),
            address: place.shown(server),
            place,
            channel,
            bearer: shared.bearer.clone(),
            max_message: shared.transport.max_message.as_usize(),
            connect_timeout: shared.connect_timeout,
            frame_bytes: shared.frame_bytes,
            choice: choice.afresh(),
        }))
    }
}

fn servers(addresses: &Addresses) -> Result<Vec<Uri>, EndpointError> {
    addresses.iter().map(server_uri).collect()
}

/// Whether every address is reached with TLS; none for addresses that cannot be parsed.
pub fn all_have_tls(addresses: &Addresses) -> Option<bool> {
    let servers = servers(addresses).ok()?;
    Some(servers.iter().all(is_tls))
}
