//! `edge-agent ask`: a client of a running edge-agent, as small as one can be.

use crate::cli::AskArgs;
use crate::generate::user;
use crate::metrics::RELOADS;
use crate::summary::Summary;
use std::io::Write as _;
use tandem_config::address::server_uri;
use tandem_proto::v1;
use tandem_proto::v1::chat_response::Event;
use tandem_proto::v1::generation_service_client::GenerationServiceClient;
use tandem_proto::v1::{generation_service_server, split_service_server};
use tandem_server::health::knows;
use tandem_status::{NOT_GRPC, cause, speaks_grpc, words};
use tandem_transport::auth::Bearer;
use tandem_transport::tls::{ClientTlsSettings, channel};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// Runs the command.
///
/// # Errors
/// When the edge cannot be reached or the answer fails.
pub async fn ask(args: AskArgs) -> anyhow::Result<()> {
    let question = args.question()?;
    let constraint = args.sampling.constraint()?;
    let tls = ClientTlsSettings {
        ca: args.ca.unwrap_or_default(),
        certificate: args.certificate.unwrap_or_default(),
        key: args.key.unwrap_or_default(),
        server_name: args.server_name.unwrap_or_default(),
    };
    let endpoint = Endpoint::from(server_uri(&args.edge)?).tcp_nodelay(true);
    let channel = channel(&endpoint, &tls, "edge_tls", RELOADS).await?;
    let token = args.token_file.unwrap_or_default();
    let bearer = Bearer::load(&token, "edge_token", RELOADS).await?;
    let mut client = GenerationServiceClient::with_interceptor(channel.clone(), bearer);
    let request = v1::ChatRequest {
        messages: vec![user(&question)],
        constraint,
        sampling: Some(args.sampling.message()),
        max_tokens: args.sampling.max_tokens,
        stop: args.sampling.stop,
        ..v1::ChatRequest::default()
    };
    let edge = &args.edge;
    let answer = match client.chat(request).await {
        Ok(answer) => answer,
        Err(status) => return Err(refused(edge, &channel, &status).await),
    };
    anyhow::ensure!(speaks_grpc(answer.metadata()), "{edge}: {NOT_GRPC}");
    let mut events = answer.into_inner();
    let mut finished = None;
    let mut out = std::io::stdout().lock();
    let mut tokens = 0;
    loop {
        let response = match events.message().await {
            Ok(Some(response)) => response,
            Ok(None) => break,
            Err(status) => {
                if tokens > 0 {
                    // What went wrong stands on a line of its own.
                    writeln!(out)?;
                }
                return Err(anyhow::anyhow!(failed(edge, tokens, &status)));
            }
        };
        match response.event {
            Some(Event::Delta(delta)) => {
                tokens += delta.token_ids.len();
                write!(out, "{}", delta.text)?;
                out.flush()?;
            }
            Some(Event::Finished(end)) => finished = Some(end),
            Some(Event::Started(_) | Event::Step(_)) | None => {}
        }
    }
    writeln!(out)?;
    if let Some(finished) = &finished
        && args.summary
    {
        let model = client.get_model(v1::GetModelRequest {}).await;
        let model = model.map_err(|status| anyhow::anyhow!(words(&status)))?;
        let model = &model.into_inner();
        write!(std::io::stderr(), "\n{}", Summary { model, finished })?;
    }
    Ok(())
}

/// Why there is no answer, naming whom we asked.
async fn refused(edge: &str, channel: &Channel, status: &Status) -> anyhow::Error {
    if !speaks_grpc(status.metadata()) {
        return anyhow::anyhow!("{edge}: {NOT_GRPC}");
    }
    if let Some(cause) = cause(status) {
        return anyhow::anyhow!("{edge} cannot be reached: {cause}");
    }
    if status.code() != Code::Unimplemented {
        return anyhow::anyhow!(words(status));
    }
    let whose = if knows(channel.clone(), split_service_server::SERVICE_NAME).await {
        "it is a port of a cloud-service; ask an edge-agent"
    } else if knows(channel.clone(), generation_service_server::SERVICE_NAME).await {
        "it looks like an edge-agent's port for metrics and health; ask at its `listen`"
    } else {
        "it is no port of an edge-agent for clients"
    };
    anyhow::anyhow!("{edge} speaks gRPC, but does not answer prompts: {whose}")
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
