//! Who may read a model, and who learns the token.

mod hub_server;

use hub_server::{HubServer, SINGLE, TOKEN, fetch, id, token};
use tandem_hub::{HubError, Progress, Wanted, fetch_with};

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let server = HubServer::start(SINGLE);
    server.change(|hub| hub.gated = Some("GatedRepo"));
    let cache = tempfile::tempdir().unwrap();
    let mut settings = server.settings(cache.path());
    settings.token = token();
    fetch(&settings, &id("o/n")).unwrap();
    let requests = server.requests();
    let (to_store, to_hub): (Vec<_>, Vec<_>) =
        requests.iter().partition(|r| r.starts_with("store"));
    assert!(
        to_hub.len() == 4 && to_hub.iter().all(|r| r.ends_with(" token")),
        "{to_hub:?}"
    );
    assert!(
        to_store.len() == 2 && !to_store.iter().any(|r| r.contains("token ")),
        "{to_store:?}"
    );
    assert!(
        !to_store.iter().any(|r| r.ends_with(" token")),
        "{to_store:?}"
    );
    assert!(!format!("{settings:?}").contains(TOKEN));
}

#[test]
fn a_gated_model_says_what_to_do() {
    let server = HubServer::start(SINGLE);
    let cache = tempfile::tempdir().unwrap();
    let mut settings = server.settings(cache.path());
    server.change(|hub| hub.gated = Some("GatedRepo"));
    let gated = fetch(&settings, &id("o/n")).unwrap_err();
    assert!(matches!(gated, HubError::Gated { .. }));
    let page = format!("ask for access at {}/o/n", server.endpoint);
    assert!(
        gated.to_string().contains(&page) && gated.to_string().contains("set HF_TOKEN"),
        "{gated}"
    );
    settings.token = tandem_hub::Token::new("another", "a test").unwrap();
    let gated = fetch(&settings, &id("o/n")).unwrap_err().to_string();
    assert!(
        gated.contains("the token that HF_TOKEN") && !gated.contains("another"),
        "{gated}"
    );
    server.change(|hub| hub.gated = Some("RepoNotFound"));
    settings.token = None;
    let private = fetch(&settings, &id("o/n")).unwrap_err();
    assert!(matches!(private, HubError::NotFound { .. }));
    assert!(private.to_string().contains("set HF_TOKEN"), "{private}");
}

#[test]
fn models_and_revisions_that_are_not_there_are_told_apart() {
    let server = HubServer::start(SINGLE);
    let cache = tempfile::tempdir().unwrap();
    let settings = server.settings(cache.path());
    let model = fetch(&settings, &id("o/other")).unwrap_err();
    assert!(matches!(model, HubError::NotFound { .. }), "{model}");
    for revision in ["no-such", &"f".repeat(40)] {
        let error = fetch(&settings, &id(&format!("o/n@{revision}"))).unwrap_err();
        assert!(matches!(error, HubError::RevisionUnknown { .. }), "{error}");
    }
}

#[test]
fn a_busy_or_broken_hub_is_asked_again() {
    let server = HubServer::start(SINGLE);
    server.change(|hub| hub.failures = vec![(500, None), (429, Some(0)), (502, None)]);
    let cache = tempfile::tempdir().unwrap();
    let settings = server.settings(cache.path());
    let mut statuses = Vec::new();
    fetch_with(&settings, &id("o/n"), Wanted::All, &mut |step| {
        if let Progress::Retrying {
            problem: HubError::Status { status, .. },
            ..
        } = step
        {
            statuses.push(*status);
        }
    })
    .unwrap();
    assert_eq!(statuses, [500, 429, 502]);
    // A pause that no start can take is not taken.
    let cache = tempfile::tempdir().unwrap();
    server.change(|hub| hub.failures = vec![(429, Some(3600))]);
    let error = fetch(&server.settings(cache.path()), &id("o/n")).unwrap_err();
    assert!(
        matches!(error, HubError::Status { status: 429, .. }),
        "{error}"
    );
    server.change(|hub| hub.failures = vec![(500, None); 4]);
    let error = fetch(&server.settings(cache.path()), &id("o/n")).unwrap_err();
    assert!(
        matches!(error, HubError::Status { status: 500, .. }),
        "{error}"
    );
}
