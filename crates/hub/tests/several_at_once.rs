//! Several fetches of one model at once, and a process with the real environment.

// In helpers beside the tests too.
#![allow(clippy::unwrap_used)]

mod hub_server;

use hub_server::{COMMIT, HubServer, SINGLE, TOKEN, id, wait_until};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tandem_hub::{Progress, Wanted, fetch_with};

const WEIGHTS: &str = "model.safetensors";

fn downloads(server: &HubServer) -> usize {
    let requests = server.requests();
    requests
        .iter()
        .filter(|r| r.starts_with("store") && r.contains(WEIGHTS))
        .count()
}

#[test]
fn two_fetches_at_once_download_once() {
    let server = HubServer::start(SINGLE);
    let released = Arc::new(tokio::sync::Semaphore::new(0));
    server.change(|hub| hub.held = Some((WEIGHTS.to_owned(), released.clone())));
    let cache = tempfile::tempdir().unwrap();
    let settings = server.settings(cache.path());
    let is_waiting = AtomicBool::new(false);
    let fetch = || {
        let mut on_progress = |step: Progress<'_>| {
            if let Progress::Waiting { file } = step
                && file == WEIGHTS
            {
                is_waiting.store(true, Ordering::Relaxed);
            }
        };
        fetch_with(&settings, &id("o/n"), Wanted::All, &mut on_progress).unwrap()
    };
    let snapshots = std::thread::scope(|scope| {
        let both = [scope.spawn(fetch), scope.spawn(fetch)];
        wait_until("one waits for the other", || {
            is_waiting.load(Ordering::Relaxed)
        });
        released.add_permits(1);
        both.map(|thread| thread.join().unwrap())
    });
    assert_eq!(snapshots[0].directory, snapshots[1].directory);
    assert_eq!(downloads(&server), 1);
    assert!(snapshots[0].directory.join(WEIGHTS).is_file());
}

fn process(server: &HubServer, home: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "as_a_process_of_its_own",
            "--ignored",
            "--nocapture",
        ])
        .env_clear()
        .env("HF_ENDPOINT", &server.endpoint)
        .env("HF_HOME", home)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn text(output: &Output) -> String {
    let both = [&*output.stdout, &*output.stderr].concat();
    String::from_utf8(both).unwrap()
}

#[test]
fn processes_heed_the_environment() {
    let server = HubServer::start(SINGLE);
    server.change(|hub| hub.gated = Some("RepoNotFound"));
    let home = tempfile::tempdir().unwrap();
    let process = || process(&server, home.path());
    let refused = text(&process().output().unwrap());
    assert!(refused.contains("set HF_TOKEN"), "{refused}");
    let offline = process().env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert!(
        text(&offline).contains("HF_HUB_OFFLINE forbids"),
        "{}",
        text(&offline)
    );

    let children = [(); 2].map(|()| process().env("HF_TOKEN", TOKEN).spawn().unwrap());
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }
    assert_eq!(downloads(&server), 1);

    // The token's file, a proxy that is not there but not for this machine, and then no network.
    std::fs::write(home.path().join("token"), format!("{TOKEN}\n")).unwrap();
    let output = process()
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    server.requests();
    let output = process().env("HF_HUB_OFFLINE", "yes").output().unwrap();
    let directory = home.path().join("hub/models--o--n/snapshots").join(COMMIT);
    assert!(
        text(&output).contains(directory.to_str().unwrap()),
        "{}",
        text(&output)
    );
    assert_eq!(server.requests(), [""; 0]);
}

#[test]
#[ignore = "processes_heed_the_environment runs it"]
fn as_a_process_of_its_own() {
    let snapshot = tandem_hub::fetch(&id("o/n"), Wanted::All, &mut |_| {});
    match snapshot {
        Ok(snapshot) => println!("{}", snapshot.directory.display()),
        Err(error) => panic!("{error}"),
    }
}
