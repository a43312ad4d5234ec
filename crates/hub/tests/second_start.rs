//! What the cache saves: requests, and the network itself.

// In helpers beside the tests too.
#![allow(clippy::unwrap_used)]

mod hub_server;

use hub_server::{COMMIT, HubServer, SHARDED, SINGLE, fetch, id, pinned};
use std::time::Duration;
use tandem_hub::{HubError, Settings, Wanted, fetch_with};

/// Nobody listens there.
fn unreachable(mut settings: Settings) -> Settings {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    settings.endpoint = format!("http://{}", listener.local_addr().unwrap());
    settings
}

fn offline(mut settings: Settings) -> Settings {
    settings.offline = Some("HF_HUB_OFFLINE");
    unreachable(settings)
}

#[test]
fn a_commit_in_the_cache_takes_no_request() {
    for files in [SINGLE, SHARDED] {
        let server = HubServer::start(files);
        let cache = tempfile::tempdir().unwrap();
        let settings = server.settings(cache.path());
        let first = fetch(&settings, &pinned()).unwrap();
        server.requests();
        let second = fetch(&settings, &pinned()).unwrap();
        assert_eq!(server.requests(), [""; 0]);
        assert_eq!((second.directory, second.received), (first.directory, 0));
        // Nor does anything but the listing travel for a branch that has not moved.
        fetch(&settings, &id("o/n@refs/pr/1")).unwrap();
        assert_eq!(
            server.requests(),
            ["GET /api/models/o/n/revision/refs%2Fpr%2F1"]
        );
    }
}

#[test]
fn a_branch_is_served_from_the_cache_when_the_hub_is_away() {
    let server = HubServer::start(SHARDED);
    let cache = tempfile::tempdir().unwrap();
    let settings = server.settings(cache.path());
    let first = fetch(&settings, &id("o/n")).unwrap();
    let away = fetch(&unreachable(settings.clone()), &id("o/n")).unwrap();
    assert_eq!(away.directory, first.directory);
    assert!(matches!(away.outdated, Some(HubError::Unreachable { .. })));
    // An outage counts as away; a refusal does not: the model may be gone for a reason.
    server.change(|hub| hub.failures = vec![(503, None)]);
    let down = fetch(&settings, &id("o/n")).unwrap();
    assert!(matches!(
        down.outdated,
        Some(HubError::Status { status: 503, .. })
    ));
    server.change(|hub| hub.failures = vec![(404, None)]);
    let gone = fetch(&settings, &id("o/n")).unwrap_err();
    assert!(matches!(gone, HubError::NotFound { .. }), "{gone}");
}

#[test]
fn a_silent_hub_holds_nobody_up_who_has_the_model() {
    let server = HubServer::start(SINGLE);
    let cache = tempfile::tempdir().unwrap();
    let mut settings = server.settings(cache.path());
    fetch(&settings, &id("o/n")).unwrap();
    // Connections are taken by the kernel, and never answered.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    settings.endpoint = format!("http://{}", silent.local_addr().unwrap());
    settings.lookup_timeout = Duration::from_millis(50);
    let snapshot = fetch(&settings, &id("o/n")).unwrap();
    assert!(matches!(
        snapshot.outdated,
        Some(HubError::Unreachable { .. })
    ));
}

#[test]
fn an_unreachable_hub_is_an_error_without_the_model() {
    let server = HubServer::start(SINGLE);
    let cache = tempfile::tempdir().unwrap();
    let error = fetch(&unreachable(server.settings(cache.path())), &id("o/n")).unwrap_err();
    assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
}

#[test]
fn offline_the_cache_is_all_there_is() {
    let server = HubServer::start(SHARDED);
    let cache = tempfile::tempdir().unwrap();
    let settings = server.settings(cache.path());
    let error = fetch(&offline(settings.clone()), &id("o/n")).unwrap_err();
    assert!(
        error.to_string().contains("HF_HUB_OFFLINE forbids"),
        "{error}"
    );
    let front = |tensor: &str, _: &dyn Fn(&str) -> bool| tensor.contains("layers.0.");
    fetch_with(&settings, &id("o/n"), Wanted::Tensors(&front), &mut |_| {}).unwrap();
    server.requests();
    for id in [id("o/n"), pinned()] {
        let settings = offline(settings.clone());
        fetch_with(&settings, &id, Wanted::Tensors(&front), &mut |_| {}).unwrap();
        let error = fetch(&settings, &id).unwrap_err();
        let missing = "model-00002-of-00003.safetensors is not in the cache";
        assert!(error.to_string().contains(missing), "{error}");
    }
    assert_eq!(server.requests(), [""; 0]);
}

#[test]
fn what_another_tool_fetched_is_found() {
    let server = HubServer::start(SINGLE);
    let cache = tempfile::tempdir().unwrap();
    let snapshot = cache.path().join("models--o--n/snapshots").join(COMMIT);
    std::fs::create_dir_all(&snapshot).unwrap();
    for (name, bytes) in SINGLE {
        std::fs::write(snapshot.join(name), bytes).unwrap();
    }
    let settings = server.settings(cache.path());
    let found = fetch(&offline(settings.clone()), &pinned()).unwrap();
    assert_eq!(found.directory, snapshot);
    // The hub may have more of it, so it is asked; once.
    assert_eq!(fetch(&settings, &pinned()).unwrap().received, 0);
    assert_eq!(
        server.requests(),
        [format!("GET /api/models/o/n/revision/{COMMIT}")]
    );
    fetch(&settings, &pinned()).unwrap();
    assert_eq!(server.requests(), [""; 0]);
}

#[test]
fn a_file_that_went_missing_comes_again() {
    let server = HubServer::start(SINGLE);
    let cache = tempfile::tempdir().unwrap();
    let settings = server.settings(cache.path());
    let snapshot = fetch(&settings, &pinned()).unwrap();
    let weights = snapshot.directory.join("model.safetensors");
    std::fs::remove_file(std::fs::canonicalize(&weights).unwrap()).unwrap();
    server.requests();
    fetch(&settings, &pinned()).unwrap();
    assert!(weights.is_file());
    assert_eq!(server.requests().len(), 2);
}
