//! Distributed traces: one a request, from its client through the edge to the cloud.

use std::time::{Duration, Instant};
use tandem_proto::v1;
use tandem_tests::client::{Client, ids_request, message};
use tandem_tests::collector::{Collector, Exported, only};
use tandem_tests::paths::default_model;
use tandem_tests::port::ReservedPort;
use tandem_tests::process::{Pair, PairOptions, ServerOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::Request;

const EDGE: &str = "edge-agent";
const CLOUD: &str = "cloud-service";
const SOON: Duration = Duration::from_secs(10);

/// A client's `traceparent`, by the trace's last digits.
fn parent(trace: &str, flags: &str) -> String {
    format!("00-{trace:0>32}-b7ad6b7169203331-{flags}")
}

fn options(endpoint: &str, sample: f64) -> ServerOptions {
    ServerOptions::default()
        .config(format!(
            "traces: {{endpoint: '{endpoint}', sample: {sample}}}"
        ))
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
}

async fn pair(endpoint: &str, sample: f64) -> Pair {
    let options = PairOptions::default()
        .edge(options(endpoint, sample))
        .cloud(options(endpoint, sample));
    Pair::start(&default_model(), 10, options).await.unwrap()
}

/// Continues token ids in the trace that `parent` names.
async fn generate(pair: &Pair, prompt: &[u32], tokens: u32, parent: &str) -> Vec<u32> {
    let mut client = Client::connect(&pair.edge.url()).await.unwrap();
    let mut request = Request::new(ids_request(prompt, tokens));
    if !parent.is_empty() {
        let metadata = request.metadata_mut();
        metadata.insert("traceparent", parent.parse().unwrap());
        metadata.insert("tracestate", "vendor=1".parse().unwrap());
    }
    let mut stream = client.raw().generate(request).await.unwrap().into_inner();
    let mut ids = Vec::new();
    while let Some(response) = stream.message().await.unwrap() {
        if let Some(v1::generate_response::Event::Delta(delta)) = response.event {
            ids.extend(delta.token_ids);
        }
    }
    ids
}

/// SIGTERM for both; returns when both have ended well, which flushes their spans.
async fn end(pair: &mut Pair) {
    for server in [&mut pair.edge, &mut pair.cloud] {
        server.terminate().unwrap();
        assert!(server.wait(SOON).await.unwrap().success());
    }
}

fn of_trace(spans: &[Exported], trace: &str) -> Vec<Exported> {
    let spans = spans.iter().filter(|e| e.trace().ends_with(trace));
    spans.cloned().collect()
}

#[tokio::test]
async fn a_request_is_one_trace_from_its_client_to_the_cloud() {
    let collector = Collector::start().await.unwrap();
    let mut pair = pair(&collector.url(), 0.0).await;
    let prompt: Vec<u32> = (1000..1100).collect();
    let ids = generate(&pair, &prompt, 8, &parent("a1", "01")).await;
    // The next turn goes on in the same session, and in a trace of its own.
    let next: Vec<u32> = prompt.iter().chain(&ids).copied().chain([7, 8]).collect();
    generate(&pair, &next, 1, &parent("b2", "01")).await;
    end(&mut pair).await;

    let all = collector.spans();
    let spans = of_trace(&all, "a1");
    let root = only(&spans, EDGE, "generate").unwrap();
    assert_eq!(
        root.span.parent_span_id,
        [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]
    );
    for (key, value) in [
        ("gen_ai.operation.name", "text_completion"),
        ("gen_ai.request.model", "smollm2-135m-instruct"),
        ("gen_ai.usage.input_tokens", "100"),
        ("gen_ai.usage.output_tokens", "8"),
        ("gen_ai.response.finish_reasons", "length"),
        ("tandem.split", "10"),
        ("tandem.codec", "f32"),
        ("tandem.reused_tokens", "0"),
    ] {
        assert_eq!(root.attribute(key).as_deref(), Some(value), "{key}");
    }
    assert!(spans.iter().all(|e| e.span.trace_state == "vendor=1"));

    // On the edge: two chunks of the prompt, the link, and the tokens behind the first.
    let prefill = only(&spans, EDGE, "prefill").unwrap();
    let decode = only(&spans, EDGE, "decode").unwrap();
    assert!(prefill.lies_in(root) && decode.lies_in(root));
    assert_eq!(decode.attribute("tandem.tokens").unwrap(), "7");
    for name in ["front", "encode"] {
        let steps = spans.iter().filter(|e| e.span.name == name);
        let steps: Vec<&Exported> = steps.collect();
        assert_eq!(steps.len(), 2, "{name}");
        assert!(steps.iter().all(|step| step.lies_in(prefill)), "{name}");
        let took: f64 = steps.iter().map(|step| step.took().as_secs_f64()).sum();
        let summed = prefill.seconds(&format!("tandem.{name}_seconds"));
        assert!((took - summed).abs() < 1e-6, "{name}: {took} and {summed}");
    }
    assert!(only(&spans, EDGE, "link").unwrap().lies_in(prefill));
    let parts = ["front", "encode", "link", "cloud_queue", "cloud_compute"];
    let parts = parts.map(|part| decode.seconds(&format!("tandem.{part}_seconds")));
    assert!(parts.iter().all(|part| *part >= 0.0), "{parts:?}");
    let sum: f64 = parts.iter().sum();
    assert!(sum > 0.0 && sum <= decode.took().as_secs_f64(), "{parts:?}");

    // On the cloud: the answer in the request's span, and each step in the answer's.
    let infer = only(&spans, CLOUD, "infer").unwrap();
    assert_eq!(infer.span.parent_span_id, root.span.span_id);
    assert_eq!(infer.attribute("gen_ai.usage.output_tokens").unwrap(), "8");
    let back: Vec<&Exported> = spans.iter().filter(|e| e.span.name == "back").collect();
    assert!(!back.is_empty());
    for name in ["queue", "read frames", "back"] {
        let steps = spans.iter().filter(|e| e.span.name == name);
        let steps: Vec<&Exported> = steps.collect();
        assert_eq!(steps.len(), back.len(), "{name}");
        assert!(steps.iter().all(|step| step.lies_in(infer)), "{name}");
    }
    let decode = only(&spans, CLOUD, "decode").unwrap();
    assert!(decode.lies_in(infer));
    assert_eq!(decode.attribute("tandem.tokens").unwrap(), "7");
    assert!(decode.seconds("tandem.back_seconds") > 0.0);

    let next = of_trace(&all, "b2");
    let root = only(&next, EDGE, "generate").unwrap();
    assert_eq!(root.attribute("tandem.reused_tokens").unwrap(), "107");
    let infer = only(&next, CLOUD, "infer").unwrap();
    assert_eq!(infer.span.parent_span_id, root.span.span_id);
    assert_eq!(spans.len() + next.len(), all.len(), "no other trace");
    for exported in &all {
        assert_eq!(exported.resource["deployment.environment"], "test");
        assert_eq!(exported.resource["service.instance.id"].len(), 32);
        assert!(exported.resource.contains_key("service.version"));
    }
}

#[tokio::test]
async fn the_caller_decides_and_without_one_the_share() {
    let collector = Collector::start().await.unwrap();
    let mut never = pair(&collector.url(), 0.0).await;
    for parent in ["", "00-what-is-this-01", &parent("c3", "00")] {
        assert_eq!(generate(&never, &[1, 2, 3], 2, parent).await.len(), 2);
    }
    generate(&never, &[4, 5, 6], 2, &parent("d4", "01")).await;
    end(&mut never).await;
    let spans = collector.spans();
    assert!(!spans.is_empty());
    assert_eq!(of_trace(&spans, "d4").len(), spans.len());

    let collector = Collector::start().await.unwrap();
    let mut always = pair(&collector.url(), 1.0).await;
    generate(&always, &[1, 2, 3], 2, &parent("e5", "00")).await;
    let chat = v1::ChatRequest {
        messages: vec![message("user", "Why is the sky blue?")],
        max_tokens: Some(2),
        ..v1::ChatRequest::default()
    };
    let client = Client::connect(&always.edge.url()).await.unwrap();
    client.chat(chat).await.unwrap();
    let is_there = |spans: &[Exported]| {
        only(spans, EDGE, "chat").is_ok() && only(spans, CLOUD, "infer").is_ok()
    };
    let spans = collector.wait(SOON, is_there).await.unwrap();
    let root = only(&spans, EDGE, "chat").unwrap();
    assert!(root.span.parent_span_id.is_empty());
    let infer = only(&spans, CLOUD, "infer").unwrap();
    assert_eq!(infer.span.parent_span_id, root.span.span_id);
    end(&mut always).await;
    let spans = collector.spans();
    assert_eq!(of_trace(&spans, &root.trace()).len(), spans.len());
    assert!(
        always.edge.log().contains(&root.trace()),
        "a line of the log has the trace"
    );
}

#[tokio::test]
async fn a_client_of_the_openai_api_and_a_failure_are_traced_too() {
    let collector = Collector::start().await.unwrap();
    let api = ReservedPort::new().unwrap();
    let edge = options(&collector.url(), 0.0);
    let edge = edge.arg("--openai-listen").arg(api.address().to_string());
    let _pair = Pair::start(&default_model(), 10, PairOptions::default().edge(edge))
        .await
        .unwrap();
    for (trace, tokens) in [("f6", 2), ("f7", 0)] {
        let body = format!(
            r#"{{"model": "smollm2-135m-instruct", "prompt": "The sky", "max_tokens": {tokens}}}"#
        );
        let request = format!(
            "POST /v1/completions HTTP/1.0\r\ncontent-type: application/json\r\ntraceparent: {}\r\ncontent-length: {}\r\n\r\n{body}",
            parent(trace, "01"),
            body.len()
        );
        let mut stream = TcpStream::connect(api.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = if tokens > 0 { "200" } else { "400" };
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
    }
    let both = |spans: &[Exported]| {
        let done = spans.iter().filter(|e| e.span.name == "completions");
        done.count() == 2
    };
    let spans = collector.wait(SOON, both).await.unwrap();
    let answered = of_trace(&spans, "f6");
    let root = only(&answered, EDGE, "completions").unwrap();
    assert_eq!(root.attribute("gen_ai.usage.output_tokens").unwrap(), "2");
    let refused = of_trace(&spans, "f7");
    let root = only(&refused, EDGE, "completions").unwrap();
    assert_eq!(root.attribute("error.type").unwrap(), "MAX_TOKENS");
    // The cloud has no collector: it makes no spans, and serves a trace all the same.
    assert!(spans.iter().all(|e| e.service() == EDGE));
}

#[tokio::test]
async fn a_collector_that_is_away_is_nobodys_business() {
    // One port refuses, the other takes connections and never answers.
    let refusing = ReservedPort::new().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let edge = options(&format!("http://{}", refusing.address()), 1.0);
    let cloud = options(&format!("http://{}", silent.local_addr().unwrap()), 1.0);
    let away = PairOptions::default().edge(edge).cloud(cloud);
    let mut away = Pair::start(&default_model(), 10, away).await.unwrap();
    let prompt: Vec<u32> = (1000..1020).collect();
    let ids = generate(&away, &prompt, 4, "").await;
    assert_eq!(generate(&away, &prompt, 4, "").await, ids);
    let dropped = |side: &str| {
        let name = format!("tandem_{side}_trace_spans_total");
        move |m: &tandem_tests::process::Metrics| m.sum_with(&name, &[("outcome", "dropped")]) > 0.0
    };
    away.edge.wait_metrics(SOON, dropped("edge")).await.unwrap();
    away.cloud
        .wait_metrics(SOON, dropped("cloud"))
        .await
        .unwrap();
    generate(&away, &prompt, 4, "").await;
    let began = Instant::now();
    end(&mut away).await;
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
    let warned = away.edge.log();
    assert_eq!(
        warned.matches("spans cannot be exported").count(),
        1,
        "{warned}"
    );

    let plain = Pair::start(&default_model(), 10, PairOptions::default())
        .await
        .unwrap();
    assert_eq!(generate(&plain, &prompt, 4, &parent("a8", "01")).await, ids);
}
