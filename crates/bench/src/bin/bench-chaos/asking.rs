//! One answer, with when its tokens came.

use anyhow::{Context as _, Result};
use std::time::Duration;
use tandem_proto::v1::generate_response::Event;
use tandem_proto::v1::generation_service_client::GenerationServiceClient;
use tandem_proto::v1::{self, TokenLogprobs};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// What a client that stops reading lets come before: less than an event.
const SMALL_WINDOW: u32 = 64;

/// A client of an edge, with a connection of its own that is made again when it is lost.
#[derive(Debug, Clone)]
pub(crate) struct Asker(GenerationServiceClient<Channel>);

/// When a client stops reading, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StopsReading {
    pub(crate) behind_tokens: usize,
    pub(crate) time: Duration,
}

/// What came of an answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) ids: Vec<u32>,
    pub(crate) text: String,
    pub(crate) logprobs: Vec<TokenLogprobs>,
    /// Whether the first event came.
    pub(crate) started: bool,
    /// The last event; `None` of an answer that failed.
    pub(crate) finished: Option<v1::Finished>,
    /// Why it failed.
    pub(crate) failure: Option<String>,
    /// Whether the edge refused to begin it and said UNAVAILABLE, so that its client may ask again.
    pub(crate) refused: bool,
    pub(crate) took: Duration,
    /// The longest time from one event with tokens to the next.
    pub(crate) longest_pause: Duration,
}

impl Asker {
    /// Of an edge at a URL.
    pub(crate) fn new(url: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned()).context("an edge's URL")?;
        Ok(Self(GenerationServiceClient::new(endpoint.connect_lazy())))
    }

    /// One whose edge can send it no more than it has read.
    pub(crate) fn with_small_window(url: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned()).context("an edge's URL")?;
        let endpoint = endpoint.initial_stream_window_size(SMALL_WINDOW);
        Ok(Self(GenerationServiceClient::new(endpoint.connect_lazy())))
    }

    /// Asks, and takes what comes until the end, a failure or silence for as long as the bound.
    pub(crate) async fn ask(
        &self,
        request: v1::GenerateRequest,
        bound: Duration,
        stops: Option<StopsReading>,
    ) -> Answer {
        let began = Instant::now();
        let mut answer = Answer::default();
        answer.failure = match take(self.0.clone(), request, (stops, bound), &mut answer).await {
            Ok(Ok(())) => None,
            Ok(Err(status)) => {
                answer.refused = !answer.started && status.code() == Code::Unavailable;
                Some(said(&status))
            }
            Err(_) => Some(format!("STUCK: nothing came for {bound:?}")),
        };
        answer.took = began.elapsed();
        answer
    }
}

async fn take(
    mut client: GenerationServiceClient<Channel>,
    request: v1::GenerateRequest,
    (mut stops, bound): (Option<StopsReading>, Duration),
    answer: &mut Answer,
) -> Result<Result<(), Status>, Elapsed> {
    let mut stream = match timeout(bound, client.generate(request)).await? {
        Ok(response) => response.into_inner(),
        Err(status) => return Ok(Err(status)),
    };
    let mut last = None;
    loop {
        let response = match timeout(bound, stream.message()).await? {
            Ok(Some(response)) => response,
            Ok(None) => break,
            Err(status) => return Ok(Err(status)),
        };
        match response.event {
            Some(Event::Delta(delta)) => {
                let now = Instant::now();
                if let Some(before) = last.replace(now) {
                    answer.longest_pause = answer.longest_pause.max(now - before);
                }
                answer.ids.extend(delta.token_ids);
                answer.text += &delta.text;
                answer.logprobs.extend(delta.logprobs);
                if let Some(stop) = stops.take_if(|stop| answer.ids.len() >= stop.behind_tokens) {
                    sleep(stop.time).await;
                }
            }
            Some(Event::Finished(finished)) => answer.finished = Some(finished),
            Some(Event::Started(_)) => answer.started = true,
            Some(Event::Step(_)) | None => {}
        }
    }
    if answer.finished.is_none() {
        let early = Status::unknown("the stream ended before the answer");
        return Ok(Err(early));
    }
    Ok(Ok(()))
}

/// A status, in a line.
fn said(status: &Status) -> String {
    let reason = tandem_status::reason(status).unwrap_or_default();
    format!("{:?} {reason}: {}", status.code(), status.message())
}
