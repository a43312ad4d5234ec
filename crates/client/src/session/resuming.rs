//! A session whose stream broke, taken up again by another one.

use super::{Session, position};
use crate::stream::SplitStream;
use std::time::Duration;
use tandem_proto::v1;

impl Session {
    /// How long the cloud keeps it after its stream broke; zero for not at all.
    pub(crate) fn lease(&self) -> Duration {
        // Where the cloud has fewer pages than were offered, what it has is not known until it says so.
        if self.believed.is_empty() {
            self.lease
        } else {
            Duration::ZERO
        }
    }

    /// Opens another stream for it, with the rows of which the cloud is known to have them. Does not wait for the cloud:
    /// an answer may begin with what is in [`Session::tokens`] then.
    pub(crate) fn resume(&mut self, most: usize) {
        if let Some(received) = self.stream.received_in(self.epoch) {
            self.arrived = self.arrived.max(received);
        }
        let kept = self.arrived.min(most).min(self.tokens.len());
        self.epoch += 1;
        let open = v1::Open {
            resume: Some(v1::Resume {
                epoch: self.epoch,
                position: position(kept),
            }),
            ..self.again_as.clone()
        };
        (self.stream, self.opening) = SplitStream::open(&self.link, open);
        self.tokens.truncate(kept);
        self.arrived = kept;
        self.draining = false;
        self.begins_short = None;
    }
}
