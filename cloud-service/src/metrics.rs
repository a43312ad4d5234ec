//! Everything cloud-service counts. docs/reference.md has the same table, and a test holds both
//! equal.

use tandem_engine::EngineStep;
use tandem_server::collector::TraceMetrics;
use tandem_telemetry::metrics::{
    COUNTS, INTER_TOKEN_SECONDS, Kind, Label, Metric, TIME_TO_FIRST_TOKEN_SECONDS, Unit,
};
use tandem_transport::connections::ConnectionMetrics;
use tandem_transport::data_port::DataPortMetrics;

const DIRECTION_AND_KIND: &[Label] = &[
    Label {
        name: "direction",
        values: &["up", "down"],
    },
    Label {
        name: "kind",
        values: &["frame", "token_ids", "tokens", "control"],
    },
];
const PHASE: &[Label] = &[Label {
    name: "phase",
    values: &["prefill", "decode"],
}];
const FINISHED_REASON: &[Label] = &[Label {
    name: "finished_reason",
    values: &["stop", "length"],
}];
/// The gRPC statuses a stream can end with.
const CODE: &[Label] = &[Label {
    name: "code",
    values: &[
        "cancelled",
        "invalid_argument",
        "deadline_exceeded",
        "already_exists",
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
const STATE: &[Label] = &[Label {
    name: "state",
    values: &["running", "idle"],
}];

/// The release that this is.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Time to first token.
pub const TIME_TO_FIRST_TOKEN: Metric = Metric {
    name: "tandem_cloud_time_to_first_token_seconds",
    kind: Kind::Histogram(TIME_TO_FIRST_TOKEN_SECONDS),
    unit: Unit::Seconds,
    labels: &[],
    help: "From the arrival of an answer's first rows to its first token.",
};
/// Inter-token latency.
pub const INTER_TOKEN_LATENCY: Metric = Metric {
    name: "tandem_cloud_inter_token_latency_seconds",
    kind: Kind::Histogram(INTER_TOKEN_SECONDS),
    unit: Unit::Seconds,
    labels: &[],
    help: "Between two tokens of an answer, link and edge included.",
};
/// Queue.
pub const QUEUE: Metric = Metric {
    name: "tandem_cloud_queue_seconds",
    kind: Kind::Histogram(INTER_TOKEN_SECONDS),
    unit: Unit::Seconds,
    labels: PHASE,
    help: "From the arrival of rows to the start of their step.",
};
/// Compute.
pub const COMPUTE: Metric = Metric {
    name: "tandem_cloud_step_seconds",
    kind: Kind::Histogram(INTER_TOKEN_SECONDS),
    unit: Unit::Seconds,
    labels: PHASE,
    help: "Back layers, head and sampling of one step.",
};
/// Frames to rows.
pub const FRAME_READ: Metric = Metric {
    name: "tandem_cloud_frame_read_seconds",
    kind: Kind::Histogram(INTER_TOKEN_SECONDS),
    unit: Unit::Seconds,
    labels: PHASE,
    help: "Reading the rows of one step out of their frames.",
};
/// The same under the name it had when `decode` meant two things.
pub const FRAME_READ_OLD: Metric = Metric {
    name: "tandem_cloud_decode_seconds",
    help: "The old name of `tandem_cloud_frame_read_seconds`, for one release.",
    ..FRAME_READ
};
/// Rows a message.
pub const ROWS: Metric = Metric {
    name: "tandem_cloud_rows",
    kind: Kind::Histogram(COUNTS),
    unit: Unit::Count,
    labels: PHASE,
    help: "Rows of one message.",
};
/// Wire bytes.
pub const WIRE_BYTES: Metric = Metric {
    name: "tandem_cloud_wire_bytes_total",
    kind: Kind::Counter,
    unit: Unit::Bytes,
    labels: DIRECTION_AND_KIND,
    help: "gRPC message bytes with their prefix, before HTTP/2 and TLS.",
};
/// Tokens.
pub const GENERATION_TOKENS: Metric = Metric {
    name: "tandem_cloud_generation_tokens_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[],
    help: "Tokens sampled.",
};
/// Answers.
pub const REQUEST_SUCCESS: Metric = Metric {
    name: "tandem_cloud_request_success_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: FINISHED_REASON,
    help: "Answers that reached their end in the cloud.",
};
/// Failures.
pub const FAILURES: Metric = Metric {
    name: "tandem_cloud_failures_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: CODE,
    help: "Streams that ended with an error, by gRPC status.",
};
/// Sessions.
pub const SESSIONS: Metric = Metric {
    name: "tandem_cloud_sessions",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: STATE,
    help: "Open sessions.",
};
/// Sessions opened.
pub const SESSIONS_OPENED: Metric = Metric {
    name: "tandem_cloud_sessions_opened_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[],
    help: "Sessions opened.",
};
/// Sessions evicted.
pub const SESSIONS_EVICTED: Metric = Metric {
    name: "tandem_cloud_sessions_evicted_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[Label {
        name: "cause",
        values: &["answering", "idle_ttl", "pressure", "stalled"],
    }],
    help: "Sessions closed because their time was up or others needed the room.",
};
/// Sessions whose stream broke.
pub const SESSIONS_LEFT: Metric = Metric {
    name: "tandem_cloud_sessions_left_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[Label {
        name: "what",
        values: &["left", "taken_up", "lease_ended"],
    }],
    help: "Sessions whose connection broke within their lease, and what became of them.",
};
/// Answers that keep something.
pub const CONSTRAINED_ANSWERS: Metric = Metric {
    name: "tandem_cloud_constrained_answers_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[Label {
        name: "form",
        values: &["json_schema", "regex", "grammar"],
    }],
    help: "Answers that had to keep a JSON schema, a regular expression or a grammar.",
};
/// Making ready what answers keep.
pub const CONSTRAINT_COMPILE: Metric = Metric {
    name: "tandem_cloud_constraint_compile_seconds",
    kind: Kind::Histogram(INTER_TOKEN_SECONDS),
    unit: Unit::Seconds,
    labels: &[],
    help: "Making ready what an answer has to keep; next to nothing for one that is known.",
};
/// Sessions refused.
pub const SESSIONS_REFUSED: Metric = Metric {
    name: "tandem_cloud_sessions_refused_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[
        Label {
            name: "limit",
            values: &["kv_memory", "opening", "queued_rows", "sessions"],
        },
        Label {
            name: "of",
            values: &["all", "peer"],
        },
    ],
    help: "Sessions refused, by the limit that was reached, and whether it is the peer's own.",
};
/// Pages.
pub const KV_PAGES: Metric = Metric {
    name: "tandem_cloud_kv_pages",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[Label {
        name: "state",
        values: &["free", "in_use", "reserved"],
    }],
    help: "Pages of keys and values, of 32 positions of a layer each.",
};
/// Positions that edges wanted sessions to begin with.
pub const PREFIX_POSITIONS: Metric = Metric {
    name: "tandem_cloud_prefix_positions_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[Label {
        name: "result",
        values: &["found", "missed"],
    }],
    help: "Positions that edges named for sessions to begin with, whose rows need not be sent again, by whether they were still there.",
};
/// Memory of those that are kept.
pub const PREFIX_BYTES: Metric = Metric {
    name: "tandem_cloud_prefix_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &[],
    help: "Memory of the keys and values that are kept for sessions to begin with.",
};
/// Memory in use.
pub const KV_BYTES: Metric = Metric {
    name: "tandem_cloud_kv_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &[],
    help: "Memory reserved for keys and values of open sessions.",
};
/// Memory there is.
pub const KV_BUDGET_BYTES: Metric = Metric {
    name: "tandem_cloud_kv_budget_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &[],
    help: "Memory that may be reserved for keys and values.",
};
/// Bits a value.
pub const BITS_PER_VALUE: Metric = Metric {
    name: "tandem_cloud_bits_per_value",
    kind: Kind::Histogram(&[
        2.0, 3.0, 4.0, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0, 9.0, 12.0, 16.0, 20.0, 32.0, 40.0,
    ]),
    unit: Unit::Count,
    labels: &[],
    help: "Frame bits a hidden value, of one frame.",
};
/// Open connections.
pub const CONNECTIONS: Metric = Metric {
    name: "tandem_cloud_connections",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    help: "Connections of clients that are open, those to the admin port included.",
};
/// Closed connections.
pub const CONNECTIONS_CLOSED: Metric = Metric {
    name: "tandem_cloud_connections_closed_total",
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
    name: "tandem_cloud_tls_handshakes_total",
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
    name: "tandem_cloud_unauthenticated_total",
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
    name: "tandem_cloud_reloads_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[
        Label {
            name: "what",
            values: &["tls", "tokens"],
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
    name: "tandem_cloud_build_info",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[Label {
        name: "version",
        values: &[VERSION],
    }],
    help: "1, with the release that runs.",
};
/// 1, with what this cloud holds: model, layers, types of weights and of keys and values.
pub const DEPLOYMENT_INFO: Metric = Metric {
    name: "tandem_cloud_deployment_info",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[
        named("model"),
        named("layers"),
        named("weights"),
        named("kv"),
    ],
    help: "1, with what this cloud holds: model, layers, types of weights and of keys and values.",
};
/// Memory that the matrices held here take.
pub const WEIGHT_BYTES: Metric = Metric {
    name: "tandem_cloud_weight_bytes",
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
    name: "tandem_cloud_trace_spans_total",
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
    name: "tandem_cloud_engine_step_seconds",
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
    name: "tandem_cloud_engine_rows",
    kind: Kind::Histogram(COUNTS),
    unit: Unit::Count,
    labels: PHASE,
    help: "Rows of one step of the engine.",
};
/// Whether it hangs.
pub const ENGINE_STALLED: Metric = Metric {
    name: "tandem_cloud_engine_stalled",
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
    QUEUE,
    COMPUTE,
    FRAME_READ,
    FRAME_READ_OLD,
    ROWS,
    WIRE_BYTES,
    GENERATION_TOKENS,
    REQUEST_SUCCESS,
    FAILURES,
    SESSIONS,
    SESSIONS_OPENED,
    SESSIONS_EVICTED,
    SESSIONS_LEFT,
    SESSIONS_REFUSED,
    CONSTRAINED_ANSWERS,
    CONSTRAINT_COMPILE,
    KV_PAGES,
    PREFIX_POSITIONS,
    PREFIX_BYTES,
    KV_BYTES,
    KV_BUDGET_BYTES,
    BITS_PER_VALUE,
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
        Code::Ok | Code::Cancelled | Code::Unknown => "cancelled",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::AlreadyExists => "already_exists",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Internal | Code::NotFound | Code::PermissionDenied | Code::Unauthenticated => {
            "internal"
        }
    }
}
