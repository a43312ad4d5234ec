//! A session whose stream broke, taken up again by another one.

use super::{Session, position};
use crate::stream::SplitStream;
use std::time::Duration;
use tandem_proto::v1;

impl Session {
    /// How long the cloud keeps it after its stream broke; zero for not at all.
    pub(crate) fn lease(&self) -> Duration {
        // Where the cloud has fewer pages than were offered, what it has is not known until it says so.
        if self.ledger.believes() {
            Duration::ZERO
        } else {
            self.lease
        }
    }

    /// Opens another stream for it, with the rows of which the cloud is known to have them. Does not wait for the cloud:
    /// an answer may begin with what is in [`Session::tokens`] then.
    pub(crate) fn resume(&mut self, most: usize) {
        let epoch = self.ledger.epoch();
        if let Some(received) = self.stream.received_in(epoch) {
            self.ledger.progress(epoch, received);
        }
        let cut = self.ledger.resume(most);
        let open = v1::Open {
            resume: Some(v1::Resume {
                epoch: cut.epoch,
                position: position(cut.position),
            }),
            ..self.again_as.clone()
        };
        (self.stream, self.opening) = SplitStream::open(&self.link, open);
        self.draining = false;
        self.begins_short = None;
    }
}
