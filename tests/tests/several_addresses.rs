//! A cloud's name that leads to several addresses, as a headless Service's does, looked up by the system.
//!
//! The edge runs with a file of hosts of its own, in a mount namespace; where none can be made the test says that it
//! checked nothing.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tandem_tests::client::Client;
use tandem_tests::paths::fixtures;
use tandem_tests::process::{Binary, Metrics, Server, ServerOptions};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Looked up every ten seconds.
const FOUND_WITHIN: Duration = Duration::from_secs(25);

fn can_have_hosts() -> bool {
    let made = Command::new("unshare")
        .args(["--map-root-user", "--mount", "true"])
        .output();
    made.is_ok_and(|output| output.status.success())
}

/// What an edge is started by that reads this file of hosts.
fn edge_with(hosts: &Path, folder: &Path) -> PathBuf {
    let program = folder.join("edge");
    let script = format!(
        "#!/bin/sh\nexec unshare --map-root-user --mount sh -c 'mount --bind \"$0\" /etc/hosts && exec \"$@\"' '{}' '{}' \
         \"$@\"\n",
        hosts.display(),
        Binary::EdgeAgent.path().display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

/// What comes to an address goes to a server.
async fn lead(address: SocketAddr, server: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let bound = listener.local_addr().unwrap();
    let leading = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            connections.spawn(async move {
                let mut to = TcpStream::connect(server).await.unwrap();
                let _ = copy_bidirectional(&mut connection, &mut to).await;
            });
        }
    });
    (bound, leading)
}

fn fits(count: f64) -> impl Fn(&Metrics) -> bool {
    move |metrics| metrics.sum_with("tandem_edge_clouds", &[("state", "fits")]) == count
}

#[tokio::test]
async fn a_name_with_several_addresses_is_several_clouds() {
    if !can_have_hosts() {
        eprintln!("NOT CHECKED: no mount namespace can be made here (unshare)");
        return;
    }
    let model = fixtures().join("models/qwen2-bias");
    let start = || Server::cloud(&model, ServerOptions::default());
    let clouds = [start().await.unwrap(), start().await.unwrap()];
    let at = |last: u8, port: u16| SocketAddr::from(([127, 0, 9, last], port));
    let (first, to_first) = lead(at(1, 0), clouds[0].address()).await;
    let (_, to_second) = lead(at(2, first.port()), clouds[1].address()).await;

    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    let name_leads_to = |last: [u8; 2]| {
        let lines = last.map(|last| format!("127.0.9.{last} the-clouds\n"));
        // In place: the edge has this file mounted.
        fs::write(&hosts, lines.concat()).unwrap();
    };
    name_leads_to([1, 2]);
    let url = format!("http://the-clouds:{}", first.port());
    let options = ServerOptions::default().program(edge_with(&hosts, folder.path()));
    let edge = Server::edge(&model, &url, 1, options).await.unwrap();
    edge.wait_metrics(FOUND_WITHIN, fits(2.0)).await.unwrap();

    // Each of them has some of the answers.
    let client = Client::connect(&edge.url()).await.unwrap();
    let expected = client.greedy(&[1, 2, 3], 8).await.unwrap();
    let opened = async |cloud: &Server| {
        let metrics = cloud.metrics().await.unwrap();
        metrics.sum("tandem_cloud_sessions_opened_total")
    };
    for number in 0..100 {
        if opened(&clouds[0]).await > 0.0 && opened(&clouds[1]).await > 0.0 {
            break;
        }
        assert!(number < 99, "one cloud has all sessions");
        // Side by side, so that one of them is less busy than the other.
        let both = [[4, 5, number], [6, 7, number]];
        let both = both.map(|prompt| {
            let client = client.clone();
            tokio::spawn(async move { client.greedy(&prompt, 30).await })
        });
        for answer in both {
            answer.await.unwrap().unwrap();
        }
    }

    // The name leads elsewhere: the first cloud has another address, and the old one is gone.
    let (_, to_first_anew) = lead(at(3, first.port()), clouds[0].address()).await;
    name_leads_to([2, 3]);
    to_first.abort();
    let asked_anew = async {
        let before = opened(&clouds[0]).await;
        while opened(&clouds[0]).await == before {
            let answer = client.greedy(&[1, 2, 3], 8).await.unwrap();
            assert_eq!(answer.ids, expected.ids);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let found = tokio::time::timeout(FOUND_WITHIN, asked_anew).await;
    found.expect("the new address is not used");
    edge.wait_metrics(FOUND_WITHIN, fits(2.0)).await.unwrap();

    // And so it is with the other one.
    to_second.abort();
    let answer = client.greedy(&[1, 2, 3], 8).await.unwrap();
    assert_eq!(answer.ids, expected.ids);
    to_first_anew.abort();
}
