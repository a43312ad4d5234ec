//! The files that make a model, and no others.

// In helpers beside the tests too.
#![allow(clippy::unwrap_used)]

mod hub_server;

use hub_server::{COMMIT, HubServer, SHARDED, SINGLE, fetch, id, pinned};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tandem_hub::{HubError, Progress, Wanted, fetch_with};

fn files(directory: &Path, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            names.extend(files(&entry.path(), &format!("{name}/")));
        } else {
            names.insert(name);
        }
    }
    names
}

#[test]
fn a_snapshot_has_what_is_loaded_and_nothing_else() {
    let server = HubServer::start(SHARDED);
    let cache = tempfile::tempdir().unwrap();
    let snapshot = fetch(&server.settings(cache.path()), &id("o/n")).unwrap();
    let expected = cache.path().join("models--o--n/snapshots").join(COMMIT);
    assert_eq!(
        (&snapshot.directory, &*snapshot.commit),
        (&expected, COMMIT)
    );
    assert!(snapshot.outdated.is_none());
    let unwanted = [
        "README.md",
        "pytorch_model.bin",
        "onnx/model.onnx",
        "model-q4.gguf",
        "original/LICENSE",
    ];
    let wanted = SHARDED.iter().filter(|(name, _)| !unwanted.contains(name));
    let names = wanted.clone().map(|(name, _)| (*name).to_owned());
    let names = names.chain([".tandem-shards.json".to_owned()]).collect();
    assert_eq!(files(&snapshot.directory, ""), names);
    for (name, bytes) in wanted.clone() {
        assert_eq!(
            std::fs::read(snapshot.directory.join(name)).unwrap(),
            *bytes,
            "{name}"
        );
    }
    let bytes: usize = wanted.map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(snapshot.received, bytes as u64);
    // As other tools lay it out: a commit for the branch, contents under their hashes.
    let repository = cache.path().join("models--o--n");
    assert_eq!(
        std::fs::read_to_string(repository.join("refs/main")).unwrap(),
        COMMIT
    );
    let link = std::fs::read_link(snapshot.directory.join("codec/sensitivity.json")).unwrap();
    assert!(link.starts_with("../../../blobs"), "{}", link.display());
}

#[test]
fn a_side_brings_the_shards_of_its_tensors_only() {
    let server = HubServer::start(SHARDED);
    let cache = tempfile::tempdir().unwrap();
    let settings = server.settings(cache.path());
    let front = |tensor: &str, _: &dyn Fn(&str) -> bool| {
        tensor.contains("embed") || tensor.contains("layers.0.")
    };
    let snapshot = fetch_with(&settings, &id("o/n"), Wanted::Tensors(&front), &mut |_| {}).unwrap();
    let shards = |names: BTreeSet<String>| -> Vec<String> {
        names
            .into_iter()
            .filter(|name| name.ends_with(".safetensors"))
            .collect()
    };
    let found = shards(files(&snapshot.directory, ""));
    assert_eq!(found, ["model-00001-of-00003.safetensors"]);
    let noted = std::fs::read(snapshot.directory.join(".tandem-shards.json")).unwrap();
    let noted: BTreeMap<String, String> = serde_json::from_slice(&noted).unwrap();
    let all = SHARDED
        .iter()
        .filter(|(name, _)| name.starts_with("model-0"));
    let hashes = all.map(|(name, bytes)| ((*name).to_owned(), hub_server::sha256(bytes)));
    assert_eq!(noted, hashes.collect());
    // Another side of the same model, in the same cache, takes what is missing and no more.
    server.requests();
    let back = |tensor: &str, _: &dyn Fn(&str) -> bool| {
        tensor.contains("layers.2.") || tensor.contains("norm")
    };
    let snapshot = fetch_with(&settings, &pinned(), Wanted::Tensors(&back), &mut |_| {}).unwrap();
    let found = shards(files(&snapshot.directory, ""));
    assert_eq!(
        found,
        [
            "model-00001-of-00003.safetensors",
            "model-00003-of-00003.safetensors"
        ]
    );
    let shard = "model-00003-of-00003.safetensors";
    let requests = [
        format!("GET /o/n/resolve/{COMMIT}/{shard}"),
        format!("store GET /content/{shard}"),
    ];
    assert_eq!(server.requests(), requests);
}

/// Nobody could tell which weights some of the shards are a part of.
#[test]
fn a_side_brings_all_shards_where_their_hashes_are_not_known() {
    let server = HubServer::start(SHARDED);
    server.change(|hub| (hub.bare, hub.opaque) = (true, true));
    let cache = tempfile::tempdir().unwrap();
    let settings = server.settings(cache.path());
    let front = |tensor: &str, _: &dyn Fn(&str) -> bool| tensor.contains("layers.0.");
    for _ in 0..2 {
        let wanted = Wanted::Tensors(&front);
        let snapshot = fetch_with(&settings, &id("o/n"), wanted, &mut |_| {}).unwrap();
        let found = files(&snapshot.directory, "");
        assert!(
            found.contains("model-00003-of-00003.safetensors"),
            "{found:?}"
        );
        assert!(!found.contains(".tandem-shards.json"), "{found:?}");
    }
}

#[test]
fn progress_counts_the_bytes_of_all_files() {
    let server = HubServer::start(SINGLE);
    let cache = tempfile::tempdir().unwrap();
    let mut steps = Vec::new();
    fetch_with(
        &server.settings(cache.path()),
        &id("o/n"),
        Wanted::All,
        &mut |step| {
            if let Progress::Downloading { file, done, total } = step {
                steps.push((file.to_owned(), done, total));
            }
        },
    )
    .unwrap();
    let total: u64 = SINGLE.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    assert!(steps.iter().all(|(_, _, of)| *of == total));
    assert!(steps.is_sorted_by_key(|(_, done, _)| *done));
    assert_eq!(
        steps.last().unwrap(),
        &("model.safetensors".to_owned(), total, total)
    );
}

#[test]
fn a_mirror_without_sizes_and_hashes_is_asked_for_each_file() {
    let server = HubServer::start(SHARDED);
    server.change(|hub| hub.bare = true);
    let cache = tempfile::tempdir().unwrap();
    let settings = server.settings(cache.path());
    let snapshot = fetch(&settings, &id("o/n")).unwrap();
    let requests = server.requests();
    let head = format!("HEAD /o/n/resolve/{COMMIT}/model-00002-of-00003.safetensors");
    assert!(requests.contains(&head), "{requests:?}");
    assert!(
        !requests
            .iter()
            .any(|request| request.starts_with("store HEAD"))
    );
    assert_eq!(
        std::fs::read(snapshot.directory.join("config.json")).unwrap(),
        b"{}"
    );
    // The linked hash is the content's, also here.
    let shard = snapshot.directory.join("model-00002-of-00003.safetensors");
    assert!(
        std::fs::read_link(shard)
            .unwrap()
            .ends_with(hub_server::sha256(b"second shard"))
    );
    // Asked for once, not at each start.
    fetch(&settings, &id("o/n")).unwrap();
    assert_eq!(server.requests(), ["GET /api/models/o/n/revision/main"]);
}

#[test]
fn a_model_in_other_forms_or_parts_is_named() {
    let error = |files: &[(&str, &[u8])]| {
        let server = HubServer::start(files);
        let cache = tempfile::tempdir().unwrap();
        fetch(&server.settings(cache.path()), &id("o/n")).unwrap_err()
    };
    let gguf = error(&[("m.Q4_K_M.gguf", b"g"), ("README.md", b"r")]);
    assert!(matches!(gguf, HubError::OnlyGguf { .. }));
    assert!(
        gguf.to_string()
            .contains("name the .gguf file as the model (m.Q4_K_M.gguf)"),
        "{gguf}"
    );
    let pickle = error(&[("config.json", b"{}"), ("pytorch_model.bin", b"p")]);
    assert!(matches!(pickle, HubError::NoSafetensors { .. }));
    let tokenizer = error(&[("config.json", b"{}"), ("model.safetensors", b"w")]);
    assert_eq!(tokenizer.to_string(), "o/n has no file tokenizer.json");
    let without_a_shard: Vec<_> = SHARDED
        .iter()
        .copied()
        .filter(|(name, _)| !name.contains("00002-of"))
        .collect();
    let shard = error(&without_a_shard).to_string();
    assert_eq!(
        shard,
        "o/n has no file model-00002-of-00003.safetensors, which model.safetensors.index.json names"
    );
}
