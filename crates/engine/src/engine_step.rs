//! What an engine says of each of its steps.

use std::time::Duration;

/// A step of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineStep {
    /// Rows of sessions that wait for a token.
    pub decode_rows: usize,
    /// Those of them that are behind their session's first: rows of drafts.
    pub draft_rows: usize,
    /// Rows of prompts.
    pub prefill_rows: usize,
    /// What it took.
    pub took: Duration,
}

impl EngineStep {
    /// What metrics call it: `decode`, `prefill`, or `mixed` where it has rows of both.
    pub fn kind(&self) -> &'static str {
        match (self.decode_rows, self.prefill_rows) {
            (_, 0) => "decode",
            (0, _) => "prefill",
            _ => "mixed",
        }
    }
}
