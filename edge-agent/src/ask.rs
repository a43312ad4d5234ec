//! `edge-agent ask`: a client of a running edge-agent, as small as one can be.

use crate::cli::AskArgs;
use crate::generate::{readable, user};
use crate::link::root_cause;
use crate::metrics::RELOADS;
use crate::summary::Summary;
use std::io::Write as _;
use tandem_proto::v1;
use tandem_proto::v1::chat_response::Event;
use tandem_proto::v1::generation_service_client::GenerationServiceClient;
use tandem_service::auth::Bearer;
use tandem_service::grpc::server_uri;
use tandem_service::tls::{ClientTlsSettings, channel};
use tonic::Status;
use tonic::transport::Endpoint;

/// Runs the command.
///
/// # Errors
/// When the edge cannot be reached or the answer fails.
pub async fn ask(args: AskArgs) -> anyhow::Result<()> {
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
    let mut client = GenerationServiceClient::with_interceptor(channel, bearer);
    let request = v1::ChatRequest {
        messages: vec![user(&args.prompt)],
        sampling: Some(args.sampling.message()),
        max_tokens: args.sampling.max_tokens,
        stop: args.sampling.stop,
    };
    let mut events = client
        .chat(request)
        .await
        .map_err(|status| refused(&args.edge, status))?
        .into_inner();
    let mut finished = None;
    let mut out = std::io::stdout().lock();
    while let Some(response) = events.message().await.map_err(readable)? {
        match response.event {
            Some(Event::Delta(delta)) => {
                write!(out, "{}", delta.text)?;
                out.flush()?;
            }
            Some(Event::Finished(end)) => finished = Some(end),
            Some(Event::Started(_)) | None => {}
        }
    }
    writeln!(out)?;
    if let Some(finished) = &finished
        && args.summary
    {
        let model = client.get_model(v1::GetModelRequest {}).await;
        let model = &model.map_err(readable)?.into_inner();
        write!(std::io::stderr(), "\n{}", Summary { model, finished })?;
    }
    Ok(())
}

/// An edge that cannot be reached is named, with the deepest reason there is.
fn refused(edge: &str, status: Status) -> anyhow::Error {
    match root_cause(&status) {
        Some(cause) => anyhow::anyhow!("{edge} cannot be reached: {cause}"),
        None => readable(status),
    }
}
