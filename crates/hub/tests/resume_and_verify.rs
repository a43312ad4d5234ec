//! A file that comes in parts, or wrongly.

// In helpers beside the tests too.
#![allow(clippy::unwrap_used)]

mod hub_server;

use hub_server::{HubServer, SINGLE, fetch, id, sha256, wait_until};
use std::path::{Path, PathBuf};
use tandem_hub::{HubError, Progress, Wanted, fetch_with};

const WEIGHTS: &str = "model.safetensors";

fn weights() -> &'static [u8] {
    SINGLE.iter().find(|(name, _)| *name == WEIGHTS).unwrap().1
}

/// Where what has arrived of the weights lies.
fn partial(cache: &Path) -> PathBuf {
    let blobs = cache.join("models--o--n/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    blobs.join(format!("{}.incomplete", sha256(weights())))
}

fn store_requests(server: &HubServer) -> Vec<String> {
    let of_weights = |request: &String| request.starts_with("store") && request.contains(WEIGHTS);
    server.requests().into_iter().filter(of_weights).collect()
}

#[test]
fn a_cut_connection_is_taken_up_where_it_ended() {
    let server = HubServer::start(SINGLE);
    server.change(|hub| _ = hub.cuts.insert(WEIGHTS.to_owned(), vec![5, 7]));
    let cache = tempfile::tempdir().unwrap();
    let mut retries = 0;
    let mut count =
        |step: Progress<'_>| retries += u32::from(matches!(step, Progress::Retrying { .. }));
    let settings = server.settings(cache.path());
    let snapshot = fetch_with(&settings, &id("o/n"), Wanted::All, &mut count).unwrap();
    assert_eq!(
        std::fs::read(snapshot.directory.join(WEIGHTS)).unwrap(),
        weights()
    );
    assert_eq!(retries, 2);
    let of_parts =
        ["", " bytes=5-", " bytes=12-"].map(|range| format!("store GET /content/{WEIGHTS}{range}"));
    assert_eq!(store_requests(&server), of_parts);
    assert!(!partial(cache.path()).exists());
}

#[test]
fn a_connection_that_is_always_cut_is_given_up_but_its_bytes_are_kept() {
    let server = HubServer::start(SINGLE);
    server.change(|hub| _ = hub.cuts.insert(WEIGHTS.to_owned(), vec![5, 0, 0, 0, 0]));
    let cache = tempfile::tempdir().unwrap();
    let settings = server.settings(cache.path());
    let error = fetch(&settings, &id("o/n")).unwrap_err();
    assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
    assert!(!error.to_string().contains("signature"), "{error}");
    assert_eq!(
        std::fs::read(partial(cache.path())).unwrap(),
        &weights()[..5]
    );
    server.change(|hub| hub.cuts.clear());
    server.requests();
    let snapshot = fetch(&settings, &id("o/n")).unwrap();
    assert_eq!(
        store_requests(&server),
        [format!("store GET /content/{WEIGHTS} bytes=5-")]
    );
    assert_eq!(snapshot.received, weights().len() as u64 - 5);
}

#[test]
fn a_store_without_ranges_sends_the_whole_again() {
    let server = HubServer::start(SINGLE);
    server.change(|hub| {
        hub.no_ranges = true;
        hub.cuts.insert(WEIGHTS.to_owned(), vec![5]);
    });
    let cache = tempfile::tempdir().unwrap();
    let snapshot = fetch(&server.settings(cache.path()), &id("o/n")).unwrap();
    assert_eq!(
        std::fs::read(snapshot.directory.join(WEIGHTS)).unwrap(),
        weights()
    );
}

#[test]
fn a_file_that_is_another_is_refused_and_nothing_is_left() {
    for file in [WEIGHTS, "config.json"] {
        let server = HubServer::start(SINGLE);
        let damaged = server.hub.lock().unwrap().files[file]
            .iter()
            .map(|b| b ^ 1)
            .collect();
        server.change(|hub| _ = hub.damaged.insert(file.to_owned(), damaged));
        let cache = tempfile::tempdir().unwrap();
        let error = fetch(&server.settings(cache.path()), &id("o/n")).unwrap_err();
        assert!(
            matches!(&error, HubError::HashMismatch { file: f, .. } if f == file),
            "{error}"
        );
        let repository = cache.path().join("models--o--n");
        let snapshots = repository.join("snapshots").join(hub_server::COMMIT);
        assert!(std::fs::symlink_metadata(snapshots.join(file)).is_err());
        assert!(!repository.join("refs/main").exists());
        let blobs = std::fs::read_dir(repository.join("blobs")).unwrap();
        let others = SINGLE.iter().position(|(name, _)| *name == file).unwrap();
        assert_eq!(blobs.count(), others, "{file}");
    }
}

#[test]
fn a_damaged_part_from_before_costs_a_second_download_not_an_error() {
    let server = HubServer::start(SINGLE);
    let cache = tempfile::tempdir().unwrap();
    std::fs::write(partial(cache.path()), b"not").unwrap();
    let snapshot = fetch(&server.settings(cache.path()), &id("o/n")).unwrap();
    assert_eq!(
        std::fs::read(snapshot.directory.join(WEIGHTS)).unwrap(),
        weights()
    );
    let requests = [
        "store GET /content/model.safetensors bytes=3-",
        "store GET /content/model.safetensors",
    ];
    assert_eq!(store_requests(&server), requests);
}

#[test]
fn a_file_longer_than_promised_is_refused() {
    let server = HubServer::start(SINGLE);
    let longer = [weights(), b"more"].concat();
    server.change(|hub| _ = hub.damaged.insert(WEIGHTS.to_owned(), longer));
    let cache = tempfile::tempdir().unwrap();
    let error = fetch(&server.settings(cache.path()), &id("o/n")).unwrap_err();
    assert!(matches!(error, HubError::Answer { .. }), "{error}");
}

#[test]
fn a_killed_process_leaves_a_part_that_the_next_takes_up() {
    let server = HubServer::start(SINGLE);
    server.change(|hub| _ = hub.stalls.insert(WEIGHTS.to_owned(), 9));
    let cache = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "as_a_process_of_its_own", "--ignored"])
        .env("HF_ENDPOINT", &server.endpoint)
        .env("HF_HUB_CACHE", cache.path())
        .env_remove("HF_HUB_OFFLINE")
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let arrived = || std::fs::metadata(partial(cache.path())).is_ok_and(|part| part.len() == 9);
    wait_until("the first bytes arrive", arrived);
    child.kill().unwrap();
    child.wait().unwrap();
    server.requests();
    fetch(&server.settings(cache.path()), &id("o/n")).unwrap();
    assert_eq!(
        store_requests(&server),
        [format!("store GET /content/{WEIGHTS} bytes=9-")]
    );
}

#[test]
#[ignore = "a_killed_process_leaves_a_part_that_the_next_takes_up runs it"]
fn as_a_process_of_its_own() {
    tandem_hub::fetch(&id("o/n"), Wanted::All, &mut |_| {}).unwrap();
}
