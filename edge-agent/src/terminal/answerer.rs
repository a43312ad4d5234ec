//! Who answers a conversation: an edge in this process, or a running one. Both tell the same events.

use super::running_edge::RunningEdge;
use crate::cli::{EdgeArgs, RunningEdgeArgs};
use crate::edge::{Edge, with_model_here};
use crate::generate::{readable, run};
use crate::grpc::chat_call;
use crate::grpc::said::Parts;
use crate::metrics::TRACES;
use crate::plan::start::{Patience, planned};
use crate::serve::SERVICE;
use std::io;
use std::time::Instant;
use tandem_model_source::ProgressTo;
use tandem_proto::v1;
use tandem_proto::v1::chat_response::Event;
use tandem_server::collector::start_traces;
use tandem_telemetry::logging;
use tandem_telemetry::traces::Traces;

/// An edge that answers.
#[derive(Debug)]
pub(super) enum Answerer {
    /// In this process.
    Own(Box<OwnEdge>),
    /// Over gRPC.
    Running(Box<RunningEdge>),
}

/// An edge in this process.
#[derive(Debug)]
pub(super) struct OwnEdge {
    edge: Edge,
    traces: Traces,
}

/// What the beginning of a conversation says of the edge.
#[derive(Debug)]
pub(super) struct Introduction {
    /// A line for people.
    pub(super) line: String,
    /// Values of a hidden row.
    pub(super) hidden: u32,
}

impl Answerer {
    /// The running edge that is named, or one of our own.
    ///
    /// # Errors
    /// The running edge cannot be reached, or our own not loaded.
    pub(super) async fn start(running: RunningEdgeArgs, own: EdgeArgs) -> anyhow::Result<Self> {
        if running.edge.is_some() {
            return Ok(Self::Running(Box::new(RunningEdge::new(running).await?)));
        }
        let config = own.load_quiet()?;
        logging::init(&config.log)?;
        let config = with_model_here(config, ProgressTo::Terminal).await?;
        let config = planned(config, Patience::Fail).await?.config;
        let traces = start_traces(&config.traces, SERVICE, TRACES).await?;
        let edge = Edge::load(&config, |_| {}).await?;
        Ok(Self::Own(Box::new(OwnEdge { edge, traces })))
    }

    /// Says what answers here, and that it does.
    ///
    /// # Errors
    /// The running edge, or the cloud of our own, does not answer.
    pub(super) async fn introduce(&mut self) -> anyhow::Result<Introduction> {
        match self {
            Self::Own(own) => own.introduce().await,
            Self::Running(edge) => {
                let served = edge.model().await?;
                Ok(introduced(edge.address(), served))
            }
        }
    }

    /// Makes an answer and gives each of its events to `show`.
    ///
    /// # Errors
    /// It fails, or `show` does.
    pub(super) async fn answer(
        &mut self,
        request: v1::ChatRequest,
        show: impl FnMut(Event) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Own(own) => own.answer(request, show).await,
            Self::Running(edge) => edge.chat(request, show).await,
        }
    }

    /// Ends it.
    pub(super) async fn end(self) {
        match self {
            Self::Own(own) => own.traces.flush().await,
            Self::Running(_) => {}
        }
    }
}

impl OwnEdge {
    async fn introduce(&self) -> anyhow::Result<Introduction> {
        let edge = &self.edge;
        let cloud = edge.client().clouds().any().await;
        let cloud = cloud.map_err(|error| readable(&edge.answers, &error.into()))?;
        let described = cloud.described.model.as_ref();
        let line = format!(
            "{}: {} of {} layers here, the rest at {}, codec {}. /help for help.",
            described.map_or("", |model| &model.name),
            edge.answers.served.split,
            edge.client().front().config.layers,
            cloud.link.address(),
            edge.answers.served.codec
        );
        let hidden = edge.model().hidden_size;
        Ok(Introduction { line, hidden })
    }

    async fn answer(
        &self,
        request: v1::ChatRequest,
        mut show: impl FnMut(Event) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let (edge, began) = (&self.edge, Instant::now());
        let reading = async {
            let read = chat_call::read(edge, request).await?;
            let request = edge.check(read.terms, read.prompt, began)?;
            Ok((request, read.parts))
        };
        let read = reading.await;
        let (request, parts) = read.map_err(|error| readable(&edge.answers, &error))?;
        let mut parts = Parts::new(1, parts);
        run(&edge.answers, "chat", request, |event| {
            let told = parts.told(0, event);
            told.into_iter().try_for_each(|event| show(event.into()))
        })
        .await
    }
}

/// What a running edge says of itself.
fn introduced(address: &str, served: v1::GetModelResponse) -> Introduction {
    let model = served.model.unwrap_or_default();
    let away = if served.cloud_reachable {
        ""
    } else {
        " Its cloud cannot be reached now."
    };
    let line = format!(
        "{} at {address}: {} of {} layers at the edge, codec {}.{away} /help for help.",
        model.name, served.split, model.layers, served.codec
    );
    Introduction {
        line,
        hidden: model.hidden_size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_edge_is_introduced_with_what_it_lacks() {
        let served = |cloud_reachable| v1::GetModelResponse {
            model: Some(v1::ModelDescription {
                name: "smol".to_owned(),
                layers: 30,
                hidden_size: 576,
                ..v1::ModelDescription::default()
            }),
            split: 10,
            codec: "high".to_owned(),
            cloud_reachable,
            ..v1::GetModelResponse::default()
        };
        let line = |cloud_reachable| introduced("http://edge:1", served(cloud_reachable)).line;
        assert_eq!(
            line(true),
            "smol at http://edge:1: 10 of 30 layers at the edge, codec high. /help for help."
        );
        assert!(line(false).contains("high. Its cloud cannot be reached now. /help"));
    }
}
