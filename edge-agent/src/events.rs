//! Where the events of an answer go, and how far it has come: who ends it early still knows how many
//! tokens there were.

use crate::answer::AnswerEvent;
use crate::error::AnswerError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tandem_proto::v1;
use tokio::sync::mpsc;

/// How long an answer waits for a client that does not read.
pub const READS_WITHIN: Duration = Duration::from_secs(60);

type Event = Result<AnswerEvent, AnswerError>;

/// The way of an answer's events to its client. The answer waits while it is full, but not for ever.
#[derive(Debug)]
pub struct Events {
    client: mpsc::Sender<Event>,
    /// The place of the last word: who has not read for long is still told why the answer ends.
    last: Mutex<Option<mpsc::OwnedPermit<Event>>>,
    tokens: AtomicU64,
    finish: OnceLock<v1::FinishReason>,
}

impl Events {
    /// Of an answer that has not begun. One place of the channel is kept for the last word.
    pub fn new(client: mpsc::Sender<Event>) -> Self {
        Self {
            last: Mutex::new(client.clone().try_reserve_owned().ok()),
            client,
            tokens: AtomicU64::new(0),
            finish: OnceLock::new(),
        }
    }

    /// Sends an event.
    ///
    /// # Errors
    /// The client has gone, or has read nothing for [`READS_WITHIN`].
    pub async fn send(&self, event: AnswerEvent) -> Result<(), AnswerError> {
        match &event {
            AnswerEvent::Started(_) | AnswerEvent::Step(_) => {}
            AnswerEvent::Delta(delta) => {
                let tokens = delta.token_ids.len() as u64;
                self.tokens.fetch_add(tokens, Ordering::Relaxed);
            }
            AnswerEvent::Finished(finished) => {
                let _ = self.finish.set(finished.finish_reason());
            }
        }
        let sent = tokio::time::timeout(READS_WITHIN, self.client.send(Ok(event))).await;
        let sent = sent.map_err(|_| AnswerError::NotRead)?;
        sent.map_err(|_| AnswerError::ClientGone)
    }

    /// Says why the answer fails, if somebody still listens. Waits for nobody; once.
    pub fn fail(&self, error: AnswerError) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = last.take() {
            place.send(Err(error));
        }
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

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_waited_for_only_so_long_and_told_why() {
        let (sender, mut client) = mpsc::channel(3);
        let events = Events::new(sender);
        let delta = || AnswerEvent::Delta(v1::Delta::default());
        events.send(delta()).await.unwrap();
        events.send(delta()).await.unwrap();
        let began = tokio::time::Instant::now();
        let error = events.send(delta()).await.unwrap_err();
        assert!(matches!(error, AnswerError::NotRead), "{error}");
        assert_eq!(began.elapsed(), READS_WITHIN);
        events.fail(error);
        drop(events);
        assert!(client.recv().await.unwrap().is_ok());
        assert!(client.recv().await.unwrap().is_ok());
        let last = client.recv().await.unwrap().unwrap_err();
        assert!(matches!(last, AnswerError::NotRead), "{last}");
        assert!(client.recv().await.is_none());
    }
}
