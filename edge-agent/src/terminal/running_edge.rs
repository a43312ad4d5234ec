//! A running edge, as its client sees it.

use crate::cli::RunningEdgeArgs;
use crate::metrics::RELOADS;
use std::io;
use tandem_config::address::server_uri;
use tandem_proto::v1;
use tandem_proto::v1::chat_response::Event;
use tandem_proto::v1::generation_service_client::GenerationServiceClient;
use tandem_proto::v1::{generation_service_server, split_service_server};
use tandem_server::health::knows;
use tandem_status::{NOT_GRPC, cause, speaks_grpc, words};
use tandem_transport::auth::Bearer;
use tandem_transport::tls::{ClientTlsSettings, channel};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// An edge that answers over gRPC.
#[derive(Debug)]
pub(super) struct RunningEdge {
    address: String,
    channel: Channel,
    client: GenerationServiceClient<InterceptedService<Channel, Bearer>>,
}

impl RunningEdge {
    /// The edge that the flags name. The first call connects to it.
    ///
    /// # Errors
    /// The address, a certificate or the token cannot be used.
    pub(super) async fn new(args: RunningEdgeArgs) -> anyhow::Result<Self> {
        let address = args.address().to_owned();
        let tls = ClientTlsSettings {
            ca: args.ca.unwrap_or_default(),
            certificate: args.certificate.unwrap_or_default(),
            key: args.key.unwrap_or_default(),
            server_name: args.server_name.unwrap_or_default(),
        };
        let endpoint = Endpoint::from(server_uri(&address)?).tcp_nodelay(true);
        let channel = channel(&endpoint, &tls, "edge_tls", RELOADS).await?;
        let token = args.token_file.unwrap_or_default();
        let bearer = Bearer::load(&token, "edge_token", RELOADS).await?;
        let client = GenerationServiceClient::with_interceptor(channel.clone(), bearer);
        Ok(Self {
            address,
            channel,
            client,
        })
    }

    /// As it was given.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What it serves.
    ///
    /// # Errors
    /// It does not say.
    pub(super) async fn model(&mut self) -> anyhow::Result<v1::GetModelResponse> {
        match self.client.get_model(v1::GetModelRequest {}).await {
            Ok(model) => Ok(model.into_inner()),
            Err(status) => Err(self.refused(&status).await),
        }
    }

    /// Asks for an answer and gives each of its events to `show`.
    ///
    /// # Errors
    /// The edge does not answer, the answer ends early, or `show` fails.
    pub(super) async fn chat(
        &mut self,
        request: v1::ChatRequest,
        mut show: impl FnMut(Event) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let answer = match self.client.chat(request).await {
            Ok(answer) => answer,
            Err(status) => return Err(self.refused(&status).await),
        };
        let edge = &self.address;
        anyhow::ensure!(speaks_grpc(answer.metadata()), "{edge}: {NOT_GRPC}");
        let mut events = answer.into_inner();
        let mut tokens = 0;
        loop {
            let response = match events.message().await {
                Ok(Some(response)) => response,
                Ok(None) => return Ok(()),
                Err(status) => anyhow::bail!(failed(edge, tokens, &status)),
            };
            if let Some(Event::Delta(delta)) = &response.event {
                tokens += delta.token_ids.len();
            }
            if let Some(event) = response.event {
                show(event)?;
            }
        }
    }

    /// Why there is no answer, naming whom we asked.
    async fn refused(&self, status: &Status) -> anyhow::Error {
        let edge = &self.address;
        if !speaks_grpc(status.metadata()) {
            return anyhow::anyhow!("{edge}: {NOT_GRPC}");
        }
        if let Some(cause) = cause(status) {
            return anyhow::anyhow!("{edge} cannot be reached: {cause}");
        }
        if status.code() != Code::Unimplemented {
            return anyhow::anyhow!(words(status));
        }
        let knows = async |service| knows(self.channel.clone(), service).await;
        let whose = if knows(split_service_server::SERVICE_NAME).await {
            "it is a port of a cloud-service; ask an edge-agent"
        } else if knows(generation_service_server::SERVICE_NAME).await {
            "it looks like an edge-agent's port for metrics and health; ask at its `listen`"
        } else {
            "it is no port of an edge-agent for clients"
        };
        anyhow::anyhow!("{edge} speaks gRPC, but does not answer prompts: {whose}")
    }
}

/// Why an answer ended early: the edge says so, or is there no more.
fn failed(edge: &str, tokens: usize, status: &Status) -> String {
    match cause(status) {
        Some(cause) => format!("the connection to {edge} was lost after {tokens} tokens: {cause}"),
        None => words(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tandem_shape::Reason;
    use tandem_status::unavailable;

    #[test]
    fn a_lost_connection_is_told_from_what_the_edge_says() {
        let mut broken = Status::internal("h2 protocol error: error reading a body");
        broken.set_source(Arc::new(std::io::Error::other("broken pipe")));
        assert_eq!(
            failed("http://edge:1", 7, &broken),
            "the connection to http://edge:1 was lost after 7 tokens: broken pipe"
        );
        let said = unavailable(Reason::Draining, "the edge is shutting down", None);
        assert_eq!(
            failed("http://edge:1", 7, &said),
            "the edge is shutting down (UNAVAILABLE, DRAINING)"
        );
    }
}
