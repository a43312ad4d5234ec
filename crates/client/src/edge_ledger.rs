//! The edge's book-keeping of one session: which rows it has sent, which tokens it knows, and what a message of the cloud
//! means. Pure, and the counterpart of [`tandem_engine::Ledger`]; `docs/protocol.md` has the rules of both.

/// What is known of a session's positions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct EdgeLedger {
    epoch: u32,
    /// Tokens whose rows were sent, by position: known ones, and drafts behind them.
    tokens: Vec<u32>,
    /// Rows below this position have arrived for sure, and stand.
    arrived: usize,
    /// The position of the next token to come, while one is waited for.
    awaited: Option<usize>,
    /// Positions that it was opened with, until the cloud has said how many of them it has.
    believed: Option<usize>,
}

/// The beginning of an epoch, as `Truncate` and `Resume` say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Cut {
    /// Later than all epochs that were used.
    pub(crate) epoch: u32,
    /// Positions kept.
    pub(crate) position: usize,
}

/// What tokens say of the rows that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Took {
    /// Drafts that were the token, and whose rows stand.
    pub(crate) accepted: usize,
    /// Whether the rows behind the last of them are worthless, and the cloud drops them as well: they follow a draft that
    /// was not the token, or the answer ends. A new epoch has begun then.
    pub(crate) cuts: bool,
}

/// A token of the cloud that was not asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unasked {
    /// At another position.
    #[error("a token of position {found}, not {asked}")]
    Position {
        /// The message's.
        found: usize,
        /// Of the one that is waited for.
        asked: usize,
    },
    /// Nothing is waited for.
    #[error("a token, where none was wanted")]
    Nothing,
    /// None, or more than there are rows.
    #[error("{tokens} tokens behind {rows} rows")]
    Count {
        /// The message's.
        tokens: usize,
        /// That wanted one each.
        rows: usize,
    },
    /// Tokens behind a draft that was not the token.
    #[error("tokens behind a draft that is not the token of position {position}")]
    BehindDraft {
        /// Of the draft.
        position: usize,
    },
}

impl EdgeLedger {
    /// A session that is to begin with the rows of these tokens, which the cloud is believed to have.
    pub(crate) fn beginning(tokens: Vec<u32>) -> Self {
        Self {
            epoch: 0,
            arrived: tokens.len(),
            believed: (!tokens.is_empty()).then_some(tokens.len()),
            tokens,
            awaited: None,
        }
    }

    /// The current epoch.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The tokens whose rows were sent, by position.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Whether the cloud has not said yet what it has of what the session is to begin with.
    pub(crate) fn believes(&self) -> bool {
        self.believed.is_some()
    }

    /// Rows on their way of tokens that are not known.
    pub(crate) fn drafts(&self) -> usize {
        match self.awaited {
            Some(awaited) => self.tokens.len().saturating_sub(awaited),
            None => 0,
        }
    }

    /// Whether the row of the last token is not on its way yet.
    pub(crate) fn lacks_row(&self) -> bool {
        self.awaited
            .is_some_and(|awaited| self.tokens.len() < awaited)
    }

    /// Takes note of tokens of which the rows go up, behind the others. No more behind a draft that was not the token.
    pub(crate) fn send(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
    }

    /// The token behind the last row is waited for: of a prompt, or of a known token.
    pub(crate) fn wants_token(&mut self) {
        self.awaited = Some(self.tokens.len());
    }

    /// Keeps the positions below `position`, of those whose tokens are known.
    pub(crate) fn truncate(&mut self, position: usize) -> Cut {
        // The cloud may have begun an epoch of its own, where a draft was not the token.
        self.epoch += if self.drafts() > 0 { 2 } else { 1 };
        self.cut(position);
        self.awaited = None;
        Cut {
            epoch: self.epoch,
            position: self.tokens.len(),
        }
    }

    /// Goes on in another stream, with the rows that have arrived for sure, at most so many.
    pub(crate) fn resume(&mut self, most: usize) -> Cut {
        self.truncate(self.arrived.min(most))
    }

    /// The cloud has so many positions of those that the session was to begin with. Where that is not all, they are
    /// returned, and the session goes on from there in an epoch of its own: what was sent is dropped.
    pub(crate) fn granted(&mut self, positions: usize) -> Option<usize> {
        let believed = self.believed.take()?;
        let held = positions.min(believed);
        (held < believed).then(|| {
            self.epoch = 1;
            self.cut(held);
            self.awaited = None;
            held
        })
    }

    /// Rows of an epoch have arrived.
    pub(crate) fn progress(&mut self, epoch: u32, received: usize) {
        if epoch == self.epoch {
            let known = self.tokens.len() - self.drafts();
            self.arrived = self.arrived.max(received.min(known));
        }
    }

    /// Takes note of tokens of the current epoch, the first of them at `position`.
    ///
    /// # Errors
    /// When they were not asked for.
    pub(crate) fn took(
        &mut self,
        position: usize,
        ids: &[u32],
        ends: bool,
    ) -> Result<Took, Unasked> {
        let asked = self.awaited.ok_or(Unasked::Nothing)?;
        if position != asked {
            let found = position;
            return Err(Unasked::Position { found, asked });
        }
        let rows = self.tokens.len() + 1 - asked;
        let (last, before) = match ids.split_last() {
            Some(split) if ids.len() <= rows => split,
            _ => {
                let tokens = ids.len();
                return Err(Unasked::Count { tokens, rows });
            }
        };
        let drafts = &self.tokens[asked..];
        let mut pairs = before.iter().zip(drafts);
        if let Some(wrong) = pairs.position(|(token, draft)| token != draft) {
            let position = asked + wrong;
            return Err(Unasked::BehindDraft { position });
        }
        let draft = drafts.get(before.len());
        let stands = draft == Some(last) && !ends;
        let took = Took {
            accepted: before.len() + usize::from(stands),
            cuts: draft.is_some() && !stands,
        };
        let position = asked + before.len();
        self.arrived = position;
        if took.cuts {
            self.epoch += 1;
            self.cut(position);
        }
        self.awaited = (!ends).then_some(position + 1);
        Ok(took)
    }

    fn cut(&mut self, position: usize) {
        self.tokens.truncate(position);
        self.arrived = self.arrived.min(self.tokens.len());
    }
}

#[cfg(test)]
mod model_check;
