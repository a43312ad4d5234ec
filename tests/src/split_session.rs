//! A session of the split API by hand: what an edge that keeps to the letter sends, and what one
//! that does not.

use anyhow::{Context as _, Result};
use std::time::Duration;
use tandem_proto::v1::split_service_client::SplitServiceClient;
use tandem_proto::v1::{self, infer_request, infer_response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// An Infer stream.
#[derive(Debug)]
pub struct SplitSession {
    up: mpsc::Sender<v1::InferRequest>,
    down: Streaming<v1::InferResponse>,
}

impl SplitSession {
    /// Connects, opens a stream and sends what is given, in order.
    pub async fn begin(url: &str, messages: Vec<infer_request::Message>) -> Result<Self, Status> {
        let client = split_client(url)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        Self::of(&client, messages).await
    }

    /// The same over a connection that is open already.
    pub async fn of(
        client: &SplitServiceClient<Channel>,
        messages: Vec<infer_request::Message>,
    ) -> Result<Self, Status> {
        let (up, requests) = mpsc::channel(1024);
        for message in messages {
            let request = v1::InferRequest {
                message: Some(message),
            };
            up.try_send(request)
                .map_err(|_| Status::internal("too many messages"))?;
        }
        let mut client = client.clone();
        let down = client
            .infer(ReceiverStream::new(requests))
            .await?
            .into_inner();
        Ok(Self { up, down })
    }

    /// Sends a message.
    pub async fn send(&self, message: infer_request::Message) -> Result<()> {
        let request = v1::InferRequest {
            message: Some(message),
        };
        self.up.send(request).await.context("the stream has ended")
    }

    /// The next message, within ten seconds.
    pub async fn receive(&mut self) -> Result<infer_response::Message, Status> {
        let message = tokio::time::timeout(Duration::from_secs(10), self.down.message());
        match message.await {
            Ok(Ok(Some(response))) => response.message.ok_or_else(|| Status::internal("empty")),
            Ok(Ok(None)) => Err(Status::ok("the stream ended")),
            Ok(Err(status)) => Err(status),
            Err(_) => Err(Status::deadline_exceeded("nothing arrived")),
        }
    }

    /// The next Tokens; what comes before is passed over.
    pub async fn token(&mut self) -> Result<v1::Tokens, Status> {
        loop {
            if let infer_response::Message::Tokens(tokens) = self.receive().await? {
                return Ok(tokens);
            }
        }
    }

    /// The status that ends the stream; what comes before is passed over.
    pub async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.receive().await {
                return status;
            }
        }
    }
}

/// A client of a cloud-service.
pub async fn split_client(
    url: &str,
) -> Result<SplitServiceClient<Channel>, tonic::transport::Error> {
    let channel = Endpoint::from_shared(url.to_owned())?.connect().await?;
    Ok(SplitServiceClient::new(channel))
}

/// The cloud's own Open: what fits it exactly, at a split.
pub async fn fitting_open(url: &str, split: u32) -> Result<v1::Open> {
    open_of(&split_client(url).await?, split).await
}

/// The same over a connection that is open already.
pub async fn open_of(client: &SplitServiceClient<Channel>, split: u32) -> Result<v1::Open> {
    let mut client = client.clone();
    let described = client.describe_back(v1::DescribeBackRequest {}).await?;
    open_as_described(described.into_inner(), split)
}

/// The same by what the cloud has said of itself.
pub fn open_as_described(described: v1::DescribeBackResponse, split: u32) -> Result<v1::Open> {
    let model = described.model.context("a model")?;
    Ok(v1::Open {
        versions: described.versions,
        features: Vec::new(),
        weights_fingerprint: model.weights_fingerprint,
        files_fingerprint: model.files_fingerprint,
        tokenizer_fingerprint: model.tokenizer_fingerprint,
        split,
        codecs: vec!["f32".to_owned()],
        session_id: (0..16)
            .map(|i| i as u8 ^ (std::process::id() as u8))
            .collect(),
        context: 0,
        ..v1::Open::default()
    })
}

/// Begins an answer with the defaults.
pub fn run(epoch: u32) -> infer_request::Message {
    infer_request::Message::Run(v1::Run {
        epoch,
        ..v1::Run::default()
    })
}

/// Rows of split 0: tokens.
pub fn rows(epoch: u32, start: u32, ids: &[u32], want: bool) -> infer_request::Message {
    infer_request::Message::Rows(v1::Rows {
        epoch,
        start,
        count: ids.len() as u32,
        token_ids: ids.to_vec(),
        want: i32::from(want),
        ..v1::Rows::default()
    })
}

/// Cuts the tail off.
pub fn truncate(epoch: u32, position: u32) -> infer_request::Message {
    infer_request::Message::Truncate(v1::Truncate { epoch, position })
}
