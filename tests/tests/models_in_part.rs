//! Models of the hub in shards: each side has those of its layers, and both still know whose half it is.
//!
//! The hub itself is played in the tests of `crates/hub`; here its cache is there already, and the network
//! is forbidden.

use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use tandem_tests::altered::AlteredModel;
use tandem_tests::client::{Client, assert_refused};
use tandem_tests::paths::fixtures;
use tandem_tests::process::{Server, ServerOptions};
use tempfile::TempDir;
use tonic::Code;

const ID: &str = "owner/model";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const SPLIT: u32 = 1;
const PROMPT: [u32; 5] = [10, 20, 30, 40, 50];

/// A model of three layers, cut behind the first, and the names of the shards.
fn sharded() -> (AlteredModel, [String; 2]) {
    let model = AlteredModel::copy(&fixtures().join("models/llama-mha-untied-bias")).unwrap();
    let in_front = |name: &str| name.contains(".layers.0.") || name.contains("embed_tokens");
    let shards = model.cut_into_shards(|name| !in_front(name)).unwrap();
    (model, shards)
}

/// The hub's cache as it is when the shards that `lacks` names were not wanted.
fn cache(model: &Path, shards: &[String; 2], lacks: &[&String]) -> TempDir {
    let cache = tempfile::tempdir().unwrap();
    let repository = cache.path().join("models--owner--model");
    let snapshot = repository.join("snapshots").join(COMMIT);
    for folder in [&snapshot, &repository.join("refs")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(repository.join("refs/main"), COMMIT).unwrap();
    for entry in std::fs::read_dir(model).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with('.') && !lacks.iter().any(|lacking| **lacking == name) {
            std::fs::copy(model.join(&name), snapshot.join(&name)).unwrap();
        }
    }
    let hash = |shard: &String| {
        let hash = Sha256::digest(std::fs::read(model.join(shard)).unwrap());
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let hashes: BTreeMap<&String, String> = shards.iter().map(|s| (s, hash(s))).collect();
    let hashes = serde_json::to_vec(&hashes).unwrap();
    std::fs::write(snapshot.join(".tandem-shards.json"), hashes).unwrap();
    cache
}

fn offline(cache: &TempDir) -> ServerOptions {
    ServerOptions::default()
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_HUB_CACHE", cache.path())
}

fn from_layer(options: ServerOptions, first: u32) -> ServerOptions {
    options.args(["--first-layer", &first.to_string()])
}

async fn answer(edge: &Server) -> Vec<u32> {
    let client = Client::connect(&edge.url()).await.unwrap();
    client.greedy(&PROMPT, 12).await.unwrap().ids
}

#[tokio::test]
async fn each_side_has_the_shards_of_its_layers_and_answers_as_with_all() {
    let (model, shards) = sharded();
    let [front, back] = [
        cache(model.path(), &shards, &[&shards[1]]),
        cache(model.path(), &shards, &[&shards[0]]),
    ];
    let id = Path::new(ID);
    let whole = Server::cloud(model.path(), ServerOptions::default())
        .await
        .unwrap();
    let part = Server::cloud(id, from_layer(offline(&back), SPLIT))
        .await
        .unwrap();
    let mut answers = Vec::new();
    for url in [whole.url(), part.url()] {
        for (model, options) in [
            (model.path(), ServerOptions::default()),
            (id, offline(&front)),
        ] {
            let edge = Server::edge(model, &url, SPLIT, options).await.unwrap();
            answers.push(answer(&edge).await);
        }
    }
    // An edge without layers needs no weights at all.
    let nothing = cache(model.path(), &shards, &[&shards[0], &shards[1]]);
    let edge = Server::edge(id, &whole.url(), 0, offline(&nothing)).await;
    answers.push(answer(&edge.unwrap()).await);
    assert!(answers.iter().all(|a| *a == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn a_side_that_needs_more_layers_than_are_here_says_so() {
    let (model, shards) = sharded();
    let front = cache(model.path(), &shards, &[&shards[1]]);
    let id = Path::new(ID);
    let refused = Server::cloud(id, from_layer(offline(&front), SPLIT)).await;
    let said = format!("{:?}", refused.unwrap_err());
    assert!(
        said.contains("model-00002-of-00002.safetensors is not in the cache"),
        "{said}"
    );
    // The directory by its path, which nobody fetches for.
    let snapshot = front
        .path()
        .join("models--owner--model/snapshots")
        .join(COMMIT);
    let refused = Server::cloud(&snapshot, ServerOptions::default()).await;
    let said = format!("{:?}", refused.unwrap_err());
    assert!(
        said.contains("the model was fetched for other layers"),
        "{said}"
    );
}

/// The same weights in one file: nobody can compare them with some of the shards.
#[tokio::test]
async fn weights_in_other_files_are_not_taken_for_the_same() {
    let (model, shards) = sharded();
    let front = cache(model.path(), &shards, &[&shards[1]]);
    let single = fixtures().join("models/llama-mha-untied-bias");
    let cloud = Server::cloud(&single, ServerOptions::default())
        .await
        .unwrap();
    let mut edge = Server::spawn_edge(Path::new(ID), &cloud.url(), SPLIT, offline(&front)).unwrap();
    let refused = loop {
        assert!(edge.is_running(), "{}", edge.log());
        if let Ok(client) = Client::connect(&edge.url()).await {
            match client.greedy(&PROMPT, 4).await {
                Err(status) if status.code() == Code::Unavailable => {}
                answered => break answered,
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert_refused(refused, Code::FailedPrecondition, "MODEL");
    let said = edge.log();
    assert!(said.contains("give both the same hub id"), "{said}");
}
