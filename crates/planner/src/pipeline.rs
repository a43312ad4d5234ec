//! How long a prompt takes: edge, link and cloud work on its parts at the same time.
//!
//! The edge computes chunk after chunk. A chunk's rows leave in frames, one behind the other on the
//! link. The cloud runs what has arrived and waits, up to a number of rows at once. Each of the three
//! begins a part when it has finished the one before and the part is there:
//!
//! ```text
//! edge   [chunk 1][chunk 2][chunk 3]
//! link            [f][f]   [f][f]   [f][f]
//! cloud               [1]     [2..3]    [4..6, head]
//! ```

use crate::estimate::{MESSAGE_OVERHEAD, Parts};
use crate::link::Link;

/// Token ids of a prompt that one message carries where no layer runs on the edge.
const IDS_A_MESSAGE: usize = 128;

/// What a prompt takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FirstToken {
    /// Seconds from the prompt to its first token.
    pub(crate) seconds: f64,
    /// Of them, those that the cloud computed.
    pub(crate) cloud_seconds: f64,
}

/// A frame: its rows, and when it reaches the cloud.
struct Arrival {
    rows: usize,
    at: f64,
}

pub(crate) fn first_token(parts: &Parts<'_>, link: Link) -> FirstToken {
    let arrivals = arrivals(parts, link);
    let cloud = &parts.problem.cloud;
    let (mut free, mut busy, mut position) = (0.0f64, 0.0, 0);
    let mut waiting = arrivals.iter().peekable();
    while let Some(first) = waiting.next() {
        let begins = free.max(first.at) + cloud.queue_seconds;
        let mut rows = first.rows;
        while let Some(next) =
            waiting.next_if(|next| next.at <= begins && rows + next.rows <= cloud.merged_rows)
        {
            rows += next.rows;
        }
        let takes = parts.cloud_seconds(rows, position, waiting.peek().is_none());
        busy += takes;
        free = begins + takes;
        position += rows;
    }
    FirstToken {
        seconds: free + link.round_trip / 2.0 + MESSAGE_OVERHEAD / link.down,
        cloud_seconds: busy,
    }
}

fn arrivals(parts: &Parts<'_>, link: Link) -> Vec<Arrival> {
    let workload = &parts.problem.workload;
    let (chunk, row_bytes) = match parts.split {
        0 => (IDS_A_MESSAGE, parts.row_bytes(false)),
        _ => (workload.chunk_rows.max(1), parts.row_bytes(false)),
    };
    let rows_a_frame = match parts.split {
        0 => IDS_A_MESSAGE,
        _ => ((workload.frame_bytes as f64 / row_bytes) as usize).clamp(1, chunk),
    };
    let mut arrivals = Vec::new();
    let (mut position, mut computed, mut link_free) = (0, 0.0, 0.0f64);
    while position < workload.prompt_tokens {
        let rows = chunk.min(workload.prompt_tokens - position);
        computed += parts.edge_seconds(rows, position);
        position += rows;
        let mut left = rows;
        while left > 0 {
            let rows = left.min(rows_a_frame);
            left -= rows;
            let bytes = rows as f64 * row_bytes + MESSAGE_OVERHEAD;
            link_free = link_free.max(computed) + bytes / link.up;
            arrivals.push(Arrival {
                rows,
                at: link_free + link.round_trip / 2.0,
            });
        }
    }
    arrivals
}
