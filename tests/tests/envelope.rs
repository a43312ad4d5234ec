//! What crosses the link, counted by the link.

use std::time::Duration;
use tandem_tests::client::Client;
use tandem_tests::link::LinkProfile;
use tandem_tests::paths::default_model;
use tandem_tests::process::{Pair, PairOptions};

const HIDDEN: u64 = 576;

#[tokio::test]
async fn a_decode_row_costs_at_most_forty_bytes_beyond_its_values() {
    for (codec, value_bytes) in [("f32", 4), ("bf16", 2)] {
        // One row a message.
        let edge = ["--codec", codec, "--drafts", "0"];
        let edge = tandem_tests::process::ServerOptions::default().args(edge);
        let options = PairOptions::default()
            .link(LinkProfile::unshaped())
            .edge(edge);
        let pair = Pair::start(&default_model(), 10, options).await.unwrap();
        let client = Client::connect(&pair.edge.url()).await.unwrap();
        let prompt: Vec<u32> = (1000..1100).collect();
        // The same prompt twice: the second answer's bytes up are one prompt row and decode rows.
        client.greedy(&prompt, 2).await.unwrap();
        let idle = pair.link().take_counters();
        assert!(idle.total.up.sent > 0);
        let answer = client.greedy(&prompt, 101).await.unwrap();
        let counted = pair.link().take_counters().total.up.sent;
        assert_eq!(answer.wire().rows, 101);
        let control = answer.wire().up_bytes - answer.wire().frame_bytes;
        let envelope = counted as f64 / 101.0 - (HIDDEN * value_bytes) as f64;
        println!("{codec}: {envelope:.1} bytes a row beyond its values; gRPC's part {control}");
        assert!(envelope <= 40.0, "{codec}: {envelope:.1} bytes a row");
        let bits = answer.wire().bits_per_value;
        assert!(
            (bits - 8.0 * (value_bytes as f64 + 4.0 / HIDDEN as f64)).abs() < 1e-6,
            "{bits}"
        );
    }
}

#[tokio::test]
async fn opening_a_session_costs_no_round_trip_of_its_own() {
    let link = LinkProfile::new(Duration::from_millis(300), None);
    let options = PairOptions::default().link(link);
    let pair = Pair::start(&default_model(), 10, options).await.unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    client.greedy(&[1, 2, 3], 1).await.unwrap();
    let answer = client.greedy(&[400, 500, 600], 1).await.unwrap();
    assert_eq!(answer.started.reused_tokens, 0);
    let ttft = answer.finished.timings.unwrap().ttft_seconds;
    assert!(
        ttft < 2.0 * 0.3,
        "{ttft} s: more than one round trip of 0.3 s"
    );
}
