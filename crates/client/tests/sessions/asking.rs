//! Who asks, and what comes of it.

use tandem_client::{Asked, Asker, Generation, Kept, Session, SessionError, SplitClient};
use tandem_in_process::{ClientOptions, LocalCloud, WholeModel, client, demanding};
use tandem_proto::v1;
use tandem_telemetry::traces::Span;
use tandem_transport::auth::Owner;

pub(crate) const PROMPT: [u32; 7] = [5, 6, 7, 8, 60, 61, 62];

/// A cloud with the shipped configuration.
pub(crate) async fn cloud() -> LocalCloud {
    LocalCloud::start(|_| {}).await
}

/// A client of it that runs one layer.
pub(crate) async fn client_of(cloud: &LocalCloud) -> SplitClient {
    client(&cloud.cable(), ClientOptions::default()).await
}

/// What the model in one piece says behind a prompt.
pub(crate) fn expected(prompt: &[u32], count: usize) -> Vec<u32> {
    WholeModel::load().answer(prompt, count)
}

/// Who asks, by a salt.
pub(crate) fn asker(salt: &str) -> Asker {
    Asker {
        owner: Owner::Unknown,
        salt: salt.to_owned(),
    }
}

/// What is asked for behind a prompt.
pub(crate) fn asked(prompt: &[u32]) -> Asked {
    Asked {
        asker: asker(""),
        prompt: prompt.to_vec(),
        run: v1::Run {
            sampling: Some(demanding()),
            ..v1::Run::default()
        },
        needs_token_ids: true,
        deadline: None,
    }
}

/// An answer under way.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) generation: Generation,
    pub(crate) tokens: Vec<u32>,
}

impl Answer {
    /// Begins one, in a kept session where there is one.
    pub(crate) async fn begin(
        client: &SplitClient,
        asked: Asked,
        kept: Option<Kept>,
    ) -> Result<Self, SessionError> {
        let cloud = client.choose(&asked.asker, &asked.prompt).await?;
        let begun = Generation::begin(client, asked, kept, cloud, &Span::default()).await;
        let (generation, first) = begun?;
        Ok(Self {
            generation,
            tokens: first.ids,
        })
    }

    /// Begins one in a session of its own.
    pub(crate) async fn to(client: &SplitClient, prompt: &[u32]) -> Self {
        Self::begin(client, asked(prompt), None).await.unwrap()
    }

    /// Asks for the next token, and waits for it.
    pub(crate) async fn next(&mut self) -> Result<(), SessionError> {
        let rows = self.generation.begin_rows().await;
        let next = self.generation.next(rows, &Span::default()).await?;
        self.tokens.extend(next.ids);
        Ok(())
    }

    /// Goes on until it has so many tokens.
    pub(crate) async fn reaches(&mut self, count: usize) {
        while self.tokens.len() < count {
            self.next().await.unwrap();
        }
    }

    /// Ends as at a stop string, and leaves its session for the next turn.
    pub(crate) async fn end(mut self) -> Session {
        self.generation.end_early(0).await;
        self.generation.into_session().unwrap()
    }
}

/// A finished conversation: a prompt and so many tokens.
pub(crate) async fn conversation(client: &SplitClient, prompt: &[u32], tokens: usize) -> Session {
    let mut answer = Answer::to(client, prompt).await;
    answer.reaches(tokens).await;
    answer.end().await
}
