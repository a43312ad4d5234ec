//! An edge by hand.

use std::sync::atomic::{AtomicU8, Ordering};
use tandem_in_process::{Cable, LocalCloud, WholeModel, demanding};
use tandem_proto::v1::infer_request::Message;
use tandem_proto::v1::infer_response::Message as Down;
use tandem_proto::v1::split_service_client::SplitServiceClient;
use tandem_proto::v1::{self, Feature};
use tandem_tests::client::assert_refused;
use tandem_tests::split_session::{SplitSession, open_of, rows};
use tonic::transport::Channel;
use tonic::{Code, Status};

pub(crate) const PROMPT: [u32; 4] = [5, 6, 7, 8];

/// What the model in one piece says behind the prompt.
pub(crate) fn expected(count: usize) -> Vec<u32> {
    WholeModel::load().answer(&PROMPT, count)
}

/// A cloud with the shipped configuration.
pub(crate) async fn cloud() -> LocalCloud {
    LocalCloud::start(|_| {}).await
}

/// An edge that keeps to the letter.
pub(crate) struct Edge {
    pub(crate) client: SplitServiceClient<Channel>,
    open: v1::Open,
}

impl Edge {
    /// At the end of a cable.
    pub(crate) async fn at(cable: &Cable) -> Self {
        let client = SplitServiceClient::new(cable.channel());
        let open = open_of(&client, 0).await.unwrap();
        Self { client, open }
    }

    /// An edge of a process on the cloud's machine.
    pub(crate) async fn of(cloud: &LocalCloud) -> Self {
        Self::at(&cloud.cable()).await
    }

    /// An edge whose answers may give way, because it goes on with them.
    pub(crate) async fn that_replays(cable: &Cable) -> Self {
        let mut edge = Self::at(cable).await;
        edge.open.features = vec![Feature::Replay.into()];
        edge
    }

    /// What opens its next session.
    pub(crate) fn open(&self) -> v1::Open {
        static OPENED: AtomicU8 = AtomicU8::new(0);
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        v1::Open {
            session_id: vec![number; 16],
            ..self.open.clone()
        }
    }

    /// A session that begins with these messages behind its Open.
    pub(crate) async fn session(&self, behind: Vec<Message>) -> SplitSession {
        let messages = [vec![Message::Open(self.open())], behind].concat();
        SplitSession::of(&self.client, messages).await.unwrap()
    }

    /// A session that has the first token behind the prompt.
    pub(crate) async fn answering(&self) -> Answering {
        let mut session = self.session(vec![run(0), rows(0, 0, &PROMPT, true)]).await;
        let first = session.token().await.unwrap();
        Answering {
            session,
            position: first.position,
            tokens: first.ids,
        }
    }

    /// A session between two answers.
    pub(crate) async fn kept(&self) -> SplitSession {
        let ends = v1::Run {
            max_tokens: 1,
            ..terms(0)
        };
        let messages = vec![Message::Run(ends), rows(0, 0, &PROMPT, true)];
        let mut session = self.session(messages).await;
        let last = session.token().await.unwrap();
        assert_eq!(last.finish_reason(), v1::FinishReason::Length);
        session
    }
}

/// An answer under way.
pub(crate) struct Answering {
    pub(crate) session: SplitSession,
    /// That of its last token.
    pub(crate) position: u32,
    pub(crate) tokens: Vec<u32>,
}

impl Answering {
    /// Asks for the next token.
    pub(crate) async fn ask(&mut self) {
        let last = *self.tokens.last().unwrap();
        let row = rows(0, self.position, &[last], true);
        self.session.send(row).await.unwrap();
    }

    /// Asks for the next token, and waits for it.
    pub(crate) async fn next(&mut self) -> Result<(), Status> {
        self.ask().await;
        self.arrives().await
    }

    /// Waits for the token that was asked for.
    pub(crate) async fn arrives(&mut self) -> Result<(), Status> {
        let token = self.session.token().await?;
        assert_eq!(token.position, self.position + 1);
        self.position = token.position;
        self.tokens.extend(token.ids);
        Ok(())
    }

    /// Goes on until it has so many tokens, which must be the right ones.
    pub(crate) async fn reaches(&mut self, count: usize) {
        while self.tokens.len() < count {
            self.next().await.unwrap();
        }
        assert_eq!(self.tokens, expected(count));
    }
}

/// Begins an answer.
pub(crate) fn run(epoch: u32) -> Message {
    Message::Run(terms(epoch))
}

/// What it is made by.
pub(crate) fn terms(epoch: u32) -> v1::Run {
    v1::Run {
        epoch,
        sampling: Some(demanding()),
        ..v1::Run::default()
    }
}

/// Waits for Granted, which comes first.
pub(crate) async fn granted(session: &mut SplitSession) -> v1::Granted {
    match session.receive().await.unwrap() {
        Down::Granted(granted) => granted,
        other => panic!("Granted comes first, and not {other:?}"),
    }
}

/// A session ends with a status.
pub(crate) async fn ends(session: &mut SplitSession, code: Code, reason: &str) {
    assert_refused(Err::<(), _>(session.end().await), code, reason);
}
