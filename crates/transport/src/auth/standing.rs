//! A call's token, for as long as the call lasts: a token that is taken out of the file ends the calls that
//! were let through by it.

use std::sync::Arc;

use super::tokens::{TokenDigest, Tokens};
use crate::reload::Reloaded;

/// What a call was let through by.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    tokens: Reloaded<Tokens>,
    digest: TokenDigest,
    owner: Arc<str>,
}

impl Standing {
    /// Of a token that is one of its owner's.
    pub(crate) fn new(tokens: Reloaded<Tokens>, digest: TokenDigest, owner: Arc<str>) -> Self {
        Self {
            tokens,
            digest,
            owner,
        }
    }

    /// Whose the token is.
    pub(crate) fn owner(&self) -> Arc<str> {
        Arc::clone(&self.owner)
    }

    /// Resolves when the token is its owner's no longer.
    pub(crate) async fn until_lost(self) {
        let mut changes = self.tokens.changes();
        loop {
            let owner = changes.borrow_and_update().owner_of(&self.digest);
            if owner.as_ref() != Some(&self.owner) || changes.changed().await.is_err() {
                return;
            }
        }
    }
}
