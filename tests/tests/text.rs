//! What clients see of the text: whole characters, and nothing of a stop string.

use tandem_proto::v1::{self, generate_request, tokenize_request};
use tandem_tests::client::{Answer, Client, greedy_parameters, text_request};
use tandem_tests::paths::default_model;
use tandem_tests::process::{Pair, PairOptions};

const CRABS: &str = "🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀";

async fn pair() -> (Pair, Client) {
    let pair = Pair::start(&default_model(), 10, PairOptions::default())
        .await
        .unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    (pair, client)
}

async fn tokenize(client: &Client, text: &str) -> Vec<u32> {
    let input = Some(tokenize_request::Input::Text(text.to_owned()));
    let mut client = client.clone();
    let request = v1::TokenizeRequest { input };
    client
        .raw()
        .tokenize(request)
        .await
        .unwrap()
        .into_inner()
        .ids
}

/// A request whose answer is made of the pieces of one emoji alone: the prompt says in which order.
async fn crabs(client: &Client, max_tokens: u32) -> v1::GenerateRequest {
    let mut pieces = tokenize(client, CRABS).await;
    pieces.sort_unstable();
    pieces.dedup();
    let bias = |token_id| v1::LogitBias {
        token_id,
        bias: 100.0,
    };
    let mut request = text_request(CRABS, max_tokens);
    request.sampling = Some(v1::SamplingParameters {
        logit_bias: pieces.into_iter().map(bias).collect(),
        ..greedy_parameters()
    });
    request
}

#[tokio::test]
async fn no_delta_splits_a_character() {
    let (_pair, client) = pair().await;
    let pieces = tokenize(&client, "🦀").await.len();
    assert!(pieces > 1, "the emoji is one token, and nothing is tested");
    let answer = client.generate(crabs(&client, 24).await).await.unwrap();
    let whole = 24 / pieces;
    assert_eq!(answer.text(), "🦀".repeat(whole));
    assert_eq!(answer.pieces.len(), 24, "a Delta a token");
    for piece in &answer.pieces {
        assert!(piece.chars().all(|c| c == '🦀'), "{piece:?}");
    }
    let silent = answer.pieces.iter().filter(|p| p.is_empty()).count();
    assert_eq!(silent, 24 - whole, "{:?}", answer.pieces);
}

#[tokio::test]
async fn a_character_that_never_ends_is_replaced_at_the_end_and_not_before() {
    let (_pair, client) = pair().await;
    let pieces = tokenize(&client, "🦀").await;
    let mut request = crabs(&client, 5).await;
    // The first piece again and again: no character among them.
    let sampling = request.sampling.as_mut().unwrap();
    sampling.logit_bias.retain(|b| b.token_id == pieces[0]);
    let answer = client.generate(request).await.unwrap();
    assert_eq!(answer.ids, [pieces[0]; 5]);
    let (last, before) = answer.pieces.split_last().unwrap();
    assert!(last.ends_with('\u{fffd}'), "{:?}", answer.pieces);
    let text = before.concat();
    assert!(text.chars().all(|c| c == '\u{fffd}'), "{text:?}");
}

/// Everything that was streamed, after each Delta.
fn prefixes(answer: &Answer) -> Vec<String> {
    let grow = |text: &mut String, piece: &String| {
        text.push_str(piece);
        Some(text.clone())
    };
    answer.pieces.iter().scan(String::new(), grow).collect()
}

async fn stops_cleanly(client: &Client, request: &v1::GenerateRequest, whole: &str, stop: &str) {
    let at = whole.find(stop).expect("a part of the text");
    let mut request = request.clone();
    request.stop = vec![stop.to_owned()];
    let answer = client.generate(request).await.unwrap();
    assert_eq!(answer.text(), &whole[..at], "stop {stop:?}");
    for text in prefixes(&answer) {
        assert!(whole[..at].starts_with(&text), "stop {stop:?}: {text:?}");
    }
    assert_eq!(answer.finished.stop, stop);
    assert_eq!(answer.finished.finish_reason(), v1::FinishReason::Stop);
}

#[tokio::test]
async fn nothing_of_a_stop_string_is_streamed_wherever_it_is_cut() {
    let (_pair, client) = pair().await;
    let request = text_request("The history of the Roman Empire begins with", 24);
    let full = client.generate(request.clone()).await.unwrap();
    let whole = full.text();
    assert!(matches!(
        request.input,
        Some(generate_request::Input::Prompt(_))
    ));
    // Every 13 characters that begin somewhere in the middle: they begin and end inside tokens,
    // and run across several.
    for start in (20..60).step_by(7) {
        stops_cleanly(&client, &request, &whole, &whole[start..start + 13]).await;
    }
    // One that nearly comes is held back and then given.
    for start in [20, 33, 47] {
        let mut nearly = request.clone();
        nearly.stop = vec![format!("{}\u{1}", &whole[start..start + 9])];
        let answer = client.generate(nearly).await.unwrap();
        assert_eq!(answer.text(), whole);
        assert_eq!(answer.finished.finish_reason(), v1::FinishReason::Length);
    }
    let request = crabs(&client, 24).await;
    let whole = client.generate(request.clone()).await.unwrap().text();
    stops_cleanly(&client, &request, &whole, "🦀🦀🦀").await;
}
