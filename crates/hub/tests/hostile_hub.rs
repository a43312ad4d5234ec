//! A hub, or someone in its place, that means harm.

// In helpers beside the tests too.
#![allow(clippy::unwrap_used)]

mod hub_server;

use hub_server::{COMMIT, HubServer, SHARDED, SINGLE, fetch, id};
use tandem_hub::HubError;

fn with_listing(siblings: &str) -> HubError {
    let server = HubServer::start(SINGLE);
    let listing = format!(r#"{{"sha":"{COMMIT}","siblings":[{siblings}]}}"#);
    server.change(|hub| hub.listing = Some(listing));
    let folder = tempfile::tempdir().unwrap();
    let error = fetch(&server.settings(&folder.path().join("cache")), &id("o/n")).unwrap_err();
    let entries: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(entries.len() <= 1, "{entries:?}");
    error
}

#[test]
fn names_that_lead_out_of_the_folder_are_refused() {
    for name in [
        "../config.json",
        "/etc/passwd",
        "codec/../../x.profile",
        "a/./b",
    ] {
        let error = with_listing(&format!(r#"{{"rfilename":"{name}"}}"#));
        assert!(
            matches!(error, HubError::UnsafeName { .. }),
            "{name}: {error}"
        );
    }
    let server = HubServer::start(SHARDED);
    let index = br#"{"weight_map":{"a":"../../evil.safetensors"}}"#;
    server.change(|hub| {
        hub.files
            .insert("model.safetensors.index.json".to_owned(), index.to_vec());
    });
    let cache = tempfile::tempdir().unwrap();
    let error = fetch(&server.settings(cache.path()), &id("o/n")).unwrap_err();
    assert!(matches!(error, HubError::UnsafeName { .. }), "{error}");
}

#[test]
fn sizes_beyond_reason_are_refused_before_a_byte_is_taken() {
    let file = |name: &str, size: u64| {
        format!(r#"{{"rfilename":"{name}","size":{size},"blobId":"{COMMIT}"}}"#)
    };
    let model = |config, tokenizer, weights| {
        let files = [
            file("config.json", config),
            file("tokenizer.json", tokenizer),
            file("model.safetensors", weights),
        ];
        with_listing(&files.join(","))
    };
    for error in [
        model((64 << 20) + 1, 2, 2),
        model(2, 1 << 40, 2),
        model(2, 2, u64::MAX),
    ] {
        assert!(matches!(error, HubError::TooLarge { .. }), "{error}");
    }
    // Within reason, but not within this disk.
    let error = model(2, 2, 1 << 40);
    assert!(matches!(error, HubError::DiskFull { .. }), "{error}");
}

#[test]
fn redirections_in_circles_and_to_files_are_not_followed() {
    let server = HubServer::start(SINGLE);
    let cache = tempfile::tempdir().unwrap();
    let settings = server.settings(cache.path());
    let circle = format!("/o/n/resolve/{COMMIT}/model.safetensors");
    for location in [
        &*circle,
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "gopher:x",
    ] {
        server.change(|hub| hub.redirect = Some(location.to_owned()));
        let error = fetch(&settings, &id("o/n")).unwrap_err();
        assert!(
            matches!(error, HubError::Redirect { .. }),
            "{location}: {error}"
        );
    }
    assert!(server.requests().len() < 40);
}

#[test]
fn answers_that_are_no_listing_are_refused() {
    for listing in ["", "[]", "<html>", r#"{"sha":"../../x","siblings":[]}"#] {
        let server = HubServer::start(SINGLE);
        server.change(|hub| hub.listing = Some(listing.to_owned()));
        let cache = tempfile::tempdir().unwrap();
        let error = fetch(&server.settings(cache.path()), &id("o/n")).unwrap_err();
        assert!(matches!(error, HubError::Answer { .. }), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_cache_that_cannot_be_used_is_named() {
    let server = HubServer::start(SINGLE);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = fetch(&server.settings(&file.join("cache")), &id("o/n")).unwrap_err();
    assert!(matches!(error, HubError::Cache { .. }), "{error}");
    assert!(
        error.to_string().contains("HF_HOME or HF_HUB_CACHE"),
        "{error}"
    );
}
