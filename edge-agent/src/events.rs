//! Where the events of an answer go, and how far it has come: who ends it early still knows how many
//! tokens there were.

use crate::answer::AnswerEvent;
use crate::error::AnswerError;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tandem_proto::v1;
use tokio::sync::mpsc;

/// The way of an answer's events to its client. The answer waits while it is full.
#[derive(Debug)]
pub struct Events {
    client: mpsc::Sender<Result<AnswerEvent, AnswerError>>,
    tokens: AtomicU64,
    finish: OnceLock<v1::FinishReason>,
}

impl Events {
    /// Of an answer that has not begun.
    pub fn new(client: mpsc::Sender<Result<AnswerEvent, AnswerError>>) -> Self {
        Self {
            client,
            tokens: AtomicU64::new(0),
            finish: OnceLock::new(),
        }
    }

    /// Sends an event.
    ///
    /// # Errors
    /// The client has gone.
    pub async fn send(&self, event: AnswerEvent) -> Result<(), AnswerError> {
        match &event {
            AnswerEvent::Started(_) => {}
            AnswerEvent::Delta(delta) => {
                let tokens = delta.token_ids.len() as u64;
                self.tokens.fetch_add(tokens, Ordering::Relaxed);
            }
            AnswerEvent::Finished(finished) => {
                let _ = self.finish.set(finished.finish_reason());
            }
        }
        let sent = self.client.send(Ok(event)).await;
        sent.map_err(|_| AnswerError::ClientGone)
    }

    /// Sends why the answer fails, if somebody still listens.
    pub async fn fail(&self, error: AnswerError) {
        let _ = self.client.send(Err(error)).await;
    }

    /// Resolves when the client has gone.
    pub async fn closed(&self) {
        self.client.closed().await;
    }

    /// Tokens made so far.
    pub fn tokens(&self) -> u64 {
        self.tokens.load(Ordering::Relaxed)
    }

    /// Why the answer ended, once it has.
    pub fn finish(&self) -> Option<v1::FinishReason> {
        self.finish.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn they_know_how_far_an_answer_came() {
        let (sender, mut client) = mpsc::channel(4);
        let events = Events::new(sender);
        let delta = |token_ids| {
            AnswerEvent::Delta(v1::Delta {
                token_ids,
                ..v1::Delta::default()
            })
        };
        events.send(delta(vec![1])).await.unwrap();
        events.send(delta(vec![2, 3])).await.unwrap();
        assert_eq!((events.tokens(), events.finish()), (3, None));
        let mut finished = v1::Finished::default();
        finished.set_finish_reason(v1::FinishReason::Length);
        events.send(AnswerEvent::Finished(finished)).await.unwrap();
        assert_eq!(events.finish(), Some(v1::FinishReason::Length));
        client.close();
        let gone = events.send(delta(vec![4])).await.unwrap_err();
        assert!(matches!(gone, AnswerError::ClientGone));
    }
}
