//! Which rows of a session are run, where some are of drafts.

use crate::run::RunToken;

/// What a session's rows follow, in the order in which they are run. Rows that were sent behind a draft that was not the
/// token are of an epoch that has ended with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Standing {
    epoch: u32,
    /// The last token sampled: its position, its id, and whether it ends the answer.
    last: Option<(usize, u32, bool)>,
}

impl Standing {
    /// Whether rows of an epoch are run. Where each is to be of the token before it, `first` says of what the first one is.
    pub fn runs(&self, epoch: u32, start: usize, first: Option<u32>) -> bool {
        let goes_on = match (self.last, first) {
            (Some((position, id, ends)), Some(first)) if position == start => id == first && !ends,
            _ => true,
        };
        epoch >= self.epoch && goes_on
    }

    /// Takes note of a token.
    pub fn sampled(&mut self, token: &RunToken) {
        self.last = Some((token.position, token.id, token.finish.is_some()));
    }

    /// The rows of an epoch that are left are worthless.
    pub fn drops(&mut self, epoch: u32) {
        self.epoch = self.epoch.max(epoch.saturating_add(1));
    }

    /// An epoch begins behind `position`.
    pub fn truncate(&mut self, epoch: u32, position: usize) {
        self.epoch = epoch;
        self.last = self.last.filter(|&(at, ..)| at <= position);
    }
}
