//! What edges have sent, in a file, and sent again: a cloud is loaded with rows of a real front, and nobody computes them.
//!
//! A file is a sequence of `InferRequest`s, each behind its length (protobuf's delimited form). An `Open` begins a session.

use crate::asking::{Answered, Question};
use anyhow::{Context as _, Result, ensure};
use prost::Message as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tandem_proto::v1::infer_request::Message;
use tandem_proto::v1::split_service_client::SplitServiceClient;
use tandem_proto::v1::split_service_server::{SplitService, SplitServiceServer};
use tandem_proto::v1::{self, infer_response};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};

/// Messages on their way to a stream.
const MESSAGES: usize = 64;

/// What the edge of one session sent.
type Sent = Vec<Message>;

/// The sessions of a file, at least one.
#[derive(Debug)]
pub(crate) struct Recording(Vec<Sent>);

impl Recording {
    /// Reads a file.
    pub(crate) fn load(file: &Path) -> Result<Self> {
        let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
        let sessions = sessions_in(&bytes).with_context(|| file.display().to_string())?;
        Ok(Self(sessions))
    }

    /// The most positions that one has.
    pub(crate) fn context(&self) -> usize {
        let all = self.0.iter().map(|sent| sent.iter().map(rows).sum());
        all.max().unwrap_or(0)
    }
}

/// Stands between edges and a cloud, and keeps what the edges send.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    cloud: SplitServiceClient<Channel>,
    sessions: Arc<Mutex<Vec<Sent>>>,
}

impl Recorder {
    /// Begins to stand before a cloud. Returns the address that edges are given.
    pub(crate) async fn before(cloud: &str) -> Result<(Self, String)> {
        let recorder = Self {
            cloud: tandem_tests::split_session::split_client(cloud).await?,
            sessions: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let service = SplitServiceServer::new(recorder.clone());
        let served = Server::builder().add_service(service);
        tokio::spawn(served.serve_with_incoming(TcpListenerStream::new(listener)));
        Ok((recorder, url))
    }

    /// Writes the sessions that asked for a token, and returns how many they are.
    pub(crate) fn save(&self, file: &Path) -> Result<usize> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = sessions.iter().filter(|sent| sent.iter().any(asks));
        let mut bytes = Vec::new();
        let mut count = 0;
        for sent in asked {
            count += 1;
            for message in sent {
                let request = v1::InferRequest {
                    message: Some(message.clone()),
                };
                request.encode_length_delimited(&mut bytes)?;
            }
        }
        std::fs::write(file, bytes).with_context(|| file.display().to_string())?;
        Ok(count)
    }
}

#[tonic::async_trait]
impl SplitService for Recorder {
    type InferStream = Streaming<v1::InferResponse>;

    async fn describe_back(
        &self,
        request: Request<v1::DescribeBackRequest>,
    ) -> Result<Response<v1::DescribeBackResponse>, Status> {
        let asked = request.into_inner();
        let mut described = self.cloud.clone().describe_back(asked).await?;
        // A session that begins with what another one left could not be sent again by itself, nor one whose epochs begin as
        // tokens come.
        let left_out = [v1::Feature::Prefixes, v1::Feature::Drafts].map(i32::from);
        let features = &mut described.get_mut().features;
        features.retain(|feature| !left_out.contains(feature));
        Ok(described)
    }

    async fn profile_back(
        &self,
        request: Request<v1::ProfileBackRequest>,
    ) -> Result<Response<v1::ProfileBackResponse>, Status> {
        let asked = request.into_inner();
        self.cloud.clone().profile_back(asked).await
    }

    async fn infer(
        &self,
        request: Request<Streaming<v1::InferRequest>>,
    ) -> Result<Response<Self::InferStream>, Status> {
        let mut from_edge = request.into_inner();
        let sessions = Arc::clone(&self.sessions);
        let (up, requests) = mpsc::channel(MESSAGES);
        tokio::spawn(async move {
            let mut sent = Sent::new();
            while let Ok(Some(request)) = from_edge.message().await {
                sent.extend(request.message.clone());
                if up.send(request).await.is_err() {
                    break;
                }
            }
            let mut sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.push(sent);
        });
        self.cloud
            .clone()
            .infer(ReceiverStream::new(requests))
            .await
    }
}

/// Sends recorded sessions to a cloud, one after the other: of each what follows a token as soon as it has that token.
#[derive(Debug, Clone)]
pub(crate) struct Player {
    cloud: SplitServiceClient<Channel>,
    sessions: Arc<Vec<Sent>>,
    next: Arc<AtomicUsize>,
}

impl Player {
    /// Of these sessions.
    pub(crate) async fn of(recording: Recording, cloud: &str) -> Result<Self> {
        Ok(Self {
            cloud: tandem_tests::split_session::split_client(cloud).await?,
            sessions: Arc::new(recording.0),
            next: Arc::default(),
        })
    }

    /// Sends the next session, and takes its tokens as far as the question wants them.
    pub(crate) async fn ask(
        &self,
        question: &Question,
        answered: &mut Answered,
    ) -> Result<(), Status> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let sent = &self.sessions[turn % self.sessions.len()];
        let first = sent.iter().position(asks).map_or(0, |last| last + 1);
        answered.prompt_tokens = sent[..first].iter().map(rows).sum();
        let (up, requests) = mpsc::channel(MESSAGES);
        let mut cloud = self.cloud.clone();
        let stream = cloud.infer(ReceiverStream::new(requests)).await?;
        let mut down = stream.into_inner();
        let mut queue = Duration::ZERO;
        for message in sent {
            let request = v1::InferRequest {
                message: Some(as_another_session(message)),
            };
            if up.send(request).await.is_err() {
                // The status says why.
                while down.message().await?.is_some() {}
                return Err(Status::unavailable("the stream ended"));
            }
            if asks(message) {
                let tokens = token(&mut down).await?;
                queue += Duration::from_micros(tokens.queue_micros.into());
                if answered.took(&tokens.ids, question) {
                    break;
                }
            }
        }
        answered.queue = queue;
        Ok(())
    }
}

/// The sessions of a file.
fn sessions_in(mut bytes: &[u8]) -> Result<Vec<Sent>> {
    let mut sessions: Vec<Sent> = Vec::new();
    while !bytes.is_empty() {
        let request = v1::InferRequest::decode_length_delimited(&mut bytes)?;
        let Some(message) = request.message else {
            continue;
        };
        if matches!(message, Message::Open(_)) {
            sessions.push(Sent::new());
        }
        let session = sessions.last_mut().context("it does not begin with Open")?;
        session.push(message);
    }
    ensure!(!sessions.is_empty(), "it has no session");
    Ok(sessions)
}

/// Whether a message asks for a token.
fn asks(message: &Message) -> bool {
    matches!(message, Message::Rows(rows) if rows.want() == v1::Want::Token)
}

/// Rows of a message.
fn rows(message: &Message) -> usize {
    match message {
        Message::Rows(rows) => rows.count.max(1) as usize,
        _ => 0,
    }
}

/// The same with an id of its own, beginning with nothing that is kept.
fn as_another_session(message: &Message) -> Message {
    let Message::Open(open) = message else {
        return message.clone();
    };
    let mut open = open.clone();
    open.session_id = rand::random::<[u8; 16]>().to_vec();
    open.page_names.clear();
    let prefixes = i32::from(v1::Feature::Prefixes);
    open.features.retain(|&feature| feature != prefixes);
    Message::Open(open)
}

/// The next tokens; what comes before is passed over.
async fn token(down: &mut Streaming<v1::InferResponse>) -> Result<v1::Tokens, Status> {
    while let Some(response) = down.next().await {
        if let Some(infer_response::Message::Tokens(tokens)) = response?.message {
            return Ok(tokens);
        }
    }
    Err(Status::unavailable("the stream ended"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows_of(count: u32, want: v1::Want) -> Message {
        Message::Rows(v1::Rows {
            count,
            want: want.into(),
            ..v1::Rows::default()
        })
    }

    fn file(messages: &[Message]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in messages {
            let request = v1::InferRequest {
                message: Some(message.clone()),
            };
            request.encode_length_delimited(&mut bytes).unwrap();
        }
        bytes
    }

    #[test]
    fn a_file_has_sessions() {
        let open = Message::Open(v1::Open::default());
        let (prompt, row) = (
            rows_of(40, v1::Want::Unspecified),
            rows_of(0, v1::Want::Token),
        );
        let bytes = file(&[open.clone(), prompt.clone(), row.clone(), open, row]);
        let sessions = sessions_in(&bytes).unwrap();
        assert_eq!(sessions.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(sessions[0].iter().map(rows).sum::<usize>(), 41);
        assert!(asks(&sessions[0][2]) && !asks(&prompt));
    }

    #[test]
    fn what_is_no_recording_is_refused() {
        let headless = file(&[rows_of(1, v1::Want::Token)]);
        let mut cut = file(&[Message::Open(v1::Open {
            context: 7,
            ..v1::Open::default()
        })]);
        cut.pop();
        for bytes in [&[][..], &headless, &cut, b"no recording"] {
            assert!(sessions_in(bytes).is_err());
        }
    }

    #[test]
    fn another_session_has_another_id_and_begins_with_nothing() {
        let features = vec![v1::Feature::Replay.into(), v1::Feature::Prefixes.into()];
        let open = Message::Open(v1::Open {
            session_id: vec![1; 16],
            page_names: vec![vec![2; 16]],
            features,
            ..v1::Open::default()
        });
        let Message::Open(other) = as_another_session(&open) else {
            panic!("no Open")
        };
        assert!(other.session_id.len() == 16 && other.session_id != [1; 16]);
        assert!(other.page_names.is_empty());
        assert_eq!(other.features, [i32::from(v1::Feature::Replay)]);
    }
}
