//! `edge-agent ask`: a client of a running edge-agent, as small as one can be.

use crate::cli::AskArgs;
use crate::generate::{readable, user};
use std::io::Write as _;
use tandem_proto::v1;
use tandem_proto::v1::chat_response::Event;
use tandem_proto::v1::generation_service_client::GenerationServiceClient;

/// Runs the command.
///
/// # Errors
/// When the edge cannot be reached or the answer fails.
pub async fn ask(args: AskArgs) -> anyhow::Result<()> {
    let mut client = GenerationServiceClient::connect(args.edge).await?;
    let request = v1::ChatRequest {
        messages: vec![user(&args.prompt)],
        sampling: Some(args.sampling.message()),
        max_tokens: args.sampling.max_tokens,
        stop: args.sampling.stop,
    };
    let mut events = client.chat(request).await.map_err(readable)?.into_inner();
    let mut out = std::io::stdout().lock();
    while let Some(response) = events.message().await.map_err(readable)? {
        match response.event {
            Some(Event::Delta(delta)) => {
                write!(out, "{}", delta.text)?;
                out.flush()?;
            }
            Some(Event::Started(_) | Event::Finished(_)) | None => {}
        }
    }
    writeln!(out)?;
    Ok(())
}
