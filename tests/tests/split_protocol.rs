//! The split API as docs/protocol.md specifies it, spoken by hand at split 0, where rows are ids.

use std::path::PathBuf;
use tandem_proto::v1::infer_request::Message;
use tandem_proto::v1::{self, infer_response};
use tandem_tests::paths::fixtures;
use tandem_tests::process::{Server, ServerOptions};
use tandem_tests::split_session::{SplitSession, fitting_open, rows, run, truncate};
use tonic::Code;

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
