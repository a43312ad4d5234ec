//! What is refused, and with what reason.

use crate::by_hand::{Edge, cloud};
use tandem_proto::v1;
use tandem_proto::v1::infer_request::Message;
use tandem_tests::client::assert_refused;
use tandem_tests::split_session::{SplitSession, rows, run, truncate};
use tonic::{Code, Status};

/// What each message that does not fit is refused with.
#[tokio::test]
async fn messages_that_do_not_fit_end_the_stream_with_their_reason() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let open = edge.open();
    let ended = async |messages: Vec<Message>| -> Result<(), Status> {
        let mut session = SplitSession::of(&edge.client, messages).await?;
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
            opened(&|o| o.features = vec![2]),
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
                answered: 1,
                answered_token_ids: vec![u32::MAX],
                ..v1::Run::default()
            })]),
            invalid,
            "RUN",
        ),
        // The session has not named the feature.
        (
            after_open(vec![Message::Run(v1::Run {
                constraint: Some(v1::Constraint {
                    form: Some(v1::constraint::Form::Regex("a".to_owned())),
                }),
                eos_token_ids: vec![1],
                ..v1::Run::default()
            })]),
            invalid,
            "CONSTRAINT",
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
    cloud.is_free().await;
    assert_eq!(cloud.cloud.admission.running().0, 0);
    edge.answering().await.reaches(2).await;
}

#[tokio::test]
async fn frames_that_are_not_what_they_say_are_refused() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let open = v1::Open {
        split: 1,
        ..edge.open()
    };
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
        let mut session = SplitSession::of(&edge.client, messages).await.unwrap();
        let status = session.end().await;
        assert_eq!(status.code(), code, "{what}: {}", status.message());
        assert_refused(Err::<(), _>(status), code, reason);
    }
    let messages = vec![Message::Open(open), run(0), message(good, 1, 0)];
    let mut session = SplitSession::of(&edge.client, messages).await.unwrap();
    assert_eq!(session.token().await.unwrap().position, 1);
}
