//! A peer with a token that does its worst while others are answered.

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use rand::{Rng as _, RngExt as _};
use serde::Serialize;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tandem_proto::v1::infer_request::Message;
use tandem_proto::v1::split_service_client::SplitServiceClient;
use tandem_proto::v1::{self, Feature, SamplingParameters, infer_response};
use tandem_tests::split_session::open_as_described;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// Positions of a session here, at least.
pub(crate) const CONTEXT: u32 = 2048;

/// Where it comes from: an address that nobody else has.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));

/// Before something that was refused is tried again.
const REFUSED: Duration = Duration::from_millis(10);

/// How long something is held that does nothing.
const HELD: Duration = Duration::from_secs(3);

/// Niceness of its threads: in the world they would have a machine of their own.
const NICE: i32 = 19;

/// What HTTP/2 begins with: the preface, and settings that change nothing.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    /// Connections that say nothing, hundreds at once
    Silent,
    /// Streams that are begun and reset at once, thousands in a connection
    Resets,
    /// Streams that open nothing, hundreds at once
    Unopened,
    /// Sessions that take one token and go, one behind the other
    Sessions,
    /// 50 sessions with the longest prompts, one behind the other
    Prompts,
    /// Answers of the most bytes there can be, which nobody reads
    Unread,
    /// Frames that are none
    Frames,
    /// Wrong drafts, drawn with all that sampling can be asked for
    Drafts,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.to_possible_value();
        f.write_str(name.as_ref().map_or("", |name| name.get_name()))
    }
}

impl Way {
    /// How many do it at once, each with a connection of its own.
    fn crowd(self) -> usize {
        match self {
            Self::Silent => 1,
            Self::Resets | Self::Unopened => 4,
            Self::Frames | Self::Drafts => 16,
            Self::Sessions | Self::Unread => 32,
            Self::Prompts => 50,
        }
    }
}

/// The peer at work, until it is dropped.
#[derive(Debug)]
pub(crate) struct Hostile {
    runtime: Option<Runtime>,
    acts: Arc<AtomicU64>,
}

impl Hostile {
    /// Sets to work on a cloud.
    pub(crate) fn begin(way: Way, url: &str, address: SocketAddr, token: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .on_thread_start(|| {
                // Where it is refused the others have less of the machine.
                let _ = rustix::process::nice(NICE);
            })
            .enable_all()
            .build()
            .context("threads of its own")?;
        let acts = Arc::new(AtomicU64::new(0));
        for _ in 0..way.crowd() {
            let one = One {
                url: url.to_owned(),
                address,
                token: format!("Bearer {token}").parse()?,
                acts: Arc::clone(&acts),
            };
            runtime.spawn(one.go_on(way));
        }
        let runtime = Some(runtime);
        Ok(Self { runtime, acts })
    }

    /// What it did so far: connections, streams or messages.
    pub(crate) fn acts(&self) -> u64 {
        self.acts.load(Ordering::Relaxed)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Shows the token.
#[derive(Debug, Clone)]
struct Shown(MetadataValue<Ascii>);

impl Interceptor for Shown {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        (request.metadata_mut()).insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Client = SplitServiceClient<InterceptedService<Channel, Shown>>;

/// A stream with a session.
struct Session {
    up: mpsc::Sender<v1::InferRequest>,
    down: Streaming<v1::InferResponse>,
}

impl Session {
    async fn send(&self, message: Message) -> Result<()> {
        let message = Some(message);
        let sent = self.up.send(v1::InferRequest { message }).await;
        sent.context("the stream has ended")
    }

    /// The next tokens.
    async fn tokens(&mut self) -> Result<v1::Tokens> {
        loop {
            let response = self.down.message().await?.context("the stream has ended")?;
            if let Some(infer_response::Message::Tokens(tokens)) = response.message {
                return Ok(tokens);
            }
        }
    }
}

/// One of the crowd.
struct One {
    url: String,
    address: SocketAddr,
    token: MetadataValue<Ascii>,
    acts: Arc<AtomicU64>,
}

impl One {
    async fn go_on(self, way: Way) {
        loop {
            let ended = match way {
                Way::Silent => self.be_silent().await,
                Way::Resets => self.reset().await,
                _ => self.call(way).await,
            };
            if ended.is_err() {
                sleep(REFUSED).await;
            }
        }
    }

    /// Counts something that it did.
    fn did(&self) {
        self.acts.fetch_add(1, Ordering::Relaxed);
    }

    async fn connect(&self) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(ADDRESS, 0))?;
        Ok(socket.connect(self.address).await?)
    }

    async fn be_silent(&self) -> Result<()> {
        let mut held = Vec::new();
        for _ in 0..500 {
            held.push(self.connect().await?);
            self.did();
        }
        sleep(HELD).await;
        Ok(())
    }

    async fn reset(&self) -> Result<()> {
        let frame = |kind: u8, flags: u8, id: u32, payload: &[u8]| {
            let length = payload.len() as u32;
            let mut frame = length.to_be_bytes()[1..].to_vec();
            frame.extend([kind, flags]);
            frame.extend(id.to_be_bytes());
            frame.extend(payload);
            frame
        };
        let mut stream = self.connect().await?;
        let mut flood = PREFACE.to_vec();
        for id in (1..6000).step_by(2) {
            // POST / with the scheme http, by the static table, and RST_STREAM with CANCEL.
            flood.extend(frame(1, 4, id, &[0x83, 0x86, 0x84]));
            flood.extend(frame(3, 0, id, &[0, 0, 0, 8]));
        }
        self.did();
        stream.write_all(&flood).await?;
        // Until the server has had enough.
        let mut bytes = [0; 4096];
        let end = async { while !matches!(stream.read(&mut bytes).await, Ok(0) | Err(_)) {} };
        let _ = timeout(HELD, end).await;
        Ok(())
    }

    /// Connects, and does it until the connection is lost.
    async fn call(&self, way: Way) -> Result<()> {
        let endpoint = Endpoint::from_shared(self.url.clone())?.local_address(Some(ADDRESS));
        let channel = endpoint.connect().await?;
        let shown = Shown(self.token.clone());
        let client = SplitServiceClient::with_interceptor(channel, shown);
        let described = v1::DescribeBackRequest {};
        let described = client.clone().describe_back(described).await?;
        let split = u32::from(way == Way::Frames);
        let fitting = open_as_described(described.into_inner(), split)?;
        loop {
            let mut session_id = vec![0; 16];
            rand::rng().fill_bytes(&mut session_id);
            let open = v1::Open {
                session_id,
                ..fitting.clone()
            };
            match way {
                Way::Unopened => self.open_nothing(&client).await,
                Way::Sessions => self.take_one(&client, open).await?,
                Way::Prompts => self.send_a_prompt(&client, open).await?,
                Way::Unread => self.read_nothing(&client, open).await?,
                Way::Frames => self.send_no_frame(&client, open).await?,
                Way::Drafts => self.guess(&client, open).await?,
                Way::Silent | Way::Resets => return Ok(()),
            }
        }
    }

    async fn begin(&self, client: &Client, messages: Vec<Message>) -> Result<Session> {
        let (up, requests) = mpsc::channel(64);
        for message in messages {
            let message = Some(message);
            up.try_send(v1::InferRequest { message })?;
        }
        self.did();
        let answer = client.clone().infer(ReceiverStream::new(requests)).await?;
        let down = answer.into_inner();
        Ok(Session { up, down })
    }

    async fn open_nothing(&self, client: &Client) {
        let mut open = tokio::task::JoinSet::new();
        for _ in 0..200 {
            self.did();
            let mut client = client.clone();
            open.spawn(async move {
                let answer = client.infer(tokio_stream::pending()).await;
                if let Ok(answer) = answer {
                    let _ = answer.into_inner().message().await;
                }
            });
        }
        let all = async { while open.join_next().await.is_some() {} };
        if timeout(HELD, all).await.is_ok() {
            sleep(REFUSED).await;
        }
    }

    async fn take_one(&self, client: &Client, open: v1::Open) -> Result<()> {
        let run = Message::Run(v1::Run::default());
        let messages = vec![
            Message::Open(open),
            run,
            rows(0, 0, &[1, 2, 3], v1::Want::Token),
        ];
        self.begin(client, messages).await?.tokens().await?;
        Ok(())
    }

    async fn send_a_prompt(&self, client: &Client, open: v1::Open) -> Result<()> {
        let run = Message::Run(v1::Run::default());
        let mut session = self.begin(client, vec![Message::Open(open), run]).await?;
        let seed: u32 = rand::rng().random_range(1..1000);
        let ids: Vec<u32> = (1..CONTEXT - 64).map(|at| at * seed % 20_000).collect();
        let parts = ids.chunks(128);
        let last = parts.len() - 1;
        for (number, part) in parts.enumerate() {
            let want = if number == last {
                v1::Want::Token
            } else {
                v1::Want::Unspecified
            };
            session
                .send(rows(0, number as u32 * 128, part, want))
                .await?;
        }
        session.tokens().await?;
        Ok(())
    }

    async fn read_nothing(&self, client: &Client, open: v1::Open) -> Result<()> {
        let run = Message::Run(v1::Run {
            sampling: Some(expensive()),
            ..v1::Run::default()
        });
        let messages = vec![
            Message::Open(open),
            run,
            rows(0, 0, &[1, 2, 3], v1::Want::Token),
        ];
        let session = self.begin(client, messages).await?;
        let on = async {
            loop {
                let ping = v1::Ping {
                    reply_bytes: 64 << 10,
                    ..v1::Ping::default()
                };
                if session.send(Message::Ping(ping)).await.is_err() {
                    return;
                }
                self.did();
            }
        };
        let _ = timeout(HELD, on).await;
        Ok(())
    }

    async fn send_no_frame(&self, client: &Client, open: v1::Open) -> Result<()> {
        // Of 2,000 rows, by its own account.
        let frame = vec![5, 0xd0, 0x0f, 48, 4, 0, 0, 1];
        let none = Message::Rows(v1::Rows {
            count: 2000,
            want: v1::Want::Token.into(),
            crc32c: crc32c::crc32c(&frame),
            frame: frame.into(),
            ..v1::Rows::default()
        });
        let run = Message::Run(v1::Run::default());
        let mut session = self
            .begin(client, vec![Message::Open(open), run, none])
            .await?;
        // A refusal, as it should be.
        let _ = session.tokens().await;
        Ok(())
    }

    async fn guess(&self, client: &Client, open: v1::Open) -> Result<()> {
        let open = v1::Open {
            features: vec![Feature::Drafts.into()],
            ..open
        };
        let run = Message::Run(v1::Run {
            sampling: Some(expensive()),
            ..v1::Run::default()
        });
        let messages = vec![
            Message::Open(open),
            run,
            rows(0, 0, &[1, 2, 3], v1::Want::Token),
        ];
        let mut session = self.begin(client, messages).await?;
        loop {
            let tokens = session.tokens().await?;
            let last = tokens.ids.last().context("no token")?;
            if tokens.position + 64 > CONTEXT {
                return Ok(());
            }
            // The first guess is wrong, and so is the rest.
            let mut guesses = vec![(last + 1) % 20_000; 32];
            guesses[0] = *last;
            let behind = tokens.position + tokens.ids.len() as u32 - 1;
            let epoch = tokens.epoch + u32::from(tokens.position > 3);
            self.did();
            let message = rows(epoch, behind, &guesses, v1::Want::EachToken);
            session.send(message).await?;
        }
    }
}

fn rows(epoch: u32, start: u32, ids: &[u32], want: v1::Want) -> Message {
    Message::Rows(v1::Rows {
        epoch,
        start,
        count: ids.len() as u32,
        token_ids: ids.to_vec(),
        want: want.into(),
        ..v1::Rows::default()
    })
}

/// All that sampling may be asked for.
fn expensive() -> SamplingParameters {
    let bias = |token_id| v1::LogitBias {
        token_id,
        bias: 0.5,
    };
    SamplingParameters {
        temperature: Some(1.0),
        top_k: Some(0),
        top_p: Some(0.999),
        repetition_penalty: Some(1.1),
        presence_penalty: Some(0.1),
        frequency_penalty: Some(0.1),
        seed: Some(1),
        logit_bias: (100..1100).map(bias).collect(),
        logprobs: Some(20),
        ignore_eos: true,
        ..SamplingParameters::default()
    }
}
