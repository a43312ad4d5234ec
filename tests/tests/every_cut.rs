//! The split run equals the unsplit run, token for token, at every cut.

use tandem_tests::client::Client;
use tandem_tests::paths::{default_model, fixtures};
use tandem_tests::process::{Server, ServerOptions};

/// A prompt longer than a chunk, so that chunks and frames are cut somewhere.
fn prompt(vocabulary: u32) -> Vec<u32> {
    (0..90).map(|i| (i * 37 + 11) % vocabulary).collect()
}

async fn equal_at_every_cut(model: &str, layers: u32, weights: &str) {
    equal_in(model, layers, weights, "auto").await;
}

async fn equal_in(model: &str, layers: u32, weights: &str, kv: &str) {
    let model = fixtures().join("models").join(model);
    let options = ServerOptions::default().args(["--weights", weights, "--kv", kv]);
    let cloud = Server::cloud(&model, options).await.unwrap();
    let prompt = prompt(300);
    let mut unsplit = None;
    for split in 0..=layers {
        let options = ServerOptions::default().args([
            "--codec",
            "f32",
            "--frame",
            "2KiB",
            "--weights",
            weights,
            "--kv",
            kv,
        ]);
        let edge = Server::edge(&model, &cloud.url(), split, options)
            .await
            .unwrap();
        let client = Client::connect(&edge.url()).await.unwrap();
        let answer = client.greedy(&prompt, 20).await.unwrap();
        assert_eq!(answer.ids.len(), 20);
        let rows = match split {
            0 => 0,
            _ => 90 + 19 + answer.wrong_drafts(),
        };
        assert_eq!(answer.wire().rows, rows, "rows sent at split {split}");
        let reference = unsplit.get_or_insert_with(|| answer.ids.clone());
        assert_eq!(&answer.ids, reference, "split {split}");
    }
}

#[tokio::test]
async fn llama_is_the_same_at_every_cut() {
    equal_at_every_cut("llama-gqa-llama3-tied", 3, "f32").await;
}

#[tokio::test]
async fn qwen3_is_the_same_at_every_cut() {
    equal_at_every_cut("qwen3-qknorm", 3, "f32").await;
}

#[tokio::test]
async fn qwen2_is_the_same_at_every_cut() {
    equal_at_every_cut("qwen2-bias", 3, "f32").await;
}

#[tokio::test]
async fn mistral_is_the_same_at_every_cut() {
    equal_at_every_cut("mistral-headdim", 3, "f32").await;
}

#[tokio::test]
async fn llama_in_8_bits_is_the_same_at_every_cut() {
    equal_at_every_cut("llama-gqa-llama3-tied", 3, "int8").await;
}

#[tokio::test]
async fn qwen2_in_4_bits_is_the_same_at_every_cut() {
    equal_at_every_cut("qwen2-bias", 3, "int4:32").await;
}

#[tokio::test]
async fn llama_with_keys_and_values_in_8_bits_is_the_same_at_every_cut() {
    equal_in("llama-gqa-llama3-tied", 3, "f32", "int8").await;
}

#[tokio::test]
async fn qwen3_with_keys_and_values_in_4_bits_is_the_same_at_every_cut() {
    equal_in("qwen3-qknorm", 3, "int8", "int4").await;
}

const PROMPT: &str = "The history of the Roman Empire begins with";

/// The default model begins its answer so at every split, its edge with these arguments.
async fn the_default_model_says(expected: &str, splits: &[u32], edge_arguments: &[&str]) {
    let model = default_model();
    let cloud = Server::cloud(&model, ServerOptions::default())
        .await
        .unwrap();
    for &split in splits {
        let options = ServerOptions::default().args(edge_arguments.iter().copied());
        let edge = Server::edge(&model, &cloud.url(), split, options)
            .await
            .unwrap();
        let client = Client::connect(&edge.url()).await.unwrap();
        let request = tandem_tests::client::text_request(PROMPT, 40);
        let text = client.generate(request).await.unwrap().text();
        assert!(text.starts_with(expected), "split {split}: {text}");
    }
}

/// The text an independent engine gives for the default model.
#[tokio::test]
async fn the_default_model_says_what_it_says_unsplit() {
    let expected = " the founding of Rome in 753 BCE by Romulus Augustus. Rome was established as \
                    a Roman city-state, and its founding myth is closely tied to the Roman Empire.";
    the_default_model_says(expected, &[0, 10, 29, 30], &[]).await;
}

/// Its weights lie on a grid of 4 bits in groups of 32 already.
#[tokio::test]
async fn a_front_in_4_bits_says_what_the_model_says() {
    let expected = " the founding of Rome in 753 BCE by Romulus";
    the_default_model_says(expected, &[15], &["--weights", "int4:32"]).await;
}
