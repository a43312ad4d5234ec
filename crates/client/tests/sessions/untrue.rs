//! A cloud that answers what was not asked.

use crate::asking::{Answer, PROMPT, asked, cloud};
use std::pin::Pin;
use tandem_client::{CloudError, Retry, SessionError};
use tandem_in_process::{Cable, ClientOptions, client};
use tandem_proto::v1::split_service_server::SplitService;
use tandem_proto::v1::{self, infer_request, infer_response};
use tandem_transport::auth::Peer;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

/// Describes itself as a true cloud, and answers rows that want a token as a test says.
struct Untrue {
    described: v1::DescribeBackResponse,
    /// From the position that the token should have.
    answer: fn(u32) -> v1::Tokens,
}

#[tonic::async_trait]
impl SplitService for Untrue {
    type InferStream = Pin<Box<dyn Stream<Item = Result<v1::InferResponse, Status>> + Send>>;

    async fn describe_back(
        &self,
        _: Request<v1::DescribeBackRequest>,
    ) -> Result<Response<v1::DescribeBackResponse>, Status> {
        Ok(Response::new(self.described.clone()))
    }

    async fn profile_back(
        &self,
        _: Request<v1::ProfileBackRequest>,
    ) -> Result<Response<v1::ProfileBackResponse>, Status> {
        Err(Status::unimplemented("no test asks"))
    }

    async fn infer(
        &self,
        request: Request<Streaming<v1::InferRequest>>,
    ) -> Result<Response<Self::InferStream>, Status> {
        let answer = self.answer;
        let answers = request.into_inner().filter_map(move |request| {
            let message = match request.ok()?.message? {
                infer_request::Message::Open(open) => {
                    infer_response::Message::Granted(v1::Granted {
                        version: 1,
                        context: open.context,
                        max_frame_bytes: 1 << 18,
                        ..v1::Granted::default()
                    })
                }
                infer_request::Message::Rows(rows) if rows.want() == v1::Want::Token => {
                    infer_response::Message::Tokens(answer(rows.start + rows.count.max(1)))
                }
                _ => return None,
            };
            let message = Some(message);
            Some(Ok(v1::InferResponse { message }))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// What a client makes of its answers: how many tokens it takes, and why no more.
async fn taken(max_tokens: u32, answer: fn(u32) -> v1::Tokens) -> (usize, SessionError) {
    let described = cloud().await.cloud.describe(&Peer::default());
    let cable = Cable::local();
    cable.plug_into(Untrue { described, answer });
    let client = client(&cable, ClientOptions::default()).await;
    let mut asked = asked(&PROMPT);
    asked.run.max_tokens = max_tokens;
    let mut answer = match Answer::begin(&client, asked, None).await {
        Ok(answer) => answer,
        Err(error) => return (0, error),
    };
    loop {
        if let Err(error) = answer.next().await {
            return (answer.tokens.len(), error);
        }
    }
}

fn assert_unasked((tokens, error): (usize, SessionError), taken: usize) {
    assert_eq!(tokens, taken);
    assert_eq!(error.retry(), Retry::Never);
    assert!(
        matches!(&error, SessionError::Cloud(CloudError::Unasked { .. })),
        "{error}"
    );
}

fn tokens(position: u32, ids: &[u32]) -> v1::Tokens {
    v1::Tokens {
        position,
        ids: ids.to_vec(),
        ..v1::Tokens::default()
    }
}

#[tokio::test]
async fn a_cloud_that_answers_what_was_not_asked_is_left() {
    // On and on.
    assert_unasked(taken(5, |position| tokens(position, &[7])).await, 4);
    assert_unasked(taken(0, |position| tokens(position + 1, &[7])).await, 0);
    assert_unasked(taken(0, |position| tokens(position, &[7, 8])).await, 0);
    assert_unasked(taken(0, |position| tokens(position, &[1 << 30])).await, 0);
}
