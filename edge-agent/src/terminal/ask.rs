//! `edge-agent ask`: a client of a running edge-agent, as small as one can be.

use super::running_edge::RunningEdge;
use crate::cli::AskArgs;
use crate::generate::user;
use crate::summary::Summary;
use std::io::Write as _;
use tandem_proto::v1::chat_response::Event;

/// Runs the command.
///
/// # Errors
/// When the edge cannot be reached or the answer fails.
pub async fn ask(args: AskArgs) -> anyhow::Result<()> {
    let question = args.question()?;
    let request = args.sampling.chat_request(vec![user(&question)])?;
    let mut edge = RunningEdge::new(args.running).await?;
    let mut finished = None;
    let mut out = std::io::stdout().lock();
    let mut has_begun = false;
    let answered = edge.chat(request, |event| {
        match event {
            Event::Delta(delta) => {
                has_begun |= !delta.token_ids.is_empty();
                write!(out, "{}", delta.text)?;
                out.flush()?;
            }
            Event::Finished(end) => finished = Some(end),
            Event::Started(_) | Event::Step(_) => {}
        }
        Ok(())
    });
    let answered = answered.await;
    if answered.is_ok() || has_begun {
        // What went wrong stands on a line of its own.
        writeln!(out)?;
    }
    answered?;
    if let Some(finished) = &finished
        && args.summary
    {
        let model = &edge.model().await?;
        write!(std::io::stderr(), "\n{}", Summary { model, finished })?;
    }
    Ok(())
}
