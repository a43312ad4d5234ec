//! The OpenAI-compatible API on the wire: what HTTP clients see of answers, refusals and ends.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tandem_proto::v1;
use tandem_tests::client::{Client, greedy_parameters, message};
use tandem_tests::paths::default_model;
use tandem_tests::port::ReservedPort;
use tandem_tests::process::{Pair, PairOptions, ServerOptions};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const CHAT: &str = "/v1/chat/completions";
const SOON: Duration = Duration::from_secs(5);

/// A pair whose edge serves the API too.
struct Served {
    pair: Pair,
    api: ReservedPort,
}

impl Served {
    async fn start(edge: ServerOptions) -> Self {
        let api = ReservedPort::new().unwrap();
        let edge = edge.arg("--openai-listen").arg(api.address().to_string());
        let options = PairOptions::default().edge(edge);
        let pair = Pair::start(&default_model(), 10, options).await.unwrap();
        Self { pair, api }
    }

    async fn post(&self, path: &str, body: &Value) -> Response {
        let head = format!("POST {path} HTTP/1.0\r\ncontent-type: application/json");
        ask(self.api.address(), &head, body.to_string().as_bytes())
            .await
            .unwrap()
    }

    async fn wait_freed(&self) {
        let freed = self
            .pair
            .cloud
            .wait_metrics(SOON, |metrics| metrics.sum("tandem_cloud_kv_bytes") == 0.0);
        freed.await.unwrap();
    }
}

/// A response, read to its end.
#[derive(Debug)]
struct Response {
    status: u16,
    /// In small letters.
    head: String,
    body: String,
}

impl Response {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// What each server-sent event says.
    fn events(&self) -> Vec<&str> {
        let events = self.body.split_terminator("\n\n");
        events
            .map(|event| event.strip_prefix("data: ").unwrap())
            .collect()
    }

    /// Holds that this is an error in OpenAI's shape.
    fn assert_error(&self, status: u16, code: &str, param: Value) {
        let error = &self.json()["error"];
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!((&error["code"], &error["param"]), (&json!(code), &param));
        assert!(error["message"].is_string() && error["type"].is_string());
    }
}

/// Sends a request; HTTP/1.0, so that the body ends with the connection and comes as it is.
async fn send(address: SocketAddr, head: &str, body: &[u8]) -> Result<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!("{head}\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    // A server that refuses a body may close before it has taken it all.
    let _ = stream.write_all(body).await;
    Ok(BufReader::new(stream))
}

async fn ask(address: SocketAddr, head: &str, body: &[u8]) -> Result<Response> {
    receive(send(address, head, body).await?).await
}

async fn receive(mut stream: BufReader<TcpStream>) -> Result<Response> {
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, body) = text.split_once("\r\n\r\n").context("no head")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok(Response {
        status,
        head: head.to_lowercase(),
        body: body.to_owned(),
    })
}

/// A greedy chat of `tokens` tokens.
fn chat(tokens: u32, stream: bool) -> Value {
    json!({
        "model": default_model().file_name().unwrap().to_str(), "temperature": 0,
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
        "max_tokens": tokens, "stream": stream, "ignore_eos": true,
    })
}

/// Begins a long answer and waits for its first text.
async fn begin_long(served: &Served) -> BufReader<TcpStream> {
    let body = chat(1500, true).to_string();
    let head = format!("POST {CHAT} HTTP/1.0\r\ncontent-type: application/json");
    let mut stream = send(served.api.address(), &head, body.as_bytes())
        .await
        .unwrap();
    let mut line = String::new();
    while !line.contains("content") || line.contains("content-type") {
        line.clear();
        assert_ne!(stream.read_line(&mut line).await.unwrap(), 0, "ended");
    }
    stream
}

#[tokio::test]
async fn an_answer_is_the_same_whole_in_pieces_and_over_grpc() {
    let served = Served::start(ServerOptions::default()).await;
    let grpc = Client::connect(&served.pair.edge.url()).await.unwrap();
    let expected = grpc
        .chat(v1::ChatRequest {
            messages: vec![message("user", "Why is the sky blue?")],
            sampling: Some(v1::SamplingParameters {
                ignore_eos: true,
                ..greedy_parameters()
            }),
            max_tokens: Some(12),
            ..v1::ChatRequest::default()
        })
        .await
        .unwrap();
    let whole = served.post(CHAT, &chat(12, false)).await;
    assert_eq!(whole.status, 200, "{whole:?}");
    let answer = whole.json();
    let content = &answer["choices"][0]["message"]["content"];
    assert_eq!(*content, expected.text());
    assert_eq!(answer["usage"]["completion_tokens"], 12);
    let prompt = expected.finished.prompt_tokens;
    assert_eq!(answer["usage"]["prompt_tokens"], prompt);
    // The gRPC client's conversation is kept for its next turn; a page of it is the prompt's beginning.
    let cached = &answer["usage"]["prompt_tokens_details"]["cached_tokens"];
    assert_eq!(*cached, prompt / 32 * 32);

    let streamed = served.post(CHAT, &chat(12, true)).await;
    assert!(streamed.head.contains("content-type: text/event-stream"));
    let (last, pieces) = {
        let mut events = streamed.events();
        (events.pop().unwrap(), events)
    };
    assert_eq!(last, "[DONE]");
    let text: String = pieces
        .iter()
        .map(|piece| serde_json::from_str::<Value>(piece).unwrap())
        .filter_map(|piece| {
            let text = piece["choices"][0]["delta"]["content"].as_str();
            text.map(str::to_owned)
        })
        .collect();
    assert_eq!(text, expected.text());

    let metrics = served.pair.edge.metrics().await.unwrap();
    assert_eq!(metrics.sum("tandem_edge_request_success_total"), 3.0);
}

#[tokio::test]
async fn what_cannot_be_served_is_an_error_in_openais_shape() {
    let served = Served::start(ServerOptions::default().arg("--context").arg("64")).await;
    let with = |name: &str, value: Value| {
        let mut body = chat(4, false);
        body[name] = value;
        body
    };
    for (body, code, param) in [
        (with("n", json!(2)), "field", "n"),
        (with("top_p", json!(3)), "sampling", "top_p"),
        (with("stop", json!("")), "stop", "stop"),
        (with("stop", json!(vec!["x"; 17])), "stop", "stop"),
        (with("max_tokens", json!(0)), "max_tokens", "max_tokens"),
        (with("messages", json!([])), "messages", "messages"),
        (
            with("messages", json!([{"role": "user"}])),
            "field",
            "messages[0].content",
        ),
    ] {
        let refused = served.post(CHAT, &body).await;
        refused.assert_error(400, code, json!(param));
    }
    let long = json!([{"role": "user", "content": "word ".repeat(100)}]);
    let refused = served.post(CHAT, &with("messages", long)).await;
    refused.assert_error(400, "context_length_exceeded", json!("prompt"));
    let refused = served.post(CHAT, &with("model", json!("gpt-4"))).await;
    refused.assert_error(404, "model_not_found", json!("model"));
    // The same while streaming: the status comes before the stream begins.
    let mut body = with("n", json!(2));
    body["stream"] = json!(true);
    let refused = served.post(CHAT, &body).await;
    refused.assert_error(400, "field", json!("n"));
    let body = json!({"model": chat(1, false)["model"], "prompt": [[1, 99_999_999]]});
    let refused = served.post("/v1/completions", &body).await;
    refused.assert_error(400, "token_id", json!("prompt"));

    let address = served.api.address();
    let post = format!("POST {CHAT} HTTP/1.0\r\n");
    let json_head = format!("{post}content-type: application/json");
    for (head, body, status, code) in [
        (json_head.as_str(), b"{".as_slice(), 400, "body"),
        (
            &format!("{post}content-type: text/plain"),
            b"{}",
            415,
            "unsupported_media_type",
        ),
        (
            &json_head,
            &vec![b' '; (4 << 20) + 1],
            413,
            "body_too_large",
        ),
        (
            &format!("GET {CHAT} HTTP/1.0"),
            b"",
            405,
            "method_not_allowed",
        ),
        ("DELETE /v1/models HTTP/1.0", b"", 405, "method_not_allowed"),
        ("GET /v1/nothing HTTP/1.0", b"", 404, "not_found"),
    ] {
        let refused = ask(address, head, body).await.unwrap();
        refused.assert_error(status, code, Value::Null);
    }
    let metrics = served.pair.edge.metrics().await.unwrap();
    // What was no request at all is none that failed.
    let failures = metrics.sum("tandem_edge_failures_total");
    assert_eq!(failures, 12.0);
}

#[tokio::test]
async fn a_client_that_goes_away_frees_the_clouds_memory() {
    let served = Served::start(ServerOptions::default()).await;
    let stream = begin_long(&served).await;
    drop(stream);
    served.wait_freed().await;

    // One that waits for the whole answer can be missed too.
    let body = chat(1500, false).to_string();
    let head = format!("POST {CHAT} HTTP/1.0\r\ncontent-type: application/json");
    let waiting = send(served.api.address(), &head, body.as_bytes()).await;
    let running = served
        .pair
        .cloud
        .wait_metrics(SOON, |metrics| metrics.sum("tandem_cloud_kv_bytes") > 0.0);
    running.await.unwrap();
    drop(waiting);
    served.wait_freed().await;
}

#[tokio::test]
async fn overload_and_an_absent_cloud_have_their_statuses() {
    let one = ServerOptions::default().arg("--max-sessions").arg("1");
    let mut served = Served::start(one).await;
    let running = begin_long(&served).await;
    for stream in [false, true] {
        let refused = served.post(CHAT, &chat(4, stream)).await;
        refused.assert_error(429, "sessions", Value::Null);
        assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    }
    served.pair.cloud.kill();
    let last: Value = serde_json::from_str(&last_event(running).await).unwrap();
    assert_eq!(last["error"]["type"], "server_error");
    let refused = served.post(CHAT, &chat(4, true)).await;
    assert_eq!(refused.status, 503, "{refused:?}");
}

/// What the last event of a stream says whose first ones were read.
async fn last_event(mut stream: BufReader<TcpStream>) -> String {
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    let last = rest.trim_end().rsplit("\n\n").next().unwrap();
    last.strip_prefix("data: ").unwrap().to_owned()
}

#[tokio::test]
async fn a_drain_waits_for_answers_and_refuses_new_ones() {
    let mut served = Served::start(ServerOptions::default()).await;
    let body = chat(60, true).to_string();
    let head = format!("POST {CHAT} HTTP/1.0\r\ncontent-type: application/json");
    let address = served.api.address();
    let mut running = send(address, &head, body.as_bytes()).await.unwrap();
    // The first byte of the response: the answer has begun.
    running.fill_buf().await.unwrap();
    served.pair.edge.terminate().unwrap();
    loop {
        let refused = served.post(CHAT, &chat(1, false)).await;
        // Until the signal has arrived.
        if refused.status == 503 {
            refused.assert_error(503, "draining", Value::Null);
            break;
        }
    }
    let answer = receive(running).await.unwrap();
    assert_eq!(answer.events().pop(), Some("[DONE]"));
    let ended = served
        .pair
        .edge
        .wait(Duration::from_secs(10))
        .await
        .unwrap();
    assert!(ended.success());
}

/// The API key is a token of the data port's.
#[tokio::test]
async fn a_key_is_asked_for_where_tokens_are() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "app: c0ffee00112233445566778899aabbcc\n").unwrap();
    let served = Served::start(ServerOptions::default().arg("--auth-tokens").arg(&tokens)).await;
    let with = async |header: &str| {
        let head = format!("POST {CHAT} HTTP/1.0\r\ncontent-type: application/json{header}");
        let body = chat(2, false).to_string();
        ask(served.api.address(), &head, body.as_bytes())
            .await
            .unwrap()
    };
    with("")
        .await
        .assert_error(401, "invalid_api_key", Value::Null);
    let wrong = with("\r\nauthorization: Bearer c0ffee00112233445566778899aabbcd").await;
    wrong.assert_error(401, "invalid_api_key", Value::Null);
    let right = with("\r\nauthorization: Bearer c0ffee00112233445566778899aabbcc").await;
    assert_eq!(right.status, 200, "{right:?}");
    assert_eq!(right.json()["usage"]["completion_tokens"], 2);
    assert!(
        served
            .pair
            .edge
            .log()
            .contains("answer begun peer=token app")
    );
}

/// A page in a browser may send requests here under a name of its own, and no page reads answers unless its
/// origin is listed.
#[tokio::test]
async fn only_known_names_and_pages_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("edge.yaml");
    let listed = "openai: {hosts: [edge.example.org], origins: ['https://chat.example.org']}\n";
    std::fs::write(&config, listed).unwrap();
    let options = ServerOptions::default()
        .arg("--config")
        .arg(config.display().to_string());
    let served = Served::start(options).await;
    for (host, status) in [
        ("localhost:8000", 200),
        ("127.0.0.1:8000", 200),
        ("edge.example.org", 200),
        ("pages.example:8000", 403),
    ] {
        let head = format!("GET /v1/models HTTP/1.0\r\nhost: {host}");
        let response = ask(served.api.address(), &head, b"").await.unwrap();
        assert_eq!(response.status, status, "{host}: {response:?}");
        if status == 403 {
            response.assert_error(403, "host_not_allowed", Value::Null);
        }
    }
    for (origin, allowed) in [
        ("https://chat.example.org", true),
        ("https://pages.example", false),
    ] {
        let head = format!(
            "OPTIONS {CHAT} HTTP/1.0\r\norigin: {origin}\r\naccess-control-request-method: POST"
        );
        let response = ask(served.api.address(), &head, b"").await.unwrap();
        let told = response
            .head
            .contains(&format!("access-control-allow-origin: {origin}"));
        assert_eq!(told, allowed, "{response:?}");
    }
}

#[tokio::test]
async fn an_answer_ends_when_its_time_is_up() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("edge.yaml");
    std::fs::write(&config, "openai: {timeout: 1s}\n").unwrap();
    let options = ServerOptions::default()
        .arg("--config")
        .arg(config.display().to_string());
    let served = Served::start(options).await;
    served
        .post(CHAT, &chat(1500, false))
        .await
        .assert_error(504, "deadline", Value::Null);
    served.wait_freed().await;
}
