//! One Infer stream, seen from the edge: messages up, messages down, and the acknowledgements
//! that free the way up.

use crate::error::CloudError;
use crate::link::{CloudClient, Link};
use crate::metrics::WIRE_BYTES;
use crate::uplink::Permit;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tandem_proto::encoded_len;
use tandem_proto::v1::{self, infer_request, infer_response};
use tandem_wire::{message_bytes, token_id_bytes};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

/// Messages that may wait to be sent; a sender waits when the connection does not take them.
const WAITING_UP: usize = 16;
/// Messages from the cloud that may wait to be read. Reading stops when it is full; the protocol
/// sends one token a row, so it is full only of what was asked for.
const WAITING_DOWN: usize = 1024;

/// Messages that are kept while only the end is waited for: there are Granted and Draining, once
/// each, and Pages, for every 32 rows at most; what else comes then was not asked for.
const KEPT_EARLY: usize = 1024;

/// An open stream. Dropping it closes the session.
#[derive(Debug)]
pub(crate) struct SplitStream {
    up: mpsc::Sender<v1::InferRequest>,
    down: mpsc::Receiver<Result<infer_response::Message, CloudError>>,
    /// What came while it was not waited for.
    early: VecDeque<Result<infer_response::Message, CloudError>>,
    on_the_way: Arc<Mutex<OnTheWay>>,
    down_bytes: Arc<AtomicU64>,
    /// The epoch of the last Progress, and up to which position rows had arrived.
    received: Arc<Mutex<(u32, u32)>>,
    _reader: AbortOnDropHandle<()>,
}

/// Frames sent and not acknowledged, in order, by the position behind their last row.
type OnTheWay = VecDeque<(u32, Permit)>;

/// Bytes of one message by kind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SentBytes {
    /// The whole message with its gRPC prefix.
    pub(crate) total: u64,
    /// Of it, the codec frame.
    pub(crate) frame: u64,
    /// Of it, token ids.
    pub(crate) token_ids: u64,
}

impl SplitStream {
    /// Opens a stream with its first message, and returns the message's size. Does not wait for the
    /// cloud: what follows may be sent at once.
    pub(crate) fn open(link: &Link, open: v1::Open) -> (Self, SentBytes) {
        let (up, requests) = mpsc::channel(WAITING_UP);
        let (responses, down) = mpsc::channel(WAITING_DOWN);
        let on_the_way: Arc<Mutex<OnTheWay>> = Arc::default();
        let down_bytes = Arc::new(AtomicU64::new(0));
        let mut client = link.client();
        let observer = LinkObserver {
            link: link.clone(),
            up: up.downgrade(),
            received: Arc::default(),
        };
        let received = Arc::clone(&observer.received);
        let (acknowledged, counted) = (Arc::clone(&on_the_way), Arc::clone(&down_bytes));
        let reader = tokio::spawn(async move {
            let ended = read(
                &mut client,
                requests,
                &responses,
                &acknowledged,
                &counted,
                &observer,
            )
            .await;
            if let Err(error) = ended {
                let _ = responses.send(Err(error)).await;
            }
        });
        let stream = Self {
            up,
            down,
            early: VecDeque::new(),
            on_the_way,
            down_bytes,
            received,
            _reader: AbortOnDropHandle::new(reader),
        };
        // The channel is new and has room.
        let message = infer_request::Message::Open(open);
        let bytes = count_up(&message);
        let _ = stream.up.try_send(v1::InferRequest {
            message: Some(message),
        });
        (stream, bytes)
    }

    /// Sends a message and returns its size.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub(crate) async fn send(
        &mut self,
        message: infer_request::Message,
    ) -> Result<SentBytes, CloudError> {
        let bytes = count_up(&message);
        let request = v1::InferRequest {
            message: Some(message),
        };
        match self.up.send(request).await {
            Ok(()) => Ok(bytes),
            Err(_) => Err(self.why_ended().await),
        }
    }

    /// Sends a frame of a prompt, whose bytes are on the way until the cloud says otherwise.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub(crate) async fn send_paced(
        &mut self,
        rows: v1::Rows,
        permit: Permit,
    ) -> Result<SentBytes, CloudError> {
        let end = rows.start + rows.count.max(1);
        self.on_the_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back((end, permit));
        self.send(infer_request::Message::Rows(rows)).await
    }

    /// The next message from the cloud, Progress and Pong excepted.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub(crate) async fn receive(&mut self) -> Result<infer_response::Message, CloudError> {
        match self.early.pop_front() {
            Some(result) => result,
            None => self.receive_new().await,
        }
    }

    async fn receive_new(&mut self) -> Result<infer_response::Message, CloudError> {
        match self.down.recv().await {
            Some(result) => result,
            None => Err(CloudError::Gone),
        }
    }

    /// A message that has arrived already, or the end if it has come.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub(crate) fn receive_now(&mut self) -> Result<Option<infer_response::Message>, CloudError> {
        if let Some(result) = self.early.pop_front() {
            return result.map(Some);
        }
        match self.down.try_recv() {
            Ok(result) => result.map(Some),
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => Err(CloudError::Gone),
        }
    }

    /// Whether tokens have arrived that were not received, or the end.
    pub(crate) fn has_tokens(&mut self) -> bool {
        while self.early.len() < KEPT_EARLY
            && let Ok(result) = self.down.try_recv()
        {
            self.early.push_back(result);
        }
        let mut early = self.early.iter();
        let is_told =
            early.any(|result| matches!(result, Ok(infer_response::Message::Tokens(_)) | Err(_)));
        is_told || !self.down.is_empty() || self.down.is_closed()
    }

    /// Resolves when tokens have arrived that were not received, or the end.
    pub(crate) async fn tokens(&mut self) {
        while !self.has_tokens() && self.early.len() < KEPT_EARLY {
            let result = self.receive_new().await;
            self.early.push_back(result);
        }
    }

    /// Resolves with an error when the stream ends. What arrives before is received later.
    pub(crate) async fn failed(&mut self) -> CloudError {
        // Behind the end nothing comes.
        if self.early.back().is_some_and(Result::is_err)
            && let Some(Err(error)) = self.early.pop_back()
        {
            return error;
        }
        loop {
            match self.receive_new().await {
                Err(error) => return error,
                Ok(message) if self.early.len() < KEPT_EARLY => {
                    self.early.push_back(Ok(message));
                }
                Ok(message) => tracing::debug!(?message, "nothing was asked for"),
            }
        }
    }

    /// Waits for no acknowledgement of what was sent so far: the cloud drops it.
    pub(crate) fn forget_sent(&self) {
        // The permits take the uplink's lock; never both at once.
        let mut sent = self
            .on_the_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let permits = std::mem::take(&mut *sent);
        drop(sent);
        drop(permits);
    }

    /// Up to which position rows of an epoch are known to have arrived by the last Progress.
    pub(crate) fn received_in(&self, epoch: u32) -> Option<usize> {
        let received = self.received.lock();
        let (of, position) = *received.unwrap_or_else(PoisonError::into_inner);
        (of == epoch).then_some(position as usize)
    }

    /// Bytes that came down, prefixes included.
    pub(crate) fn down_bytes(&self) -> u64 {
        self.down_bytes.load(Ordering::Relaxed)
    }

    async fn why_ended(&mut self) -> CloudError {
        let early = self.early.drain(..).find_map(Result::err);
        if let Some(error) = early {
            return error;
        }
        loop {
            match self.down.recv().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error,
                None => return CloudError::Gone,
            }
        }
    }
}

impl Drop for SplitStream {
    fn drop(&mut self) {
        // A courtesy: the end of the stream says the same, a little later.
        let _ = self.up.try_send(v1::InferRequest {
            message: Some(infer_request::Message::Close(v1::Close {})),
        });
    }
}

async fn read(
    client: &mut CloudClient,
    requests: mpsc::Receiver<v1::InferRequest>,
    responses: &mpsc::Sender<Result<infer_response::Message, CloudError>>,
    on_the_way: &Mutex<OnTheWay>,
    down_bytes: &AtomicU64,
    observer: &LinkObserver,
) -> Result<(), CloudError> {
    let mut stream = client
        .infer(ReceiverStream::new(requests))
        .await
        .map_err(|status| CloudError::of_call(&status))?
        .into_inner();
    let mut opening = true;
    while let Some(response) = stream
        .message()
        .await
        .map_err(|status| CloudError::of_stream(&status))?
    {
        let bytes = message_bytes(encoded_len(&response));
        down_bytes.fetch_add(bytes, Ordering::Relaxed);
        let Some(message) = response.message else {
            continue;
        };
        count_down(&message, bytes);
        match message {
            infer_response::Message::Progress(progress) => {
                opening = false;
                *observer
                    .received
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = (progress.epoch, progress.received);
                take_arrived(on_the_way, progress.received, |permit| {
                    let arrived = permit.acknowledge();
                    let choice = observer.link.choice();
                    choice.frame_acknowledged(arrived.bytes, arrived.load, arrived.taken);
                });
            }
            infer_response::Message::Pong(pong) => {
                observer.link.choice().pong(pong.nonce);
                if opening {
                    observer.ping();
                }
            }
            other => {
                match &other {
                    infer_response::Message::Granted(_) => {
                        observer.ping();
                    }
                    _ => opening = false,
                }
                if let infer_response::Message::Tokens(tokens) = &other {
                    // Nothing else answers a prompt's last row when it is alone in its frame. How
                    // long it took says nothing of the link: the token was computed meanwhile.
                    take_arrived(on_the_way, tokens.position, drop);
                }
                if responses.send(Ok(other)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    Err(CloudError::Gone)
}

/// What learns from the messages of a stream.
struct LinkObserver {
    link: Link,
    /// By the last Progress.
    received: Arc<Mutex<(u32, u32)>>,
    /// Does not keep the stream open.
    up: mpsc::WeakSender<v1::InferRequest>,
}

impl LinkObserver {
    /// Measures the round trip while the first rows are being computed.
    fn ping(&self) {
        if self.link.uplink().load().0 > 0 {
            return;
        }
        if let Some(up) = self.up.upgrade()
            && let Ok(place) = up.try_reserve()
            && let Some(ping) = self.link.choice().ping()
        {
            let message = infer_request::Message::Ping(ping);
            count_up(&message);
            place.send(v1::InferRequest {
                message: Some(message),
            });
        }
    }
}

/// Hands the permits of the frames whose rows end at `received` or before to `done`.
fn take_arrived(on_the_way: &Mutex<OnTheWay>, received: u32, mut done: impl FnMut(Permit)) {
    loop {
        let mut queue = on_the_way.lock().unwrap_or_else(PoisonError::into_inner);
        match queue.front() {
            Some(&(end, _)) if end <= received => {
                let arrived = queue.pop_front();
                // The permit takes the uplink's lock; never both at once.
                drop(queue);
                if let Some((_, permit)) = arrived {
                    done(permit);
                }
            }
            _ => return,
        }
    }
}

fn count_up(message: &infer_request::Message) -> SentBytes {
    let total = message_bytes(encoded_len(&v1::InferRequest {
        message: Some(message.clone()),
    }));
    let (frame, token_ids) = match message {
        infer_request::Message::Rows(rows) => (rows.frame.len() as u64, token_id_bytes(rows)),
        _ => (0, 0),
    };
    let up = |kind, bytes| WIRE_BYTES.counter(&["up", kind]).increment(bytes);
    up("frame", frame);
    up("token_ids", token_ids);
    up("control", total - frame - token_ids);
    SentBytes {
        total,
        frame,
        token_ids,
    }
}

fn count_down(message: &infer_response::Message, bytes: u64) {
    let kind = match message {
        infer_response::Message::Tokens(_) => "tokens",
        _ => "control",
    };
    WIRE_BYTES.counter(&["down", kind]).increment(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uplink::Uplink;

    #[tokio::test]
    async fn what_arrived_is_off_the_way_whatever_says_so() {
        let uplink = Uplink::new(1000);
        let on_the_way = Mutex::new(OnTheWay::new());
        for end in [64, 128, 129] {
            let permit = uplink.acquire(1000).await.unwrap();
            on_the_way.lock().unwrap().push_back((end, permit));
        }
        let acknowledge = |permit: Permit| {
            permit.acknowledge();
        };
        take_arrived(&on_the_way, 127, acknowledge);
        assert_eq!(uplink.load().0, 2000);
        take_arrived(&on_the_way, 128, acknowledge);
        assert_eq!(uplink.load().0, 1000);
        // The token behind a last row that was alone in its frame: no Progress answers that.
        take_arrived(&on_the_way, 129, drop);
        assert_eq!(uplink.load().0, 0);
    }
}
