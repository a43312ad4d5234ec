//! Measures the link in-band: over the connection that sessions use, by the messages they use.
//!
//! The round trip is what a Ping of no padding takes. A rate comes from a train of padded ones, sent back
//! to back on an idle link: the last answer arrives a round trip after the first byte left, and as much
//! later as the train's bytes take to pass the narrowest place. How bytes are cut into packets on the way
//! does not matter then. Small trains come first and grow until they can be timed, so that a slow link is
//! not filled for long, and several are timed, for a link is not the same twice.

use std::time::{Duration, Instant};
use tandem_client::{CloudError, Link};
use tandem_planner::{LinkProfile, Quantiles};
use tandem_proto::v1::{self, infer_request, infer_response};
use tandem_wire::{MAX_PING_PADDING, PROTOCOL_VERSION};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// Pings of no padding, of which the first is not counted.
const PINGS: usize = 16;
/// Pings of a train.
const TRAIN: usize = 5;
/// Trains of the final size, each way.
const TRAINS: usize = 7;
/// The padding to begin with, in bytes.
const FIRST_PADDING: usize = 1 << 10;
/// A train this long is timed well enough.
const LONG_ENOUGH: Duration = Duration::from_millis(60);
/// A train of the largest padding that is faster says only that the link is no matter.
const TOO_FAST: Duration = Duration::from_millis(3);
/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes around a Ping's padding: HTTP/2's and gRPC's headers, and its other fields.
const OVERHEAD: usize = 28;

/// The link cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The cloud cannot be reached, or refuses the probe's session.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// A ping was not answered.
    #[error("the cloud did not answer a Ping")]
    Silent,
    /// No round trip could be timed.
    #[error("the link could not be measured")]
    Unmeasured,
}

/// Measures round trip and rates.
///
/// # Errors
/// The cloud does not answer, or refuses the probe's session.
pub async fn probe(link: &Link, open: v1::Open) -> Result<LinkProfile, ProbeError> {
    let mut probe = Probe::open(link, open).await?;
    let mut round_trips = Vec::new();
    for number in 0..PINGS {
        let began = Instant::now();
        probe.ping(0, 0).await?;
        probe.pong().await?;
        if number > 0 {
            round_trips.push(began.elapsed().as_secs_f64());
        }
    }
    let round_trip = Quantiles::of(round_trips).ok_or(ProbeError::Unmeasured)?;
    let median = Duration::from_secs_f64(round_trip.median());
    Ok(LinkProfile {
        up: probe.rates(Direction::Up, median).await?,
        down: probe.rates(Direction::Down, median).await?,
        round_trip,
    })
}

/// The message that opens a session to probe with: the least that the cloud grants.
pub fn opening(cloud: &v1::DescribeBackResponse) -> v1::Open {
    let model = cloud.model.clone().unwrap_or_default();
    v1::Open {
        versions: Some(v1::VersionRange {
            min: PROTOCOL_VERSION,
            max: PROTOCOL_VERSION,
        }),
        weights_fingerprint: model.weights_fingerprint,
        files_fingerprint: model.files_fingerprint,
        tokenizer_fingerprint: model.tokenizer_fingerprint,
        split: cloud.first_layer,
        codecs: cloud.codecs.first().cloned().into_iter().collect(),
        session_id: rand::random::<[u8; 16]>().to_vec(),
        context: 1,
        ..v1::Open::default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

struct Probe {
    up: mpsc::Sender<v1::InferRequest>,
    down: Streaming<v1::InferResponse>,
    nonce: u64,
}

impl Probe {
    async fn open(link: &Link, open: v1::Open) -> Result<Self, ProbeError> {
        let (up, requests) = mpsc::channel(2 * TRAIN);
        let opening = v1::InferRequest {
            message: Some(infer_request::Message::Open(open)),
        };
        // The channel is new and has room.
        let _ = up.try_send(opening);
        let mut client = link.client();
        let infer = client.infer(ReceiverStream::new(requests));
        let response = tokio::time::timeout(PATIENCE, infer)
            .await
            .map_err(|_| ProbeError::Silent)?
            .map_err(|status| CloudError::of_call(&status))?;
        Ok(Self {
            up,
            down: response.into_inner(),
            nonce: 0,
        })
    }

    async fn ping(&mut self, padding: usize, reply_bytes: usize) -> Result<(), ProbeError> {
        self.nonce += 1;
        let ping = v1::Ping {
            nonce: self.nonce,
            padding: vec![0; padding],
            reply_bytes: u32::try_from(reply_bytes).unwrap_or(0),
        };
        let message = v1::InferRequest {
            message: Some(infer_request::Message::Ping(ping)),
        };
        match self.up.send(message).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.pong().await.err().unwrap_or(ProbeError::Silent)),
        }
    }

    /// The next answer's padding. Other messages are not for a probe.
    async fn pong(&mut self) -> Result<usize, ProbeError> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.down.message())
                .await
                .map_err(|_| ProbeError::Silent)?
                .map_err(|status| CloudError::of_call(&status))?
                .ok_or(ProbeError::Silent)?;
            if let Some(infer_response::Message::Pong(pong)) = message.message {
                return Ok(pong.padding.len());
            }
        }
    }

    /// How long a train takes to pass, beyond a round trip; `None` when answers come without the filler
    /// that was asked for.
    async fn train(
        &mut self,
        direction: Direction,
        padding: usize,
        round_trip: Duration,
    ) -> Result<Option<Duration>, ProbeError> {
        let (up, reply) = match direction {
            Direction::Up => (padding, 0),
            Direction::Down => (0, padding),
        };
        let began = Instant::now();
        for _ in 0..TRAIN {
            self.ping(up, reply).await?;
        }
        let mut filler = 0;
        for _ in 0..TRAIN {
            filler = self.pong().await?;
        }
        let took = began.elapsed().saturating_sub(round_trip);
        Ok((direction == Direction::Up || filler == padding).then_some(took))
    }

    /// Bytes a second; `None` where the link is too fast for it to matter, or the cloud sends no filler.
    async fn rates(
        &mut self,
        direction: Direction,
        round_trip: Duration,
    ) -> Result<Option<Quantiles>, ProbeError> {
        let mut padding = FIRST_PADDING;
        loop {
            let Some(took) = self.train(direction, padding, round_trip).await? else {
                return Ok(None);
            };
            if took >= LONG_ENOUGH.max(round_trip) {
                break;
            }
            if padding == MAX_PING_PADDING {
                if took < TOO_FAST {
                    return Ok(None);
                }
                break;
            }
            padding = (2 * padding).min(MAX_PING_PADDING);
        }
        let bytes = (TRAIN * (padding + OVERHEAD)) as f64;
        let mut rates = Vec::new();
        for _ in 0..TRAINS {
            if let Some(took) = self.train(direction, padding, round_trip).await? {
                rates.push(bytes / took.as_secs_f64().max(1e-9));
            }
        }
        Ok(Quantiles::of(rates))
    }
}
