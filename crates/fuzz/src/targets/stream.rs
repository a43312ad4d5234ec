//! Any messages of one edge, good and bad, over connections that are cut and taken up again: the cloud answers or ends
//! the stream with a reason, nothing panics, and no session is left behind.
//!
//! The input is a list of moves, see [`moves`]: most fit what the session has come to, so that an input gets far.

mod moves;
mod raw;

use crate::input::Input;
use crate::panics;
use moves::{Move, Moves};
use raw::RawStream;
use std::sync::LazyLock;
use std::time::Duration;
use tandem_in_process::{Cable, LocalCloud};
use tandem_proto::v1;
use tandem_proto::v1::split_service_client::SplitServiceClient;
use tandem_shape::Reason;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The most moves of an input.
const MOVES: usize = 48;

/// How long a stream may take to its end, once its edge has nothing more to say.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// How long a move that waits for an answer does so.
const ANSWER_TAKES: Duration = Duration::from_millis(20);

/// How long a session waits for its edge that has lost its stream.
const LEASE: Duration = Duration::from_millis(20);

/// A cloud for all inputs, and the way to it.
struct Ground {
    runtime: Runtime,
    cloud: LocalCloud,
    cable: Cable,
    /// What opens a session.
    open: v1::Open,
}

static GROUND: LazyLock<Ground> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    let builder = builder.worker_threads(1).thread_name("cloud").enable_all();
    let runtime = builder.build().expect("a runtime");
    let (cloud, cable, open) = runtime.block_on(async {
        let cloud = LocalCloud::start(|config| config.sessions.lease = LEASE.into()).await;
        let cable = cloud.cable();
        let open = open(&cable.channel()).await;
        (cloud, cable, open)
    });
    Ground {
        runtime,
        cloud,
        cable,
        open,
    }
});

/// Runs it.
pub(crate) fn run(data: &[u8]) {
    panics::watch_others();
    let ground = &*GROUND;
    ground.runtime.block_on(async {
        ground.play(data).await;
        ground.cloud.is_free().await;
        assert_eq!(ground.cloud.cloud.admission.running().0, 0);
    });
    panics::fail_with_noted();
}

impl Ground {
    async fn play(&self, data: &[u8]) {
        let mut moves = Moves::new(Input::new(data), &self.open);
        let mut channel = self.cable.channel();
        let mut stream = RawStream::begin(&channel).await;
        let mut is_sound = true;
        for _ in 0..MOVES {
            match moves.next() {
                None => break,
                Some(Move::Send(message)) => stream.send(message),
                Some(Move::SendNonsense(message)) => {
                    is_sound = false;
                    stream.send(message);
                }
                Some(Move::Wait) => {
                    if let Some(position) = stream.token(ANSWER_TAKES).await {
                        moves.sampled(position);
                    }
                }
                Some(Move::Cut) => {
                    self.cable.cut();
                    channel = self.cable.channel();
                    stream = RawStream::begin(&channel).await;
                }
                Some(Move::Leave) => stream = RawStream::begin(&channel).await,
            }
        }
        let ended = tokio::time::timeout(ENDS_WITHIN, stream.end()).await;
        let ended = ended.expect("a stream ends once its edge has said everything");
        if let Err(status) = ended {
            has_a_reason(&status, is_sound);
        }
    }
}

/// What docs/protocol.md promises of every status that the server makes itself.
fn has_a_reason(status: &Status, is_sound: bool) {
    let Some(reason) = tandem_status::reason(status) else {
        // A message that cannot be decoded, or that is too long, never reaches the server.
        let of_grpc = matches!(status.code(), Code::Internal | Code::OutOfRange);
        return assert!(!is_sound && of_grpc, "without a reason: {status:?}");
    };
    assert!(reason.parse::<Reason>().is_ok(), "{reason}");
    if status.code() == Code::InvalidArgument {
        let details = status.get_details_bad_request();
        assert!(details.is_some_and(|bad| !bad.field_violations.is_empty()));
    }
    // Nothing that an edge sends makes a step fail, or the engine.
    assert_ne!(status.code(), Code::Internal, "{status:?}");
}

/// An Open that fits the cloud.
async fn open(channel: &Channel) -> v1::Open {
    let mut client = SplitServiceClient::new(channel.clone());
    let described = client.describe_back(v1::DescribeBackRequest {}).await;
    let described = described.expect("it describes itself").into_inner();
    let model = described.model.expect("a model");
    v1::Open {
        versions: described.versions,
        weights_fingerprint: model.weights_fingerprint,
        files_fingerprint: model.files_fingerprint,
        tokenizer_fingerprint: model.tokenizer_fingerprint,
        codecs: described.codecs,
        session_id: vec![7; 16],
        ..v1::Open::default()
    }
}
