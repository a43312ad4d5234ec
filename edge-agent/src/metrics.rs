//! Everything edge-agent counts. docs/reference.md has the same table, and a test holds both
//! equal.

use tandem_client::metrics::{
    BITS_PER_VALUE, CLOUDS, CODEC_SWITCHES, DRAFT_MODEL_STEP, DRAFT_MODEL_WEIGHT_BYTES, DRAFTS,
    ENCODE, FRONT_STEP, INEXACT_ANSWERS, LINK, LINK_RATE, LINK_ROUND_TRIP, OUTLIERS, PREFIX_BYTES,
    PREFIX_POSITIONS, PREFIX_SAVED_BYTES, REPLAY, REPLAYS, RESUMES, ROUND_TRIP_TOKENS, ROWS,
    SESSIONS, WIRE_BYTES,
};
use tandem_engine::EngineStep;
use tandem_server::collector::TraceMetrics;
use tandem_telemetry::metrics::{
    COUNTS, E2E_LATENCY_SECONDS, INTER_TOKEN_SECONDS, Kind, Label, Metric,
    TIME_TO_FIRST_TOKEN_SECONDS, Unit,
};
use tandem_transport::connections::ConnectionMetrics;
use tandem_transport::data_port::DataPortMetrics;

const PHASE: &[Label] = &[Label {
    name: "phase",
    values: &["prefill", "decode"],
}];
const FINISHED_REASON: &[Label] = &[Label {
    name: "finished_reason",
    values: &["stop", "length"],
}];
/// The gRPC statuses an answer can end with.
const CODE: &[Label] = &[Label {
    name: "code",
    values: &[
        "cancelled",
        "unknown",
        "invalid_argument",
        "deadline_exceeded",
        "resource_exhausted",
        "failed_precondition",
        "aborted",
        "out_of_range",
        "unimplemented",
        "internal",
        "unavailable",
        "data_loss",
    ],
}];

/// The release that this is.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Time to first token.
pub const TIME_TO_FIRST_TOKEN: Metric = Metric {
    name: "tandem_edge_time_to_first_token_seconds",
    kind: Kind::Histogram(TIME_TO_FIRST_TOKEN_SECONDS),
    unit: Unit::Seconds,
    labels: &[],
    help: "From a request to its first token.",
};
/// Inter-token latency.
pub const INTER_TOKEN_LATENCY: Metric = Metric {
    name: "tandem_edge_inter_token_latency_seconds",
    kind: Kind::Histogram(INTER_TOKEN_SECONDS),
    unit: Unit::Seconds,
    labels: &[],
    help: "Between two tokens of an answer.",
};
/// Whole answers.
pub const E2E_LATENCY: Metric = Metric {
    name: "tandem_edge_e2e_request_latency_seconds",
    kind: Kind::Histogram(E2E_LATENCY_SECONDS),
    unit: Unit::Seconds,
    labels: &[],
    help: "From a request to the end of its answer.",
};
/// Prompt tokens.
pub const PROMPT_TOKENS: Metric = Metric {
    name: "tandem_edge_prompt_tokens_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[],
    help: "Tokens of accepted prompts.",
};
/// Reused tokens.
pub const REUSED_TOKENS: Metric = Metric {
    name: "tandem_edge_reused_tokens_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[],
    help: "Of the prompt tokens, those that were held of earlier answers.",
};
/// Generated tokens.
pub const GENERATION_TOKENS: Metric = Metric {
    name: "tandem_edge_generation_tokens_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[],
    help: "Tokens generated.",
};
/// Answers.
pub const REQUEST_SUCCESS: Metric = Metric {
    name: "tandem_edge_request_success_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: FINISHED_REASON,
    help: "Answers that reached their end.",
};
/// Failures.
pub const FAILURES: Metric = Metric {
    name: "tandem_edge_failures_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: CODE,
    help: "Requests that ended with an error, by gRPC status.",
};
/// The way up.
pub const UPLINK_BYTES: Metric = Metric {
    name: "tandem_edge_uplink_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &[Label {
        name: "what",
        values: &["in_flight", "window"],
    }],
    help: "Prompt bytes sent and not acknowledged, and how many may be.",
};
/// Open connections.
pub const CONNECTIONS: Metric = Metric {
    name: "tandem_edge_connections",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    help: "Connections of clients that are open, those to the admin port included.",
};
/// Closed connections.
pub const CONNECTIONS_CLOSED: Metric = Metric {
    name: "tandem_edge_connections_closed_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[Label {
        name: "cause",
        values: &["max", "per_address", "no_call"],
    }],
    help: "Connections that this server closed, because there were too many or no call came.",
};
/// Handshakes.
pub const TLS_HANDSHAKES: Metric = Metric {
    name: "tandem_edge_tls_handshakes_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[Label {
        name: "outcome",
        values: &["done", "failed", "timeout"],
    }],
    help: "TLS handshakes on the data port.",
};
/// Refused requests.
pub const UNAUTHENTICATED: Metric = Metric {
    name: "tandem_edge_unauthenticated_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[Label {
        name: "cause",
        values: &["missing", "unknown", "certificate"],
    }],
    help: "Requests refused on the data port, because of their token or their certificate's name.",
};
/// Reloaded files.
pub const RELOADS: Metric = Metric {
    name: "tandem_edge_reloads_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[
        Label {
            name: "what",
            values: &["tls", "tokens", "cloud_tls", "cloud_token"],
        },
        Label {
            name: "outcome",
            values: &["done", "failed"],
        },
    ],
    help: "Changed certificates, keys and tokens that were read; after a failure the old stay in use.",
};

/// What the data port counts.
pub const DATA_PORT: DataPortMetrics = DataPortMetrics {
    handshakes: TLS_HANDSHAKES,
    unauthenticated: UNAUTHENTICATED,
    reloads: RELOADS,
    connections: ConnectionMetrics {
        open: CONNECTIONS,
        closed: CONNECTIONS_CLOSED,
    },
};

/// The release.
pub const BUILD_INFO: Metric = Metric {
    name: "tandem_edge_build_info",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[Label {
        name: "version",
        values: &[VERSION],
    }],
    help: "1, with the release that runs.",
};
/// 1, with what this edge runs: model, split, types of weights and of keys and values, codec.
pub const DEPLOYMENT_INFO: Metric = Metric {
    name: "tandem_edge_deployment_info",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[
        named("model"),
        named("split"),
        named("weights"),
        named("kv"),
        named("codec"),
    ],
    help: "1, with what this edge runs: model, split, types of weights and of keys and values, codec.",
};
/// Memory that the matrices held here take.
pub const WEIGHT_BYTES: Metric = Metric {
    name: "tandem_edge_weight_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &[],
    help: "Memory that the matrices held here take.",
};

/// A label whose values are known only at run time.
const fn named(name: &'static str) -> Label {
    Label { name, values: &[] }
}

/// Spans.
pub const TRACE_SPANS: Metric = Metric {
    name: "tandem_edge_trace_spans_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[Label {
        name: "outcome",
        values: &["exported", "dropped"],
    }],
    help: "Spans of traces, by whether the collector got them.",
};

/// What traces count.
pub const TRACES: TraceMetrics = TraceMetrics {
    spans: TRACE_SPANS,
    reloads: RELOADS,
};

/// Steps of the engine.
pub const ENGINE_STEP: Metric = Metric {
    name: "tandem_edge_engine_step_seconds",
    kind: Kind::Histogram(INTER_TOKEN_SECONDS),
    unit: Unit::Seconds,
    labels: &[Label {
        name: "kind",
        values: &["decode", "prefill", "mixed"],
    }],
    help: "One step of the engine, which has rows of all sessions that are ready.",
};
/// Rows of those.
pub const ENGINE_ROWS: Metric = Metric {
    name: "tandem_edge_engine_rows",
    kind: Kind::Histogram(COUNTS),
    unit: Unit::Count,
    labels: PHASE,
    help: "Rows of one step of the engine.",
};
/// Whether it hangs.
pub const ENGINE_STALLED: Metric = Metric {
    name: "tandem_edge_engine_stalled",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    help: "1 while one step of the engine lasts longer than engine.stalled_after.",
};

/// Counts a step of the engine.
pub fn observe_step(step: &EngineStep) {
    ENGINE_STEP.histogram(&[step.kind()]).record(step.took);
    for (phase, rows) in [("decode", step.decode_rows), ("prefill", step.prefill_rows)] {
        if rows > 0 {
            ENGINE_ROWS.histogram(&[phase]).record(rows as f64);
        }
    }
}

/// All of them.
pub const CATALOGUE: &[Metric] = &[
    BUILD_INFO,
    DEPLOYMENT_INFO,
    WEIGHT_BYTES,
    ENGINE_STEP,
    ENGINE_ROWS,
    ENGINE_STALLED,
    TIME_TO_FIRST_TOKEN,
    INTER_TOKEN_LATENCY,
    E2E_LATENCY,
    FRONT_STEP,
    ENCODE,
    DRAFTS,
    DRAFT_MODEL_STEP,
    DRAFT_MODEL_WEIGHT_BYTES,
    ROUND_TRIP_TOKENS,
    LINK,
    ROWS,
    BITS_PER_VALUE,
    OUTLIERS,
    WIRE_BYTES,
    PROMPT_TOKENS,
    REUSED_TOKENS,
    GENERATION_TOKENS,
    REQUEST_SUCCESS,
    FAILURES,
    SESSIONS,
    UPLINK_BYTES,
    REPLAYS,
    RESUMES,
    INEXACT_ANSWERS,
    CLOUDS,
    REPLAY,
    PREFIX_POSITIONS,
    PREFIX_SAVED_BYTES,
    PREFIX_BYTES,
    CODEC_SWITCHES,
    LINK_ROUND_TRIP,
    LINK_RATE,
    CONNECTIONS,
    CONNECTIONS_CLOSED,
    TLS_HANDSHAKES,
    UNAUTHENTICATED,
    RELOADS,
    TRACE_SPANS,
];

/// The label of a status code.
pub fn code_label(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Cancelled => "cancelled",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Ok
        | Code::Unknown
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated => "unknown",
    }
}
