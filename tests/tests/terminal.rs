//! Commands for people: a conversation with a running edge or with one of its own, typed into a pipe or on a terminal,
//! and the view of a running edge.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tandem_tests::client::Client;
use tandem_tests::link::LinkProfile;
use tandem_tests::paths::fixtures;
use tandem_tests::port::ReservedPort;
use tandem_tests::process::{Pair, PairOptions};
use tandem_tests::terminal::{Piped, Terminal, piped};

fn model() -> PathBuf {
    fixtures().join("models/llama-mha-untied-bias")
}

async fn pair() -> Pair {
    let options = PairOptions::default();
    Pair::start(&model(), 1, options).await.unwrap()
}

const GREEDY: [&str; 5] = ["--temperature", "0", "--max-tokens", "12", "--ignore-eos"];

/// `edge-agent chat` with a running edge, told these lines.
fn chat(edge: &str, arguments: &[&str], lines: &str) -> Piped {
    let chat = [&["chat", "--edge", edge][..], &GREEDY, arguments].concat();
    piped(&chat, lines)
}

fn messages(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let messages = document["messages"].as_array().unwrap();
    let field = |message: &Value, name: &str| message[name].as_str().unwrap().to_owned();
    let read = messages.iter();
    read.map(|message| (field(message, "role"), field(message, "content")))
        .collect()
}

#[tokio::test]
async fn a_script_talks_with_a_running_edge_as_with_one_of_its_own() {
    let pair = pair().await;
    let lines = "Hello?\n\nTwo\\\nlines\n\"\"\"\nThree\n\nlines\n\"\"\"\n";
    let running = chat(&pair.edge.url(), &[], lines).succeeds();
    // Three answers: no introduction, no prompt, no figures.
    for part in ["layers at the edge", "\n> ", " tokens  "] {
        assert!(!running.contains(part), "{running}");
    }
    assert!(running.lines().count() >= 3, "{running}");
    let (cloud, model) = (pair.cloud.url(), model());
    let exact = ["--preset", "exact", "--split", "1"];
    let own = [&["chat", "--cloud", &cloud][..], &exact, &["--model"]].concat();
    let own = [&own[..], &[model.to_str().unwrap()], &GREEDY].concat();
    assert_eq!(piped(&own, lines).succeeds(), running);
}

#[tokio::test]
async fn a_conversation_is_saved_and_gone_on_with() {
    let pair = pair().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("talk.json");
    let name = path.to_str().unwrap();
    let edge = pair.edge.url();

    let lines = format!("/system Be brief.\nHello?\n/save {name}\nAnd?\n/save\n/system\n");
    let said = chat(&edge, &[], &lines).succeeds();
    assert!(said.contains(&format!("(3 messages in {name})")), "{said}");
    assert!(said.contains(&format!("(5 messages in {name})")), "{said}");
    assert!(said.ends_with("Be brief.\n"), "{said}");
    let saved = messages(&path);
    let roles: Vec<&str> = saved.iter().map(|(role, _)| &**role).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"]);
    assert_eq!(saved[1].1, "Hello?");
    assert!(
        !saved[2].1.is_empty() && said.starts_with(&saved[2].1),
        "{said}"
    );

    // A command's end says what failed; the file is as it was.
    let other = chat(&edge, &[], &format!("Hello?\n/save {name}\n"));
    let why = other.fails();
    assert!(
        why.ends_with("talk.json is there already: take another name"),
        "{why}"
    );
    assert_eq!(messages(&path), saved);

    // The last question again, then forgotten but for what it was told first.
    let again = format!("/load {name}\n/retry\n/save\n/reset\n/save\n");
    let said = chat(&edge, &[], &again).succeeds();
    let loaded = format!(
        "(5 messages from {name})\n{}\n(5 messages in {name})\n",
        saved[4].1
    );
    assert!(said.starts_with(&loaded), "{said}");
    assert!(
        said.ends_with(&format!("(forgotten)\n(1 message in {name})\n")),
        "{said}"
    );
    assert_eq!(messages(&path), saved[..1]);

    std::fs::write(&path, "{\"messages\": [{\"role\": \"king\"}]}").unwrap();
    let why = chat(&edge, &["--load", name], "Hello?\n").fails();
    let said = format!("{name} has no conversation: messages[0].role: unknown variant `king`");
    assert!(why.starts_with(&said), "{why}");
}

#[tokio::test]
async fn a_chat_says_what_is_wrong_with_the_edge_it_was_given() {
    let pair = pair().await;
    let nobody = ReservedPort::new().unwrap();
    let url = |address| format!("http://{address}");
    for (edge, said) in [
        (pair.cloud.url(), "a port of a cloud-service"),
        (
            url(pair.edge.metrics_address()),
            "an edge-agent's port for metrics and health",
        ),
        (
            url(nobody.address()),
            "cannot be reached: Connection refused",
        ),
        (
            format!("https://{}", pair.edge.address()),
            "cannot be reached: the server does not speak TLS at this port: write http://",
        ),
    ] {
        let why = chat(&edge, &[], "Hello?\n").fails();
        assert!(why.starts_with(&edge) && why.contains(said), "{why}");
    }
    let why = chat(&pair.edge.url(), &["--top-p", "7"], "Hello?\n");
    assert!(why.fails().starts_with("sampling.top_p: must be in "));
    // Flags of an edge of its own are for that one.
    let both = chat(&pair.edge.url(), &["--split", "1"], "");
    assert!(
        both.stderr.contains("'--edge <URL>' cannot be used with"),
        "{}",
        both.stderr
    );
    assert_eq!(both.code, 2);
}

#[tokio::test]
async fn a_person_sees_the_answer_and_its_figures_and_leaves_a_history() {
    let slow = LinkProfile::new(Duration::from_millis(60), None);
    let options = PairOptions::default().link(slow);
    let pair = Pair::start(&model(), 1, options).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let edge = pair.edge.url();
    let arguments = [
        "chat",
        "--edge",
        &edge,
        "--temperature",
        "0",
        "--ignore-eos",
    ];
    let arguments = [&arguments[..], &["--max-tokens", "40"]].concat();
    let state = ("XDG_STATE_HOME", folder.path().to_str().unwrap());
    let mut terminal = Terminal::start(&arguments, &[state], 12, 100);
    terminal.wait_for("1 of 3 layers at the edge");
    terminal.wait_for("> ");
    terminal.type_in("Hello?\r");
    // In the last row, in its order.
    terminal.wait(|screen| {
        let last = screen.lines().last().unwrap_or_default();
        last.contains(" tokens  ") && last.contains("/s  edge ") && last.contains(" link ")
    });
    terminal.wait(|screen| screen.trim_end().ends_with("\n>"));
    assert!(
        !terminal.screen().contains(" tokens  "),
        "{}",
        terminal.screen()
    );
    // Several lines, and Ctrl-C in the middle of an answer.
    terminal.type_in("Two\\\rlines\r");
    terminal.wait_for(" tokens  ");
    terminal.interrupt();
    terminal.wait_for("(stopped)");
    terminal.type_in("/stats\r");
    terminal.wait_for("40 tokens, ");
    terminal.type_in("/nothing\r");
    terminal.wait_for("(/nothing is no command");
    terminal.type_in("/quit\r");
    assert!(terminal.end().success());

    let history = folder.path().join("tandem/history");
    let text = std::fs::read_to_string(&history).unwrap();
    assert!(
        text.contains("\nHello?\nTwo\\\\\\nlines\n/stats\n"),
        "{text}"
    );
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&history).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // What was typed is there for the arrows; none of it without a history, and no figures without them.
    let mut terminal = Terminal::start(&arguments, &[state], 12, 100);
    terminal.wait_for("> ");
    terminal.type_in("\x1b[A\x1b[A");
    terminal.wait_for("> /nothing");
    terminal.type_in("\x15/quit\r");
    assert!(terminal.end().success());
    let without = [&arguments[..], &["--no-history", "--no-figures"]].concat();
    let mut terminal = Terminal::start(&without, &[state], 12, 100);
    terminal.wait_for("> ");
    terminal.type_in("\x1b[AHi?\r");
    terminal.wait(|screen| screen.contains("> Hi?") && screen.trim_end().ends_with("\n>"));
    let bytes = terminal.bytes();
    assert!(
        !bytes.contains(" tokens  ") && !bytes.contains("/nothing"),
        "{bytes}"
    );
    terminal.type_in("\x04");
    assert!(terminal.end().success());
    assert!(!std::fs::read_to_string(&history).unwrap().contains("Hi?"));
}

#[tokio::test]
async fn top_shows_what_a_running_edge_does() {
    let mut pair = pair().await;
    let address = pair.edge.metrics_address().to_string();
    let answering = async {
        let client = Client::connect(&pair.edge.url()).await.unwrap();
        for _ in 0..3 {
            client.greedy(&[10, 20, 30, 40], 40).await.unwrap();
        }
    };
    let arguments = ["top", "--once", "--every", "2s", "--address"];
    let arguments = [&arguments[..], &[&*address]].concat();
    let (view, ()) = tokio::join!(
        async {
            let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
            let shown = tokio::task::spawn_blocking(move || {
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                piped(&arguments, "")
            });
            shown.await.unwrap().succeeds()
        },
        async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            answering.await;
        }
    );
    let line = |begins: &str| {
        let found = view.lines().find(|line| line.starts_with(begins));
        found.unwrap_or_else(|| panic!("no {begins} in:\n{view}"))
    };
    assert!(line("llama-mha-untied-bias").ends_with(&format!("at {address}")));
    assert!(line("split 1, weights ").contains("codec "));
    assert!(line("answers").contains("3 done   0 failed"));
    let rate = line("tokens").split_whitespace().nth(1).unwrap();
    let rate: f64 = rate.trim_end_matches("/s").parse().unwrap();
    assert!((40.0..=60.0).contains(&rate), "{view}");
    assert!(line("latency").contains(" ms, p99 "), "{view}");
    assert!(line("a token").contains(" ms: edge "), "{view}");
    assert!(!line("link").contains(" 0 B/s"), "{view}");
    assert!(line("clouds").contains("1 serve this edge"), "{view}");

    // On a terminal it goes on, without the edge too, until somebody leaves.
    let watched = ["top", "--every", "200ms", "--address", &address];
    let mut terminal = Terminal::start(&watched, &[], 20, 100);
    terminal.wait_for("answers  0 under way");
    terminal.wait_for("q leaves");
    pair.edge.kill();
    terminal.wait_for(&format!(
        "{address} cannot be reached: Connection refused; trying again"
    ));
    terminal.type_in("q");
    assert!(terminal.end().success());
    assert!(
        terminal.bytes().ends_with("\u{1b}[?25h\u{1b}[?1049l"),
        "{:?}",
        terminal.bytes()
    );

    let why = piped(&["top", "--address", &address], "").fails();
    assert_eq!(
        why,
        format!("{address} cannot be reached: Connection refused")
    );
    let cloud = pair.cloud.metrics_address().to_string();
    let why = piped(&["top", "--address", &cloud], "").fails();
    assert!(why.contains("it is a cloud-service's"), "{why}");
}
