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
        (with("n", json!(0)), "field", "n"),
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
    let mut body = with("response_format", json!({"type": "yaml"}));
    body["stream"] = json!(true);
    let refused = served.post(CHAT, &body).await;
    refused.assert_error(400, "field", json!("response_format.type"));
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
    let one = ServerOptions::default()
        .arg("--max-sessions")
        .arg("1")
        .arg("--replay-within")
        .arg("1s");
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

/// A configuration of the edge with this section.
fn configured(openai: &str) -> (ServerOptions, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("edge.yaml");
    std::fs::write(&config, openai).unwrap();
    let options = ServerOptions::default()
        .arg("--config")
        .arg(config.display().to_string());
    (options, folder)
}

#[tokio::test]
async fn several_answers_and_prompts_come_in_one_response() {
    let served = Served::start(ServerOptions::default()).await;
    let drawn = |seed: u32, n: u32, stream: bool| {
        let mut body = chat(12, stream);
        body["temperature"] = json!(1.0);
        body["seed"] = json!(seed);
        body["n"] = json!(n);
        body["stream_options"] = json!({"include_usage": true});
        body
    };
    let answer = served.post(CHAT, &drawn(5, 6, false)).await.json();
    let choices = answer["choices"].as_array().unwrap();
    let text = |choice: &Value| choice["message"]["content"].as_str().unwrap().to_owned();
    let texts: Vec<String> = choices.iter().map(text).collect();
    assert_eq!(texts.len(), 6);
    assert!(texts.iter().any(|other| *other != texts[0]), "{texts:?}");
    // Each is what one request with the seed behind would have got.
    for (index, expected) in texts.iter().enumerate() {
        assert_eq!(choices[index]["index"], index);
        let alone = served.post(CHAT, &drawn(5 + index as u32, 1, false)).await;
        assert_eq!(text(&alone.json()["choices"][0]), *expected);
    }
    assert_eq!(answer["usage"]["completion_tokens"], 72);

    let streamed = served.post(CHAT, &drawn(5, 6, true)).await;
    let mut events = streamed.events();
    assert_eq!(events.pop(), Some("[DONE]"));
    let pieces: Vec<Value> = events
        .into_iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    for (index, expected) in texts.iter().enumerate() {
        let own = pieces.iter().map(|piece| &piece["choices"][0]);
        let own = own.filter(|choice| choice["index"] == index);
        let text: String = own
            .filter_map(|choice| choice["delta"]["content"].as_str())
            .collect();
        assert_eq!(text, *expected);
    }
    let usage = &pieces.last().unwrap()["usage"];
    assert_eq!(
        usage["completion_tokens"],
        answer["usage"]["completion_tokens"]
    );
    assert_eq!(usage["prompt_tokens"], answer["usage"]["prompt_tokens"]);

    let prompts = ["The capital of France is", "One, two, three,"];
    let completion = |prompt: Value, echo: bool| {
        json!({
            "model": chat(1, false)["model"], "prompt": prompt, "max_tokens": 6, "temperature": 0, "echo": echo,
        })
    };
    let both = served
        .post("/v1/completions", &completion(json!(prompts), true))
        .await;
    let both = both.json();
    for (index, prompt) in prompts.iter().enumerate() {
        let alone = served
            .post("/v1/completions", &completion(json!(prompt), false))
            .await;
        let expected = format!(
            "{prompt}{}",
            alone.json()["choices"][0]["text"].as_str().unwrap()
        );
        assert_eq!(both["choices"][index]["text"], expected);
    }
}

#[tokio::test]
async fn what_nobody_knows_is_passed_over_and_told() {
    let served = Served::start(ServerOptions::default()).await;
    let mut body = chat(2, false);
    body["beams"] = json!(4);
    body["user"] = json!("ann");
    for _ in 0..2 {
        let answered = served.post(CHAT, &body).await;
        assert_eq!(answered.status, 200, "{answered:?}");
        let header = "x-tandem-passed-over: user, beams";
        assert!(answered.head.contains(header), "{}", answered.head);
    }
    let log = served.pair.edge.log();
    assert_eq!(log.matches("passed over").count(), 1, "{log}");

    let (options, _folder) = configured("openai: {unknown_fields: refuse, aliases: [gpt-4o]}\n");
    let strict = Served::start(options).await;
    let refused = strict.post(CHAT, &body).await;
    refused.assert_error(400, "field", json!("beams"));
    let mut named = chat(2, false);
    for (name, status) in [("gpt-4o", 200), ("gpt-4", 404)] {
        named["model"] = json!(name);
        assert_eq!(strict.post(CHAT, &named).await.status, status, "{name}");
    }
    let (options, _folder) = configured("openai: {any_model: true}\n");
    let any = Served::start(options).await;
    assert_eq!(any.post(CHAT, &named).await.status, 200);
}

/// The default model's template knows no functions: it is told of them, and a conversation with calls goes on.
#[tokio::test]
async fn functions_are_told_and_their_results_read() {
    let served = Served::start(ServerOptions::default()).await;
    let plain = served.post(CHAT, &chat(2, false)).await.json();
    let mut body = chat(2, false);
    body["tools"] = json!([{"type": "function", "function": {
        "name": "weather", "description": "Today's weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }}]);
    let told = served.post(CHAT, &body).await;
    assert_eq!(told.status, 200, "{told:?}");
    let tokens = |answer: &Value| answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(tokens(&told.json()) > tokens(&plain) + 50);
    body["tool_choice"] = json!("none");
    let untold = served.post(CHAT, &body).await.json();
    assert_eq!(tokens(&untold), tokens(&plain));

    body["tool_choice"] = json!("auto");
    body["messages"] = json!([
        {"role": "user", "content": "How is the weather in Rome?"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Rome\"}"}},
        ]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
    ]);
    let answered = served.post(CHAT, &body).await;
    assert_eq!(answered.status, 200, "{answered:?}");
}

#[tokio::test]
async fn text_becomes_ids_and_text_again() {
    let served = Served::start(ServerOptions::default()).await;
    let text = "Why is the sky blue?";
    let tokenized = served
        .post(
            "/tokenize",
            &json!({"prompt": text, "return_token_strs": true}),
        )
        .await;
    let tokenized = tokenized.json();
    let ids = tokenized["tokens"].as_array().unwrap();
    assert_eq!(tokenized["count"], ids.len());
    let strings = tokenized["token_strs"].as_array().unwrap();
    let joined: String = strings.iter().map(|text| text.as_str().unwrap()).collect();
    assert_eq!(joined, text);
    let back = served.post("/detokenize", &json!({"tokens": ids})).await;
    assert_eq!(back.json()["prompt"], text);

    let chat = chat(1, false);
    let asked = json!({"model": chat["model"], "messages": chat["messages"]});
    let tokenized = served.post("/tokenize", &asked).await.json();
    let answer = served.post(CHAT, &chat).await.json();
    assert_eq!(tokenized["count"], answer["usage"]["prompt_tokens"]);

    let refused = served
        .post("/detokenize", &json!({"tokens": [99_999_999]}))
        .await;
    refused.assert_error(400, "field", json!("tokens"));
    let refused = served
        .post("/tokenize", &json!({"model": "gpt-4", "prompt": "x"}))
        .await;
    refused.assert_error(404, "model_not_found", json!("model"));
    let health = ask(served.api.address(), "GET /health HTTP/1.0", b"")
        .await
        .unwrap();
    assert_eq!((health.status, &*health.body), (200, ""));
}

#[tokio::test]
async fn a_response_is_the_same_answer_whole_and_in_events() {
    let served = Served::start(ServerOptions::default()).await;
    let expected = served.post(CHAT, &chat(12, false)).await.json();
    let expected = expected["choices"][0]["message"]["content"]
        .as_str()
        .unwrap();
    let asked = |stream: bool| {
        json!({
            "model": chat(1, false)["model"], "input": "Why is the sky blue?", "max_output_tokens": 12,
            "temperature": 0, "stream": stream, "store": true,
        })
    };
    let whole = served.post("/v1/responses", &asked(false)).await;
    assert!(
        whole.head.contains("x-tandem-passed-over: store"),
        "{whole:?}"
    );
    let whole = whole.json();
    assert_eq!(whole["status"], "incomplete");
    assert_eq!(whole["output"][0]["content"][0]["text"], expected);
    assert_eq!(whole["usage"]["output_tokens"], 12);

    let streamed = served.post("/v1/responses", &asked(true)).await;
    let events: Vec<Value> = streamed
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let names = streamed
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("event: "));
    let types = events.iter().map(|event| event["type"].as_str().unwrap());
    assert!(names.eq(types));
    let deltas = events
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta");
    let text: String = deltas
        .map(|event| event["delta"].as_str().unwrap())
        .collect();
    assert_eq!(text, expected);
    assert_eq!(events.last().unwrap()["type"], "response.incomplete");

    let mut stored = asked(false);
    stored["previous_response_id"] = json!("resp_1");
    let refused = served.post("/v1/responses", &stored).await;
    refused.assert_error(400, "field", json!("previous_response_id"));
}

#[tokio::test]
async fn an_answer_is_the_json_or_the_call_that_was_asked_for() {
    let served = Served::start(ServerOptions::default()).await;
    let ask = |fields: Value| {
        let mut body = chat(200, false);
        body["ignore_eos"] = false.into();
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["colour", "sure"],
        "properties": {"colour": {"enum": ["red", "blue"]}, "sure": {"type": "boolean"}},
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": schema}});
    let response = served
        .post(CHAT, &ask(json!({"response_format": format, "n": 2})))
        .await;
    let answered = response.json();
    for choice in answered["choices"].as_array().unwrap() {
        assert_eq!(choice["finish_reason"], "stop", "{choice}");
        let said: Value =
            serde_json::from_str(choice["message"]["content"].as_str().unwrap()).unwrap();
        assert!(
            said["sure"].is_boolean() && ["red", "blue"].map(Value::from).contains(&said["colour"])
        );
    }
    let tool = json!({"type": "function", "function": {"name": "paint", "parameters": schema}});
    let other = json!({"type": "function", "function": {"name": "sing"}});
    let named = json!({"type": "function", "function": {"name": "paint"}});
    for choice in [json!("required"), named] {
        let is_named = choice.is_object();
        let fields = json!({
            "tools": [other, tool], "tool_choice": choice, "parallel_tool_calls": false, "max_tokens": 400,
        });
        let response = served.post(CHAT, &ask(fields)).await;
        let answer = &response.json()["choices"][0];
        assert_eq!(answer["finish_reason"], "tool_calls", "{answer}");
        let [call] = &answer["message"]["tool_calls"].as_array().unwrap()[..] else {
            panic!("{answer}")
        };
        let arguments = call["function"]["arguments"].as_str().unwrap();
        let arguments: Value = serde_json::from_str(arguments).unwrap();
        if is_named {
            assert_eq!(call["function"]["name"], "paint");
        }
        assert!(
            call["function"]["name"] == "sing" || arguments["sure"].is_boolean(),
            "{call}"
        );
    }
    let bad = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "nonsense"}}});
    let response = served
        .post(CHAT, &ask(json!({"response_format": bad})))
        .await;
    response.assert_error(400, "constraint", json!("response_format"));
    assert!(response.body.contains("nonsense"), "{}", response.body);
    let text = json!({"format": {"type": "json_schema", "name": "answer", "schema": schema}});
    let body = json!({"model": ask(json!({}))["model"], "input": "Which colour?", "text": text, "temperature": 0});
    let response = served.post("/v1/responses", &body).await.json();
    let said = response["output"][0]["content"][0]["text"]
        .as_str()
        .unwrap();
    assert!(
        serde_json::from_str::<Value>(said).unwrap()["sure"].is_boolean(),
        "{said}"
    );
}

#[tokio::test]
async fn a_stream_says_where_the_time_of_each_step_went() {
    let served = Served::start(ServerOptions::default()).await;
    let mut body = chat(12, true);
    body["stream_options"] = json!({"include_split": true, "include_usage": true});
    let response = served.post(CHAT, &body).await;
    let events = response.events();
    let pieces: Vec<Value> = events
        .iter()
        .filter_map(|event| serde_json::from_str(event).ok())
        .collect();
    let steps: Vec<&Value> = pieces
        .iter()
        .map(|piece| &piece["split"])
        .filter(|split| split.is_object())
        .collect();
    let sum = |name: &str| {
        steps
            .iter()
            .map(|step| step[name].as_f64().unwrap())
            .sum::<f64>()
    };
    assert_eq!(sum("tokens"), 12.0);
    let usage = &pieces.last().unwrap()["usage"];
    assert_eq!(usage["completion_tokens"], 12);
    // The prompt's rows, and one behind each token but the last, besides drafts.
    let prompt = usage["prompt_tokens"].as_f64().unwrap();
    assert_eq!(
        sum("rows") - sum("drafted") + sum("accepted"),
        prompt + 11.0
    );
    assert!(sum("cloud_seconds") > 0.0 && sum("edge_seconds") > 0.0 && sum("seconds") > 0.0);
    assert!(sum("up_bytes") > sum("frame_bytes") && sum("frame_bytes") > 0.0);
    assert!(
        pieces
            .iter()
            .all(|piece| piece["split"].is_null() || piece["choices"] == json!([]))
    );
    // And nobody else is told.
    body["stream_options"] = json!({"include_usage": true});
    assert!(!served.post(CHAT, &body).await.body.contains("\"split\""));
}

#[tokio::test]
async fn a_page_is_at_the_address_unless_it_is_switched_off() {
    let get = async |served: &Served, path: &str| {
        let head = format!("GET {path} HTTP/1.0");
        ask(served.api.address(), &head, &[]).await.unwrap()
    };
    let tokens = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(tokens.path(), "ann: 0123456789abcdef\n").unwrap();
    let asks = format!("auth: {{tokens: {}}}\n", tokens.path().display());
    let (options, _folder) = configured(&asks);
    let served = Served::start(options).await;
    // The same for everybody, and so without a token; what it shows is not.
    let page = get(&served, "/").await;
    assert_eq!(page.status, 200);
    assert!(
        page.head
            .contains("content-security-policy: default-src 'none'"),
        "{}",
        page.head
    );
    assert!(page.body.contains("<!doctype html>") || page.body.contains("<!DOCTYPE html>"));
    assert_eq!(get(&served, "/page/page.css").await.status, 200);
    assert_eq!(get(&served, "/page/other.css").await.status, 404);
    assert_eq!(get(&served, "/tandem/model").await.status, 401);
    let with_token = async |path: &str| {
        let head = format!("GET {path} HTTP/1.0\r\nauthorization: Bearer 0123456789abcdef");
        ask(served.api.address(), &head, &[]).await.unwrap()
    };
    let model = with_token("/tandem/model").await.json();
    assert_eq!(
        (&model["split"], &model["layers"]),
        (&json!(10), &json!(30))
    );
    assert_eq!(
        (&model["edge"]["end_layer"], &model["cloud"]["end_layer"]),
        (&json!(10), &json!(30))
    );
    with_token("/tandem/plan")
        .await
        .assert_error(404, "no_plan", Value::Null);
    let (options, _folder) = configured("openai: {page: false}\n");
    let served = Served::start(options).await;
    assert_eq!(get(&served, "/").await.status, 404);
    assert_eq!(get(&served, "/tandem/model").await.status, 404);
}
