//! A session of version 1 as it was once spoken, byte by byte, replayed to a cloud of today.
//!
//! `fixtures/transcripts/version_1.txt` was recorded once. A cloud that answers otherwise would
//! not understand, or not be understood by, the edges that are out there.

use bytes::{Buf as _, BufMut as _};
use prost::Message as _;
use std::time::Duration;
use tandem_proto::v1::{self, infer_response};
use tandem_tests::paths::fixtures;
use tandem_tests::process::{Server, ServerOptions};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status, Streaming};

/// Messages as they are on the wire: no type of this build reads or writes them.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut item = vec![0; from.remaining()];
        from.copy_to_slice(&mut item);
        Ok(Some(item))
    }
}

async fn stream(cloud: &Server) -> (mpsc::Sender<Vec<u8>>, Streaming<Vec<u8>>) {
    let channel = tonic::transport::Endpoint::from_shared(cloud.url())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let (up, requests) = mpsc::channel(16);
    let path = PathAndQuery::from_static("/tandem.v1.SplitService/Infer");
    let requests = Request::new(ReceiverStream::new(requests));
    let answers = client.streaming(requests, path, Raw).await.unwrap();
    (up, answers.into_inner())
}

/// A response without its durations, which no two runs share.
fn timeless(bytes: &[u8]) -> Vec<u8> {
    let mut response = v1::InferResponse::decode(bytes).unwrap();
    assert_eq!(response.encode_to_vec(), bytes, "fields that nobody knows");
    match &mut response.message {
        Some(infer_response::Message::Tokens(tokens)) => {
            (tokens.queue_micros, tokens.compute_micros) = (0, 0);
        }
        Some(infer_response::Message::Progress(progress)) => {
            (progress.queue_micros, progress.compute_micros) = (0, 0);
        }
        _ => {}
    }
    response.encode_to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

#[tokio::test]
async fn a_recorded_session_is_answered_as_it_was() {
    let model = fixtures().join("models/llama-mha-untied-bias");
    let cloud = Server::cloud(&model, ServerOptions::default())
        .await
        .unwrap();
    let recorded = fixtures().join("transcripts/version_1.txt");
    let recorded = std::fs::read_to_string(recorded).unwrap();
    let (up, mut down) = stream(&cloud).await;
    let mut answers = 0;
    for (number, line) in recorded.lines().enumerate() {
        if let Some(message) = line.strip_prefix("> ") {
            up.send(unhex(message)).await.unwrap();
        } else if let Some(expected) = line.strip_prefix("< ") {
            let answer = tokio::time::timeout(Duration::from_secs(10), down.message());
            let answer = answer.await.expect("an answer").unwrap().expect("more");
            let found = hex(&timeless(&answer));
            assert_eq!(found, expected, "line {}", number + 1);
            answers += 1;
        } else {
            assert!(line.starts_with('#'), "line {}: {line}", number + 1);
        }
    }
    assert!(answers > 8, "a whole session");
    let end = tokio::time::timeout(Duration::from_secs(10), down.message());
    assert!(matches!(end.await, Ok(Ok(None))), "Close ends it with OK");
}
