//! What an answer has cost: bytes, rows and time.

use std::time::Duration;
use tandem_codec::Codec;

/// What an answer has cost so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Message bytes up.
    pub up: u64,
    /// Message bytes down.
    pub down: u64,
    /// Frame bytes up.
    pub frame: u64,
    /// Token id bytes up.
    pub token_ids: u64,
    /// Rows sent.
    pub rows: u64,
    /// Rows of drafts among them.
    pub drafted: u64,
    /// Those of them that were the token.
    pub accepted: u64,
    /// All rows and their frames' bytes, in the order of [`Codec::ALL`].
    pub codecs: [CodecUsage; Codec::ALL.len()],
    /// Front layers and encoding.
    pub edge_compute: Duration,
    /// Of it, encoding.
    pub encode: Duration,
    /// From sending rows to their token, less what the cloud says it queued and computed.
    pub link: Duration,
    /// Back layers, by the cloud's clock.
    pub cloud_compute: Duration,
    /// Waiting for the cloud's engine, by the cloud's clock.
    pub cloud_queue: Duration,
}

/// What went up in one codec.
#[derive(Debug, Clone, Copy, Default)]
pub struct CodecUsage {
    /// Rows.
    pub rows: u64,
    /// Bytes of their frames.
    pub frame: u64,
}

impl Usage {
    /// Adds what another session has cost.
    pub fn add(&mut self, other: &Self) {
        self.up += other.up;
        self.down += other.down;
        self.frame += other.frame;
        self.token_ids += other.token_ids;
        self.rows += other.rows;
        self.drafted += other.drafted;
        self.accepted += other.accepted;
        for (own, other) in self.codecs.iter_mut().zip(&other.codecs) {
            own.rows += other.rows;
            own.frame += other.frame;
        }
        self.edge_compute += other.edge_compute;
        self.encode += other.encode;
        self.link += other.link;
        self.cloud_compute += other.cloud_compute;
        self.cloud_queue += other.cloud_queue;
    }

    /// What was added since `earlier` in the same answer.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut codecs = self.codecs;
        for (own, before) in codecs.iter_mut().zip(&earlier.codecs) {
            own.rows = own.rows.saturating_sub(before.rows);
            own.frame = own.frame.saturating_sub(before.frame);
        }
        Self {
            up: self.up.saturating_sub(earlier.up),
            down: self.down.saturating_sub(earlier.down),
            frame: self.frame.saturating_sub(earlier.frame),
            token_ids: self.token_ids.saturating_sub(earlier.token_ids),
            rows: self.rows.saturating_sub(earlier.rows),
            drafted: self.drafted.saturating_sub(earlier.drafted),
            accepted: self.accepted.saturating_sub(earlier.accepted),
            codecs,
            edge_compute: self.edge_compute.saturating_sub(earlier.edge_compute),
            encode: self.encode.saturating_sub(earlier.encode),
            link: self.link.saturating_sub(earlier.link),
            cloud_compute: self.cloud_compute.saturating_sub(earlier.cloud_compute),
            cloud_queue: self.cloud_queue.saturating_sub(earlier.cloud_queue),
        }
    }

    /// The codec that most rows went up in.
    pub fn codec(&self) -> Option<Codec> {
        let used = self.codecs.iter().zip(Codec::ALL);
        let most = used.max_by_key(|(used, _)| used.rows)?;
        (most.0.rows > 0).then_some(most.1)
    }

    /// Rows went up in a frame.
    pub fn add_rows(&mut self, codec: Codec, rows: usize, frame_bytes: usize) {
        self.rows += rows as u64;
        if let Some(at) = Codec::ALL.iter().position(|&known| known == codec) {
            self.codecs[at].rows += rows as u64;
            self.codecs[at].frame += frame_bytes as u64;
        }
    }

    /// Where the time went since `earlier` in the same answer, by the names that spans have for it.
    pub fn times_since(&self, earlier: &Self) -> [(&'static str, Duration); 5] {
        let since = |time: fn(&Self) -> Duration| time(self).saturating_sub(time(earlier));
        [
            (
                "tandem.front_seconds",
                since(|usage| usage.edge_compute.saturating_sub(usage.encode)),
            ),
            ("tandem.encode_seconds", since(|usage| usage.encode)),
            ("tandem.link_seconds", since(|usage| usage.link)),
            (
                "tandem.cloud_queue_seconds",
                since(|usage| usage.cloud_queue),
            ),
            (
                "tandem.cloud_compute_seconds",
                since(|usage| usage.cloud_compute),
            ),
        ]
    }
}
