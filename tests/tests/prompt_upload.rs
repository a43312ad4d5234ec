//! How prompts go up, and what they leave behind.

use std::time::Duration;
use tandem_tests::client::Client;
use tandem_tests::paths::fixtures;
use tandem_tests::process::{Pair, PairOptions, ServerOptions};

/// A prompt's last row may be alone in its frame, and only its token answers it. Bytes of it that
/// still counted as on the way would shut the window little by little: they last as long as their
/// conversation, and here 300 of them are kept.
#[tokio::test]
async fn prompts_leave_nothing_on_the_way_that_later_ones_would_wait_for() {
    let model = fixtures().join("models/llama-gqa-llama3-tied");
    // Three rows of 260 bytes a frame: 64 rows are 21 frames and one of a single row.
    let edge = ServerOptions::default().config("{prefill: {frame: 1KiB}, sessions: {max: 400}}");
    let cloud = ServerOptions::default().config("{sessions: {max: 400}}");
    let options = PairOptions::default().edge(edge).cloud(cloud);
    let pair = Pair::start(&model, 1, options).await.unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    for first in 0..300 {
        let prompt: Vec<u32> = (0..64).map(|i| (first + 5 * i) % 320).collect();
        let answer = tokio::time::timeout(Duration::from_secs(20), client.greedy(&prompt, 1)).await;
        let answer = answer
            .unwrap_or_else(|_| panic!("prompt {first} waits for ever"))
            .unwrap();
        assert_eq!(answer.started.reused_tokens, 0);
    }
}
