//! A client as a user would write one: asks, and gathers what streams back.

use anyhow::{Context as _, Result};
use tandem_proto::v1::generate_response::Event;
use tandem_proto::v1::generation_service_client::GenerationServiceClient;
use tandem_proto::v1::{self, chat_response, generate_request};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

/// What an answer came to.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The first event.
    pub started: v1::Started,
    /// The text, as it was streamed.
    pub pieces: Vec<String>,
    /// The tokens.
    pub ids: Vec<u32>,
    /// Their log probabilities, if asked for.
    pub logprobs: Vec<v1::TokenLogprobs>,
    /// What the model thought, if that is told apart.
    pub reasoning: String,
    /// The tools that it called.
    pub tool_calls: Vec<v1::ToolCall>,
    /// What each step took, if asked for.
    pub steps: Vec<v1::Step>,
    /// The last event.
    pub finished: v1::Finished,
}

impl Answer {
    /// The whole text.
    pub fn text(&self) -> String {
        self.pieces.concat()
    }

    /// Rows that drafts have added: those of wrong ones.
    pub fn wrong_drafts(&self) -> u64 {
        let drafts = self.finished.drafts.unwrap_or_default();
        drafts.sent - drafts.accepted
    }

    /// Rows that went up but for those of wrong drafts: as many as without drafts.
    pub fn needed_rows(&self) -> u64 {
        self.wire().rows - self.wrong_drafts()
    }

    /// What crossed the link.
    pub fn wire(&self) -> v1::WireUsage {
        self.finished.wire.clone().unwrap_or_default()
    }
}

/// A client of an edge-agent.
#[derive(Clone, Debug)]
pub struct Client(GenerationServiceClient<Channel>);

impl Client {
    /// Connects.
    pub async fn connect(url: &str) -> Result<Self> {
        let channel = Endpoint::from_shared(url.to_owned())?.connect().await;
        let channel = channel.with_context(|| format!("connecting to {url}"))?;
        Ok(Self(GenerationServiceClient::new(channel)))
    }

    /// The generated client.
    pub fn raw(&mut self) -> &mut GenerationServiceClient<Channel> {
        &mut self.0
    }

    /// Continues a prompt to its end.
    pub async fn generate(&self, request: v1::GenerateRequest) -> Result<Answer, Status> {
        self.generate_all(request).await.map(only)
    }

    /// All continuations of a prompt, to their ends.
    pub async fn generate_all(&self, request: v1::GenerateRequest) -> Result<Vec<Answer>, Status> {
        let mut client = self.0.clone();
        let stream = client.generate(request).await?.into_inner();
        let numbered = |response: v1::GenerateResponse| (response.answer, response.event);
        collect(stream, numbered).await
    }

    /// Continues token ids greedily.
    pub async fn greedy(&self, prompt: &[u32], max_tokens: u32) -> Result<Answer, Status> {
        self.generate(ids_request(prompt, max_tokens)).await
    }

    /// Answers a conversation to its end.
    pub async fn chat(&self, request: v1::ChatRequest) -> Result<Answer, Status> {
        self.chat_all(request).await.map(only)
    }

    /// All answers to a conversation, to their ends.
    pub async fn chat_all(&self, request: v1::ChatRequest) -> Result<Vec<Answer>, Status> {
        let mut client = self.0.clone();
        let stream = client.chat(request).await?.into_inner();
        collect(stream, |response: v1::ChatResponse| {
            let event = response.event.map(|event| match event {
                chat_response::Event::Started(started) => Event::Started(started),
                chat_response::Event::Delta(delta) => Event::Delta(delta),
                chat_response::Event::Step(step) => Event::Step(step),
                chat_response::Event::Finished(finished) => Event::Finished(finished),
            });
            (response.answer, event)
        })
        .await
    }
}

/// Parameters that take the most likely token, whatever the model's defaults are.
pub fn greedy_parameters() -> v1::SamplingParameters {
    v1::SamplingParameters {
        temperature: Some(0.0),
        ..v1::SamplingParameters::default()
    }
}

/// A greedy request for token ids, which goes on past end-of-sequence tokens.
pub fn ids_request(prompt: &[u32], max_tokens: u32) -> v1::GenerateRequest {
    v1::GenerateRequest {
        input: Some(generate_request::Input::TokenIds(v1::TokenIds {
            ids: prompt.to_vec(),
        })),
        sampling: Some(v1::SamplingParameters {
            ignore_eos: true,
            ..greedy_parameters()
        }),
        max_tokens: Some(max_tokens),
        ..v1::GenerateRequest::default()
    }
}

/// A greedy request for text.
pub fn text_request(prompt: &str, max_tokens: u32) -> v1::GenerateRequest {
    v1::GenerateRequest {
        input: Some(generate_request::Input::Prompt(prompt.to_owned())),
        sampling: Some(greedy_parameters()),
        max_tokens: Some(max_tokens),
        ..v1::GenerateRequest::default()
    }
}

/// A message of a conversation.
pub fn message(role: &str, content: &str) -> v1::ChatMessage {
    v1::ChatMessage {
        role: role.to_owned(),
        content: content.to_owned(),
        ..v1::ChatMessage::default()
    }
}

/// Holds that a request was refused with a code and a reason.
///
/// # Panics
/// When it was not.
pub fn assert_refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, reason: &str) {
    use tonic_types::StatusExt as _;
    let status = result.expect_err("a refusal");
    let found = status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default();
    assert_eq!(
        (status.code(), found.as_str()),
        (code, reason),
        "{}",
        status.message()
    );
}

async fn collect<T>(
    mut stream: Streaming<T>,
    numbered: impl Fn(T) -> (u32, Option<Event>),
) -> Result<Vec<Answer>, Status> {
    let mut answers: Vec<Answer> = Vec::new();
    while let Some(response) = stream.message().await? {
        let (number, event) = numbered(response);
        let number = number as usize;
        if number >= answers.len() {
            answers.resize_with(number + 1, Answer::default);
        }
        let answer = &mut answers[number];
        match event {
            Some(Event::Started(started)) => answer.started = started,
            Some(Event::Delta(delta)) => {
                answer.pieces.push(delta.text);
                answer.ids.extend(delta.token_ids);
                answer.logprobs.extend(delta.logprobs);
                answer.reasoning += &delta.reasoning;
                answer.tool_calls.extend(delta.tool_calls);
            }
            Some(Event::Step(step)) => answer.steps.push(step),
            Some(Event::Finished(finished)) => answer.finished = finished,
            None => {}
        }
    }
    Ok(answers)
}

/// The answer to a request for one.
fn only(answers: Vec<Answer>) -> Answer {
    answers.into_iter().next().unwrap_or_default()
}
