//! Version 1 on the wire, byte by byte: a later change to a message is seen here.
//!
//! `version_1.txt` was recorded once. A line that differs means that peers of version 1 would
//! misread the message: change the `.proto` back, or make it version 2.

use prost::Message;
use std::fmt::Write as _;
use tandem_proto::v1::constraint::Form;
use tandem_proto::v1::{self, infer_request as up, infer_response as down};

const RECORDED: &str = include_str!("version_1.txt");

fn sampling() -> v1::SamplingParameters {
    v1::SamplingParameters {
        temperature: Some(0.75),
        top_k: Some(40),
        top_p: Some(0.9),
        min_p: Some(0.05),
        repetition_penalty: Some(1.1),
        presence_penalty: Some(0.5),
        frequency_penalty: Some(-0.5),
        seed: Some(u64::MAX),
        logit_bias: vec![v1::LogitBias {
            token_id: 300,
            bias: -100.0,
        }],
        logprobs: Some(2),
        ignore_eos: true,
    }
}

fn constraint(form: Form) -> Option<v1::Constraint> {
    Some(v1::Constraint { form: Some(form) })
}

fn logprobs() -> v1::TokenLogprobs {
    v1::TokenLogprobs {
        logprob: -0.25,
        top: vec![v1::TopLogprob {
            token_id: 7,
            logprob: -0.25,
        }],
    }
}

fn model() -> v1::ModelDescription {
    v1::ModelDescription {
        name: "m".into(),
        architecture: "llama".into(),
        layers: 30,
        hidden_size: 576,
        vocabulary_size: 49_152,
        max_position_embeddings: 8192,
        weights_fingerprint: vec![1; 4],
        tokenizer_fingerprint: vec![2; 4],
        ..v1::ModelDescription::default()
    }
}

fn chat_event_of(answer: u32, event: v1::chat_response::Event) -> Vec<u8> {
    v1::ChatResponse {
        event: Some(event),
        answer,
    }
    .encode_to_vec()
}

fn chat_with_tools() -> v1::ChatRequest {
    v1::ChatRequest {
        messages: vec![v1::ChatMessage {
            role: "r".into(),
            content: "c".into(),
            name: "n".into(),
            reasoning: "t".into(),
            tool_calls: vec![tool_call()],
            tool_call_id: "1".into(),
        }],
        answers: 2,
        tells_steps: true,
        tools: vec![tool()],
        tool_mode: v1::ToolMode::Required.into(),
        tool_name: "a".into(),
        one_tool_call: true,
        tells_reasoning: true,
        ..v1::ChatRequest::default()
    }
}

fn tool() -> v1::Tool {
    v1::Tool {
        name: "a".into(),
        description: "d".into(),
        parameters: "{}".into(),
        strict: true,
    }
}

fn tool_call() -> v1::ToolCall {
    v1::ToolCall {
        id: "1".into(),
        name: "a".into(),
        arguments: "{}".into(),
    }
}

fn step() -> v1::Step {
    v1::Step {
        tokens: 1,
        seconds: 0.5,
        edge_compute_seconds: 0.25,
        encode_seconds: 0.125,
        link_seconds: 0.5,
        cloud_queue_seconds: 0.25,
        cloud_compute_seconds: 0.125,
        rows: 2,
        frame_bytes: 3,
        up_bytes: 4,
        down_bytes: 5,
        drafts: Some(v1::DraftUsage {
            sent: 6,
            accepted: 7,
        }),
        codec: "high".into(),
        replays: 8,
        round_trip_seconds: Some(0.0),
        up_bytes_per_second: Some(2.0),
    }
}

fn profiled() -> v1::ProfileBackResponse {
    v1::ProfileBackResponse {
        machine: Some(v1::Machine {
            processor: "2 × p".into(),
            device: "cpu".into(),
            threads: 2,
            libtorch: "2.13.0".into(),
            ..v1::Machine::default()
        }),
        weights: "f32".into(),
        kv: "int8".into(),
        layers: 30,
        merged_rows: 128,
        steps: vec![v1::StepTime {
            layers: 30,
            rows: 1,
            position: 512,
            seconds: 0.25,
        }],
        head_seconds: 0.125,
        load: Some(v1::BackLoad {
            running_sessions: 1,
            max_sessions: 64,
            kv_bytes: 300,
            kv_budget_bytes: 1 << 30,
            queue_seconds: 0.5,
        }),
    }
}

/// Every message with every field set.
fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let versions = Some(v1::VersionRange { min: 1, max: 2 });
    let request = |message| {
        v1::InferRequest {
            message: Some(message),
        }
        .encode_to_vec()
    };
    let response = |message| {
        v1::InferResponse {
            message: Some(message),
        }
        .encode_to_vec()
    };
    let open = v1::Open {
        versions,
        features: vec![1, 2],
        weights_fingerprint: vec![1; 4],
        tokenizer_fingerprint: vec![2; 4],
        split: 10,
        codecs: vec!["f32".into(), "bf16".into()],
        session_id: vec![3; 16],
        context: 2048,
        ..v1::Open::default()
    };
    // Fields that came later: absent, they change nothing.
    let open_calibrated = v1::Open {
        profile_fingerprint: vec![4; 4],
        profile: vec![5; 2],
        ..open.clone()
    };
    // An edge, and a cloud, that have some of a model's shards.
    let open_in_part = v1::Open {
        weights_fingerprint: Vec::new(),
        files_fingerprint: vec![6; 4],
        ..open.clone()
    };
    let described_in_part = v1::DescribeBackResponse {
        model: Some(v1::ModelDescription {
            weights_fingerprint: Vec::new(),
            files_fingerprint: vec![6; 4],
            ..model()
        }),
        ..v1::DescribeBackResponse::default()
    };
    let run = v1::Run {
        epoch: 1,
        sampling: Some(sampling()),
        max_tokens: 64,
        eos_token_ids: vec![2, 300],
        history_token_ids: vec![5, 6],
        ..v1::Run::default()
    };
    let run_traced = v1::Run {
        epoch: 1,
        traceparent: "00-01-02-01".into(),
        tracestate: "a=1".into(),
        ..v1::Run::default()
    };
    // An answer that has lost a session.
    let open_again = v1::Open {
        features: vec![v1::Feature::Replay.into()],
        replays: 1,
        ..v1::Open::default()
    };
    let run_again = v1::Run {
        timeout_millis: 1500,
        answered: 300,
        ..v1::Run::default()
    };
    let machine_with_host = v1::Machine {
        running_host: "a1".into(),
        ..v1::Machine::default()
    };
    let rows = v1::Rows {
        epoch: 1,
        start: 200,
        count: 3,
        token_ids: vec![1, 2, 49_151],
        want: v1::Want::Token.into(),
        frame: vec![0xab; 5].into(),
        crc32c: 0xdead_beef,
    };
    let tokens = v1::Tokens {
        epoch: 1,
        position: 203,
        ids: vec![49_151],
        logprobs: vec![logprobs()],
        finish_reason: v1::FinishReason::Length.into(),
        queue_micros: 100,
        compute_micros: 20_000,
        ..v1::Tokens::default()
    };
    let granted = v1::Granted {
        version: 1,
        codec: "f32".into(),
        context: 2048,
        max_frame_bytes: 262_144,
        idle_ttl_millis: 300_000,
        lease_millis: 1000,
        ..v1::Granted::default()
    };
    // A session that begins with pages.
    let open_with_pages = v1::Open {
        features: vec![v1::Feature::Prefixes.into()],
        page_names: vec![vec![0xee; 2], vec![0xdd; 2]],
        ..v1::Open::default()
    };
    let granted_with_pages = v1::Granted {
        version: 1,
        pages: 1,
        ..v1::Granted::default()
    };
    let pages = v1::Pages {
        epoch: 1,
        first: 2,
        names: vec![vec![0xee; 2]],
    };
    let progress = v1::Progress {
        epoch: 1,
        received: 200,
        queue_micros: 1,
        compute_micros: 2,
    };
    let described = v1::DescribeBackResponse {
        model: Some(model()),
        versions,
        codecs: vec!["f32".into()],
        first_layer: 4,
        max_context: 8192,
        max_frame_bytes: 262_144,
        features: vec![1],
        ..v1::DescribeBackResponse::default()
    };
    let described_profiles = v1::DescribeBackResponse {
        profile_fingerprints: vec![vec![4; 4]],
        accepts_profiles: true,
        ..described.clone()
    };
    let described_layers = v1::DescribeBackResponse {
        held: Some(v1::HeldLayers {
            first: 4,
            end: 30,
            weights: "f32".into(),
            kv: "int8".into(),
            weight_bytes: 300_000_000,
        }),
        ..described.clone()
    };
    let finished = v1::Finished {
        finish_reason: v1::FinishReason::Stop.into(),
        stop: "END".into(),
        prompt_tokens: 10,
        completion_tokens: 20,
        seed: 7,
        timings: Some(v1::Timings {
            ttft_seconds: 0.5,
            decode_seconds: 2.0,
            tokens_per_second: 9.5,
            edge_compute_seconds: 0.25,
            cloud_compute_seconds: 0.75,
            cloud_queue_seconds: 0.125,
        }),
        wire: Some(v1::WireUsage {
            up_bytes: 1,
            down_bytes: 2,
            rows: 3,
            frame_bytes: 4,
            token_id_bytes: 5,
            bits_per_value: 32.0,
            codecs: Vec::new(),
        }),
        replays: 1,
        ..v1::Finished::default()
    };
    // Several clouds.
    let load = v1::BackLoad {
        running_sessions: 3,
        max_sessions: 64,
        ..v1::BackLoad::default()
    };
    let described_load = v1::DescribeBackResponse {
        numerics: vec![9; 2],
        load: Some(load),
        ..v1::DescribeBackResponse::default()
    };
    let granted_load = v1::Granted {
        load: Some(load),
        ..v1::Granted::default()
    };
    let tokens_load = v1::Tokens {
        load: Some(load),
        ..v1::Tokens::default()
    };
    let finished_exact = v1::Finished {
        exact: true,
        ..v1::Finished::default()
    };
    let rows_of_drafts = v1::Rows {
        start: 9,
        count: 2,
        token_ids: vec![3, 300],
        want: v1::Want::EachToken.into(),
        ..v1::Rows::default()
    };
    let finished_drafts = v1::Finished {
        drafts: Some(v1::DraftUsage {
            sent: 5,
            accepted: 4,
        }),
        ..v1::Finished::default()
    };
    let mut finished_codecs = finished.clone();
    finished_codecs.wire.get_or_insert_default().codecs = vec![v1::CodecUsage {
        codec: "bf16".into(),
        rows: 3,
        frame_bytes: 300,
    }];
    let delta = v1::Delta {
        text: "é".into(),
        token_ids: vec![7],
        logprobs: vec![logprobs()],
        ..v1::Delta::default()
    };
    let generate = v1::GenerateRequest {
        input: Some(v1::generate_request::Input::Prompt("Hi".into())),
        sampling: Some(sampling()),
        max_tokens: Some(0),
        stop: vec!["END".into()],
        ..v1::GenerateRequest::default()
    };
    let chat = v1::ChatRequest {
        messages: vec![v1::ChatMessage {
            role: "user".into(),
            content: "Hi".into(),
            ..v1::ChatMessage::default()
        }],
        sampling: None,
        max_tokens: Some(8),
        stop: vec!["END".into()],
        ..v1::ChatRequest::default()
    };
    // Fields that came later.
    let generate_salted = v1::GenerateRequest {
        cache_salt: "u7".into(),
        ..v1::GenerateRequest::default()
    };
    let chat_salted = v1::ChatRequest {
        cache_salt: "u7".into(),
        ..v1::ChatRequest::default()
    };
    let chat_event = |event| chat_event_of(0, event);
    let started = v1::Started {
        prompt_tokens: 10,
        reused_tokens: 4,
        context: 2048,
    };
    vec![
        ("open", request(up::Message::Open(open))),
        ("run", request(up::Message::Run(run))),
        ("rows", request(up::Message::Rows(rows))),
        (
            "truncate",
            request(up::Message::Truncate(v1::Truncate {
                epoch: 2,
                position: 9,
            })),
        ),
        (
            "ping",
            request(up::Message::Ping(v1::Ping {
                nonce: 5,
                padding: vec![0; 2],
                ..v1::Ping::default()
            })),
        ),
        ("close", request(up::Message::Close(v1::Close {}))),
        ("granted", response(down::Message::Granted(granted))),
        ("tokens", response(down::Message::Tokens(tokens))),
        ("progress", response(down::Message::Progress(progress))),
        (
            "draining",
            response(down::Message::Draining(v1::Draining {
                deadline_millis: 30_000,
            })),
        ),
        (
            "pong",
            response(down::Message::Pong(v1::Pong {
                nonce: 5,
                ..v1::Pong::default()
            })),
        ),
        ("described", described.encode_to_vec()),
        ("generate", generate.encode_to_vec()),
        ("chat", chat.encode_to_vec()),
        (
            "started",
            chat_event(v1::chat_response::Event::Started(started)),
        ),
        ("delta", chat_event(v1::chat_response::Event::Delta(delta))),
        (
            "finished",
            chat_event(v1::chat_response::Event::Finished(finished)),
        ),
        (
            "open_calibrated",
            request(up::Message::Open(open_calibrated)),
        ),
        ("described_profiles", described_profiles.encode_to_vec()),
        (
            "ping_wanting_filler",
            request(up::Message::Ping(v1::Ping {
                nonce: 5,
                padding: vec![],
                reply_bytes: 300,
            })),
        ),
        (
            "pong_with_filler",
            response(down::Message::Pong(v1::Pong {
                nonce: 5,
                padding: vec![0; 2],
            })),
        ),
        ("profiled", profiled().encode_to_vec()),
        ("machine_with_host", machine_with_host.encode_to_vec()),
        (
            "finished_codecs",
            chat_event(v1::chat_response::Event::Finished(finished_codecs)),
        ),
        ("run_traced", request(up::Message::Run(run_traced))),
        ("described_layers", described_layers.encode_to_vec()),
        ("open_in_part", request(up::Message::Open(open_in_part))),
        ("described_in_part", described_in_part.encode_to_vec()),
        ("open_again", request(up::Message::Open(open_again))),
        ("run_again", request(up::Message::Run(run_again))),
        ("generate_salted", generate_salted.encode_to_vec()),
        ("chat_salted", chat_salted.encode_to_vec()),
        (
            "open_with_pages",
            request(up::Message::Open(open_with_pages)),
        ),
        (
            "granted_with_pages",
            response(down::Message::Granted(granted_with_pages)),
        ),
        ("pages", response(down::Message::Pages(pages))),
        ("described_load", described_load.encode_to_vec()),
        (
            "granted_load",
            response(down::Message::Granted(granted_load)),
        ),
        ("tokens_load", response(down::Message::Tokens(tokens_load))),
        (
            "finished_exact",
            chat_event(v1::chat_response::Event::Finished(finished_exact)),
        ),
        ("rows_of_drafts", request(up::Message::Rows(rows_of_drafts))),
        (
            "finished_drafts",
            chat_event(v1::chat_response::Event::Finished(finished_drafts)),
        ),
        (
            "run_constrained",
            request(up::Message::Run(v1::Run {
                answered: 2,
                constraint: constraint(Form::JsonSchema("{}".into())),
                answered_token_ids: vec![7, 300],
                ..v1::Run::default()
            })),
        ),
        (
            "generate_constrained",
            v1::GenerateRequest {
                constraint: constraint(Form::Grammar("g".into())),
                ..v1::GenerateRequest::default()
            }
            .encode_to_vec(),
        ),
        (
            "chat_constrained",
            v1::ChatRequest {
                constraint: constraint(Form::Regex("a".into())),
                ..v1::ChatRequest::default()
            }
            .encode_to_vec(),
        ),
        (
            "generate_several",
            v1::GenerateRequest {
                answers: 3,
                tells_steps: true,
                ..v1::GenerateRequest::default()
            }
            .encode_to_vec(),
        ),
        ("chat_with_tools", chat_with_tools().encode_to_vec()),
        (
            "delta_of_parts",
            chat_event_of(
                1,
                v1::chat_response::Event::Delta(v1::Delta {
                    reasoning: "t".into(),
                    tool_calls: vec![tool_call()],
                    ..v1::Delta::default()
                }),
            ),
        ),
        ("step", chat_event(v1::chat_response::Event::Step(step()))),
        (
            "conversation_with_tools",
            v1::Conversation {
                messages: Vec::new(),
                tools: vec![tool()],
            }
            .encode_to_vec(),
        ),
    ]
}

#[test]
fn messages_are_written_as_version_1_wrote_them() {
    let mut written = String::new();
    for (name, bytes) in messages() {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        writeln!(written, "{name} {hex}").unwrap();
    }
    assert_eq!(written, RECORDED, "the left is what this build writes");
}

#[test]
fn a_decode_row_has_an_envelope_of_twenty_bytes() {
    let frame = vec![0; 2308];
    let rows = v1::Rows {
        epoch: 3,
        start: 4000,
        want: v1::Want::Token.into(),
        crc32c: u32::MAX,
        frame: frame.clone().into(),
        ..v1::Rows::default()
    };
    let message = v1::InferRequest {
        message: Some(up::Message::Rows(rows)),
    };
    // 5 bytes of gRPC's prefix and 9 of an HTTP/2 frame come on top.
    assert!(
        message.encoded_len() - frame.len() <= 20,
        "{}",
        message.encoded_len()
    );
}
