//! The split API as docs/protocol.md specifies it, spoken by hand at split 0, where rows are ids.

use std::path::PathBuf;
use tandem_proto::v1::infer_request::Message;
use tandem_proto::v1::{self, infer_response};
use tandem_tests::client::assert_refused;
use tandem_tests::paths::fixtures;
use tandem_tests::process::{Server, ServerOptions};
use tandem_tests::split_session::{SplitSession, fitting_open, rows, run, truncate};
use tonic::{Code, Status};

fn model() -> PathBuf {
    fixtures().join("models/llama-mha-untied-bias")
}

async fn cloud() -> Server {
    Server::cloud(&model(), ServerOptions::default())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_session_answers_repeats_and_truncates_as_specified() {
    let cloud = cloud().await;
    let open = fitting_open(&cloud.url(), 0).await.unwrap();
    // Everything at once: nothing waits for Granted.
    let messages = vec![
        Message::Open(open),
        run(0),
        rows(0, 0, &[5, 6, 7], false),
        rows(0, 3, &[8], true),
    ];
    let mut session = SplitSession::begin(&cloud.url(), messages).await.unwrap();
    let infer_response::Message::Granted(granted) = session.receive().await.unwrap() else {
        panic!("Granted comes first");
    };
    assert_eq!(
        (
            granted.version,
            granted.codec.as_str(),
            granted.lease_millis
        ),
        (1, "f32", 0)
    );
    let infer_response::Message::Progress(progress) = session.receive().await.unwrap() else {
        panic!("rows that want nothing are acknowledged");
    };
    assert_eq!(progress.received, 3);
    let first = session.token().await.unwrap();
    assert_eq!((first.epoch, first.position, first.ids.len()), (0, 4, 1));

    session.send(rows(0, 3, &[8], true)).await.unwrap();
    let repeated = session.token().await.unwrap();
    assert_eq!(
        repeated.ids, first.ids,
        "a repeated request is answered from the record"
    );

    session.send(rows(0, 4, &first.ids, true)).await.unwrap();
    let second = session.token().await.unwrap();
    assert_eq!(second.position, 5);

    session.send(truncate(1, 3)).await.unwrap();
    session.send(rows(0, 5, &second.ids, true)).await.unwrap();
    session.send(run(1)).await.unwrap();
    session.send(rows(1, 3, &[8], true)).await.unwrap();
    let again = session.token().await.unwrap();
    assert_eq!((again.epoch, again.position, again.ids), (1, 4, first.ids));

    session
        .send(Message::Ping(v1::Ping {
            nonce: 42,
            padding: vec![0; 1000],
            reply_bytes: 77,
        }))
        .await
        .unwrap();
    let pong = v1::Pong {
        nonce: 42,
        padding: vec![0; 77],
    };
    assert_eq!(
        session.receive().await.unwrap(),
        infer_response::Message::Pong(pong)
    );
    session.send(Message::Close(v1::Close {})).await.unwrap();
    assert_eq!(session.end().await.code(), Code::Ok);
}

/// What each message that does not fit is refused with.
#[tokio::test]
async fn messages_that_do_not_fit_end_the_stream_with_their_reason() {
    let cloud = cloud().await;
    let url = cloud.url();
    let open = fitting_open(&url, 0).await.unwrap();
    let ended = async |messages: Vec<Message>| -> Result<(), Status> {
        let mut session = SplitSession::begin(&url, messages).await?;
        Err(session.end().await)
    };
    let opened = |change: &dyn Fn(&mut v1::Open)| {
        let mut open = open.clone();
        change(&mut open);
        vec![Message::Open(open)]
    };
    let after_open =
        |messages: Vec<Message>| [vec![Message::Open(open.clone())], messages].concat();
    let invalid = Code::InvalidArgument;
    let unfit = Code::FailedPrecondition;

    for (messages, code, reason) in [
        (vec![run(0)], invalid, "NOT_OPEN"),
        (
            opened(&|o| o.versions = Some(v1::VersionRange { min: 2, max: 9 })),
            unfit,
            "VERSION",
        ),
        (
            opened(&|o| o.features = vec![1]),
            Code::Unimplemented,
            "FEATURE",
        ),
        (
            opened(&|o| o.features = vec![77]),
            Code::Unimplemented,
            "FEATURE",
        ),
        (opened(&|o| o.codecs = vec!["zip".into()]), unfit, "CODEC"),
        (opened(&|o| o.weights_fingerprint[0] ^= 1), unfit, "MODEL"),
        (
            opened(&|o| o.tokenizer_fingerprint[0] ^= 1),
            unfit,
            "TOKENIZER",
        ),
        (
            opened(&|o| o.weights_fingerprint.truncate(3)),
            invalid,
            "FINGERPRINT",
        ),
        (opened(&|o| o.split = 4), unfit, "SPLIT"),
        (opened(&|o| o.session_id = vec![1]), invalid, "SESSION_ID"),
        (
            after_open(vec![Message::Open(open.clone())]),
            invalid,
            "OPEN_TWICE",
        ),
        (
            after_open(vec![run(0), rows(0, 1, &[1], true)]),
            invalid,
            "OUT_OF_ORDER",
        ),
        (
            after_open(vec![run(0), rows(1, 0, &[1], true)]),
            invalid,
            "EPOCH",
        ),
        (after_open(vec![truncate(2, 0)]), invalid, "EPOCH"),
        (after_open(vec![truncate(1, 9)]), invalid, "OUT_OF_ORDER"),
        (after_open(vec![rows(0, 0, &[1], true)]), unfit, "NO_RUN"),
        (
            after_open(vec![
                run(0),
                rows(0, 0, &[1, 2], false),
                rows(0, 0, &[1], true),
            ]),
            invalid,
            "NOT_SAMPLED",
        ),
        (
            after_open(vec![run(0), rows(0, 0, &[9999], true)]),
            invalid,
            "ROWS",
        ),
        (
            after_open(vec![run(0), rows(0, u32::MAX, &[1], true)]),
            invalid,
            "OUT_OF_ORDER",
        ),
        (
            after_open(vec![Message::Rows(v1::Rows {
                count: u32::MAX,
                ..v1::Rows::default()
            })]),
            invalid,
            "ROWS",
        ),
        (
            after_open(vec![Message::Rows(v1::Rows {
                count: 1,
                want: 9,
                token_ids: vec![1],
                ..v1::Rows::default()
            })]),
            invalid,
            "ROWS",
        ),
        (
            after_open(vec![Message::Ping(v1::Ping {
                padding: vec![0; 70_000],
                ..v1::Ping::default()
            })]),
            invalid,
            "PING",
        ),
        (
            after_open(vec![Message::Ping(v1::Ping {
                reply_bytes: 70_000,
                ..v1::Ping::default()
            })]),
            invalid,
            "PING",
        ),
        (
            after_open(vec![
                rows(0, 0, &[1, 2], false),
                Message::Run(v1::Run {
                    history_token_ids: vec![1, 2, 3],
                    ..v1::Run::default()
                }),
            ]),
            invalid,
            "RUN",
        ),
        (
            after_open(vec![Message::Run(v1::Run {
                eos_token_ids: (0..65).collect(),
                ..v1::Run::default()
            })]),
            invalid,
            "RUN",
        ),
        (
            after_open(vec![
                run(0),
                rows(0, 0, &[1; 256], false),
                rows(0, 256, &[1], true),
            ]),
            Code::OutOfRange,
            "CONTEXT_FULL",
        ),
    ] {
        let what = format!("{messages:?}");
        let result = ended(messages).await;
        let code_found = result.as_ref().err().map(Status::code);
        assert_eq!(code_found, Some(code), "{what}");
        assert_refused(result, code, reason);
    }
    let health = cloud.health("").await.unwrap();
    assert_eq!(
        health,
        tonic_health::pb::health_check_response::ServingStatus::Serving
    );
    assert_eq!(
        cloud.metrics().await.unwrap().sum("tandem_cloud_sessions"),
        0.0
    );
}

#[tokio::test]
async fn frames_that_are_not_what_they_say_are_refused() {
    let cloud = cloud().await;
    let url = cloud.url();
    let open = fitting_open(&url, 1).await.unwrap();
    let frame = |values: &[f32], hidden: u8| -> Vec<u8> {
        let mut bytes = vec![1, (values.len() / usize::from(hidden)) as u8, hidden];
        values.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
        bytes
    };
    let message = |frame: Vec<u8>, count: u32, damage: u32| {
        Message::Rows(v1::Rows {
            count,
            want: 1,
            crc32c: crc32c::crc32c(&frame) ^ damage,
            frame: frame.into(),
            ..v1::Rows::default()
        })
    };
    let good = frame(&[0.25; 48], 48);
    let mut nan = [0.25; 48];
    nan[3] = f32::NAN;
    let invalid = Code::InvalidArgument;
    for (rows, code, reason) in [
        (message(good.clone(), 1, 1), Code::DataLoss, "CHECKSUM"),
        (message(good.clone(), 2, 0), invalid, "ROWS"),
        (message(good[..100].to_vec(), 1, 0), invalid, "FRAME"),
        (message(frame(&nan, 48), 1, 0), invalid, "FRAME"),
        (message(frame(&[0.5; 47], 47), 1, 0), invalid, "ROWS"),
        (message(vec![9, 1, 48], 1, 0), invalid, "ROWS"),
        (message(Vec::new(), 1, 0), invalid, "ROWS"),
        (message(vec![1; 300 << 10], 1, 0), invalid, "ROWS"),
    ] {
        let what = format!("{rows:.80?}");
        let messages = vec![Message::Open(open.clone()), run(0), rows];
        let mut session = SplitSession::begin(&url, messages).await.unwrap();
        let status = session.end().await;
        assert_eq!(status.code(), code, "{what}: {}", status.message());
        assert_refused(Err::<(), _>(status), code, reason);
    }
    let messages = vec![Message::Open(open), run(0), message(good, 1, 0)];
    let mut session = SplitSession::begin(&url, messages).await.unwrap();
    assert_eq!(session.token().await.unwrap().position, 1);
}

#[tokio::test]
async fn a_stream_that_opens_nothing_is_closed() {
    let options = ServerOptions::default().config("sessions:\n  open_timeout: 200ms\n");
    let cloud = Server::cloud(&model(), options).await.unwrap();
    let mut session = SplitSession::begin(&cloud.url(), Vec::new()).await.unwrap();
    let status = session.end().await;
    assert_refused(Err::<(), _>(status), Code::DeadlineExceeded, "OPEN_TIMEOUT");
}
