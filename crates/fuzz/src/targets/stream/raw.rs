//! An Infer stream that sends any bytes as its messages.

use bytes::{BufMut as _, Bytes};
use std::time::Duration;
use tandem_proto::v1::infer_response::Message;
use tandem_proto::v1::{InferRequest, InferResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

const PATH: &str = "/tandem.v1.SplitService/Infer";

/// More than the moves of an input.
const WAITING: usize = 64;

/// A stream, or how it failed to begin.
pub(super) struct RawStream {
    up: mpsc::Sender<Bytes>,
    down: Result<Streaming<InferResponse>, Status>,
}

impl RawStream {
    pub(super) async fn begin(channel: &Channel) -> Self {
        let (up, messages) = mpsc::channel(WAITING);
        Self {
            up,
            down: infer(channel, messages).await,
        }
    }

    /// Sends a message; to a stream that has ended, nothing.
    pub(super) fn send(&self, message: Bytes) {
        let _ = self.up.try_send(message);
    }

    /// Waits a while for a token, and returns its position.
    pub(super) async fn token(&mut self, within: Duration) -> Option<u32> {
        let down = self.down.as_mut().ok()?;
        let arrives = async {
            loop {
                match down.message().await {
                    Ok(Some(response)) => {
                        if let Some(Message::Tokens(tokens)) = response.message {
                            return Ok(Some(tokens.position));
                        }
                    }
                    Ok(None) => return Ok(None),
                    Err(status) => return Err(status),
                }
            }
        };
        match tokio::time::timeout(within, arrives).await {
            Ok(Ok(position)) => position,
            Ok(Err(status)) => {
                self.down = Err(status);
                None
            }
            Err(_) => None,
        }
    }

    /// Has nothing more to say, and waits for the end.
    pub(super) async fn end(self) -> Result<(), Status> {
        drop(self.up);
        let mut down = self.down?;
        while down.message().await?.is_some() {}
        Ok(())
    }
}

async fn infer(
    channel: &Channel,
    messages: mpsc::Receiver<Bytes>,
) -> Result<Streaming<InferResponse>, Status> {
    let mut client = Grpc::new(channel.clone());
    let ready = client.ready().await;
    ready.map_err(|error| Status::unavailable(error.to_string()))?;
    let messages = Request::new(ReceiverStream::new(messages));
    let streaming = client.streaming(messages, PathAndQuery::from_static(PATH), RawCodec);
    Ok(streaming.await?.into_inner())
}

/// Messages go up as they are, and come down as what they are.
struct RawCodec;

struct RawEncoder;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = InferResponse;
    type Encoder = RawEncoder;
    type Decoder = <ProstCodec<InferRequest, InferResponse> as Codec>::Decoder;

    fn encoder(&mut self) -> RawEncoder {
        RawEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<InferRequest, InferResponse>::default().decoder()
    }
}

impl Encoder for RawEncoder {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}
