//! What one peer sends costs that peer, and nobody else.

use std::path::PathBuf;
use tandem_proto::v1::infer_request::Message;
use tandem_proto::v1::{self, tokenize_request};
use tandem_tests::client::{Client, assert_refused};
use tandem_tests::paths::fixtures;
use tandem_tests::process::{Pair, PairOptions, Server, ServerOptions};
use tandem_tests::split_session::{SplitSession, fitting_open};
use tonic::{Code, Status};

/// A model of long contexts.
fn model() -> PathBuf {
    fixtures().join("models/qwen2-bias")
}

async fn cloud(flags: &[&str]) -> Server {
    let options = ServerOptions::default().args(flags.iter().copied());
    Server::cloud(&model(), options).await.unwrap()
}

fn run() -> Message {
    Message::Run(v1::Run::default())
}

/// Rows from a position on that want a token.
fn rows(start: u32, ids: &[u32]) -> Message {
    Message::Rows(v1::Rows {
        start,
        count: ids.len() as u32,
        token_ids: ids.to_vec(),
        want: 1,
        ..v1::Rows::default()
    })
}

/// A session at split 0, one of several.
async fn begin(url: &str, number: u8, then: Vec<Message>) -> Result<SplitSession, Status> {
    let open = fitting_open(url, 0).await.unwrap();
    let open = v1::Open {
        session_id: vec![number; 16],
        context: 4096,
        ..open
    };
    SplitSession::begin(url, [vec![Message::Open(open)], then].concat()).await
}

/// An answer that goes on, a token at a time.
struct Decoding {
    session: SplitSession,
    position: u32,
}

impl Decoding {
    async fn begin(url: &str, number: u8) -> Result<Self, Status> {
        let mut session = begin(url, number, vec![run(), rows(0, &[1, 2, 3])]).await?;
        let position = session.token().await?.position;
        Ok(Self { session, position })
    }

    async fn step(&mut self) -> Result<(), Status> {
        let sent = self.session.send(rows(self.position, &[7])).await;
        sent.map_err(|error| Status::aborted(error.to_string()))?;
        self.position = self.session.token().await?.position;
        Ok(())
    }
}

/// Eight bytes that say they are 8,192 rows.
#[tokio::test]
async fn a_short_frame_cannot_declare_many_rows() {
    let cloud = cloud(&[]).await;
    let open = fitting_open(&cloud.url(), 1).await.unwrap();
    let frame = vec![5, 0x80, 0x40, 48, 4, 0, 0, 1];
    let message = Message::Rows(v1::Rows {
        count: 8192,
        want: 1,
        crc32c: crc32c::crc32c(&frame),
        frame: frame.into(),
        ..v1::Rows::default()
    });
    let messages = vec![Message::Open(open), run(), message];
    let mut session = SplitSession::begin(&cloud.url(), messages).await.unwrap();
    assert_refused(
        Err::<(), _>(session.end().await),
        Code::InvalidArgument,
        "FRAME",
    );
}

#[tokio::test]
async fn a_message_of_many_rows_lets_others_have_their_turn() {
    let cloud = cloud(&[]).await;
    let mut decoding = Decoding::begin(&cloud.url(), 1).await.unwrap();
    let many = vec![5; 4096];
    let mut long = begin(&cloud.url(), 2, vec![run(), rows(0, &many[..4095])])
        .await
        .unwrap();
    let mut between = 0;
    loop {
        tokio::select! {
            biased;
            token = long.token() => {
                assert_eq!(token.unwrap().position, 4095);
                break;
            }
            stepped = decoding.step() => {
                stepped.unwrap();
                between += 1;
            }
        }
    }
    // 32 parts, and a token's turn between each two; fewer where the round trip takes longer than a part.
    assert!(between >= 4, "{between} tokens while 4,095 rows ran");
}

#[tokio::test]
async fn sessions_that_only_open_and_run_keep_nobody_out() {
    let cloud = cloud(&["--max-sessions", "4"]).await;
    let url = cloud.url();
    let mut answering = Decoding::begin(&url, 100).await.unwrap();
    let mut idle = Vec::new();
    for number in 0..8 {
        idle.push(begin(&url, number, vec![run()]).await.unwrap());
    }
    for number in 101..103 {
        let mut newcomer = Decoding::begin(&url, number).await.unwrap();
        newcomer.step().await.unwrap();
        answering.step().await.unwrap();
        idle.push(newcomer.session);
    }
    assert_refused(Err::<(), _>(idle[0].end().await), Code::Aborted, "EVICTED");
}

#[tokio::test]
async fn an_answer_that_stalls_gives_way_and_one_that_goes_on_does_not() {
    let cloud = cloud(&["--max-sessions", "2", "--stall", "1s"]).await;
    let url = cloud.url();
    let mut stalled = Decoding::begin(&url, 1).await.unwrap();
    let mut going_on = Decoding::begin(&url, 2).await.unwrap();
    let refused = Decoding::begin(&url, 3).await.map(|_| ());
    assert_refused(refused, Code::ResourceExhausted, "SESSIONS");
    let third = loop {
        going_on.step().await.unwrap();
        // A ping is no sign of an answer. Its stream may be gone already.
        let _ = stalled
            .session
            .send(Message::Ping(v1::Ping::default()))
            .await;
        match Decoding::begin(&url, 3).await {
            Ok(third) => break third,
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted),
        }
    };
    going_on.step().await.unwrap();
    drop(third);
    assert_refused(
        Err::<(), _>(stalled.session.end().await),
        Code::Aborted,
        "EVICTED",
    );
    let evicted = |metrics: &tandem_tests::process::Metrics| {
        metrics.sum_with(
            "tandem_cloud_sessions_evicted_total",
            &[("cause", "stalled")],
        )
    };
    assert_eq!(evicted(&cloud.metrics().await.unwrap()), 1.0);
}

#[tokio::test]
async fn a_text_that_cannot_fit_is_refused_before_it_is_tokenised() {
    let pair = Pair::start(&model(), 1, PairOptions::default())
        .await
        .unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let before = pair.edge.memory().unwrap().resident;
    let text = "1".repeat(4_000_000);
    let request = v1::TokenizeRequest {
        input: Some(tokenize_request::Input::Text(text.clone())),
    };
    let tokenized = client.clone().raw().tokenize(request).await;
    assert_refused(tokenized, Code::InvalidArgument, "PROMPT_TOO_LONG");
    let generated = client
        .generate(tandem_tests::client::text_request(&text, 1))
        .await;
    assert_refused(generated, Code::InvalidArgument, "PROMPT_TOO_LONG");
    let peak = pair.edge.memory().unwrap().peak;
    assert!(
        peak < before + (100 << 20),
        "{} MiB more",
        (peak - before) >> 20
    );
}

/// More connections than one address may have, of which none says anything.
#[tokio::test]
async fn a_crowd_of_silent_connections_keeps_nobody_out() {
    let pair = Pair::start(&model(), 1, PairOptions::default())
        .await
        .unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    client.greedy(&[1, 2, 3], 2).await.unwrap();
    let mut crowd = Vec::new();
    for server in [&pair.cloud, &pair.edge] {
        for _ in 0..300 {
            crowd.push(
                tokio::net::TcpStream::connect(server.address())
                    .await
                    .unwrap(),
            );
        }
    }
    let closed = |metrics: &tandem_tests::process::Metrics| {
        let name = "tandem_cloud_connections_closed_total";
        metrics.sum_with(name, &[("cause", "per_address")]) >= 44.0
    };
    let waited = pair
        .cloud
        .wait_metrics(std::time::Duration::from_secs(10), closed);
    waited.await.unwrap();
    client.greedy(&[4, 5, 6], 2).await.unwrap();
    drop(crowd);
    // There is room again.
    let free =
        |metrics: &tandem_tests::process::Metrics| metrics.sum("tandem_edge_connections") < 10.0;
    let waited = pair
        .edge
        .wait_metrics(std::time::Duration::from_secs(10), free);
    waited.await.unwrap();
    let newcomer = Client::connect(&pair.edge.url()).await.unwrap();
    newcomer.greedy(&[7, 8, 9], 2).await.unwrap();
}
