//! The codec follows the link within a session, and no further than it may.

use std::time::Duration;
use tandem_proto::v1::{self, generate_response::Event};
use tandem_tests::client::{Client, ids_request};
use tandem_tests::link::{LinkProfile, Rate};
use tandem_tests::paths::default_model;
use tandem_tests::process::{Metrics, Pair, PairOptions, ServerOptions};

const SPLIT: u32 = 10;
const SWITCHES: &str = "tandem_edge_codec_switches_total";
/// Tokens before the link's rate falls, and after.
const BEFORE: usize = 30;
const AFTER: usize = 30;

/// An answer in whose middle the link falls from 20 to 0.1 Mbit/s, and what the edge counted.
async fn answer_on_a_falling_link(floor: &str) -> (v1::Finished, Metrics, String) {
    let link = |rate| LinkProfile::new(Duration::from_millis(20), Some(rate));
    // One row a token, to count rows by tokens.
    let edge = ["--codec", "bf16", "--adapt-floor", floor, "--drafts", "0"];
    let edge = ServerOptions::default().args(edge);
    let options = PairOptions::default().edge(edge).link(link(Rate::mbit(20)));
    let pair = Pair::start(&default_model(), SPLIT, options).await.unwrap();
    let mut client = Client::connect(&pair.edge.url()).await.unwrap();
    let prompt: Vec<u32> = (0..16).map(|i| (i * 7919) % 49_000).collect();
    let tokens = u32::try_from(BEFORE + AFTER).unwrap();
    let request = ids_request(&prompt, tokens);
    let mut stream = client.raw().generate(request).await.unwrap().into_inner();
    let (mut seen, mut text) = (0, String::new());
    loop {
        let event = tokio::time::timeout(Duration::from_secs(60), stream.message()).await;
        let event = event.expect("an event in time").unwrap();
        match event.and_then(|response| response.event) {
            Some(Event::Started(_) | Event::Step(_)) => {}
            Some(Event::Delta(delta)) => {
                text.push_str(&delta.text);
                seen += delta.token_ids.len();
                if seen == BEFORE {
                    pair.link().set_profile(link(Rate::kbit(100)));
                }
            }
            Some(Event::Finished(finished)) => {
                assert_eq!(finished.completion_tokens, tokens);
                return (finished, pair.edge.metrics().await.unwrap(), text);
            }
            None => panic!("an answer without an end"),
        }
    }
}

fn rows(finished: &v1::Finished, codec: &str) -> u64 {
    let wire = finished.wire.as_ref().unwrap();
    let of = wire.codecs.iter().filter(|usage| usage.codec == codec);
    of.map(|usage| usage.rows).sum()
}

#[tokio::test]
async fn a_link_that_falls_is_answered_with_a_smaller_codec_within_ten_tokens() {
    let (finished, metrics, text) = answer_on_a_falling_link("balanced").await;
    let wire = finished.wire.as_ref().unwrap();
    let prompt_and_tokens = 16 + (BEFORE + AFTER - 1) as u64;
    assert_eq!(
        wire.codecs.iter().map(|used| used.rows).sum::<u64>(),
        prompt_and_tokens
    );
    assert_eq!(
        wire.codecs.iter().map(|used| used.frame_bytes).sum::<u64>(),
        wire.frame_bytes
    );
    // All rows from the eleventh token after the fall on are written in the floor, and none in less.
    let balanced = rows(&finished, "balanced");
    assert!(balanced >= (AFTER - 11) as u64, "{:?}", wire.codecs);
    assert_eq!(rows(&finished, "economy"), 0);
    assert!(!text.is_empty());
    assert!(metrics.sum_with(SWITCHES, &[("to", "balanced")]) >= 1.0);
    assert_eq!(metrics.sum_with(SWITCHES, &[("to", "economy")]), 0.0);
    let round_trip = metrics.sum("tandem_edge_link_round_trip_seconds");
    assert!((0.02..0.2).contains(&round_trip), "{round_trip}");
    let rate = metrics.sum("tandem_edge_link_rate_bytes_per_second");
    assert!((2_000.0..25_000.0).contains(&rate), "{rate}");
}

#[tokio::test]
async fn without_a_floor_the_codec_stays() {
    let (finished, metrics, _) = answer_on_a_falling_link("off").await;
    let wire = finished.wire.as_ref().unwrap();
    assert_eq!(rows(&finished, "bf16"), wire.rows);
    assert_eq!(wire.codecs.len(), 1);
    assert_eq!(metrics.sum(SWITCHES), 0.0);
    assert_eq!(metrics.sum("tandem_edge_link_round_trip_seconds"), 0.0);
}
