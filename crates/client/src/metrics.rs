//! What sessions count. The names are an edge's, whose catalogue has them too.

use tandem_telemetry::metrics::{COUNTS, INTER_TOKEN_SECONDS, Kind, Label, Metric, Unit};

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
/// From a round trip and a short prompt to a minute of attempts.
const REPLAY_SECONDS: &[f64] = &[0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0];
const CODECS: &[&str] = &["f32", "bf16", "int8", "high", "tabq", "balanced", "economy"];

/// Front layers.
pub const FRONT_STEP: Metric = Metric {
    name: "tandem_edge_step_seconds",
    kind: Kind::Histogram(INTER_TOKEN_SECONDS),
    unit: Unit::Seconds,
    labels: PHASE,
    help: "Front layers and encoding of one step.",
};
/// Encoding.
pub const ENCODE: Metric = Metric {
    name: "tandem_edge_encode_seconds",
    kind: Kind::Histogram(INTER_TOKEN_SECONDS),
    unit: Unit::Seconds,
    labels: PHASE,
    help: "Encoding the rows of one step.",
};
/// Outliers.
pub const OUTLIERS: Metric = Metric {
    name: "tandem_edge_outlier_fraction",
    kind: Kind::Histogram(&[
        0.0, 0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3, 1.0,
    ]),
    unit: Unit::Count,
    labels: &[],
    help: "The share of a frame's values that were written apart from the others.",
};
/// Drafts.
pub const DRAFTS: Metric = Metric {
    name: "tandem_edge_drafts_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[
        Label {
            name: "what",
            values: &["sent", "accepted"],
        },
        Label {
            name: "source",
            values: &["conversation", "earlier_answer", "draft_model"],
        },
    ],
    help: "Drafts whose rows were sent, and those of them that were the token, by what they were taken from.",
};
/// Guesses of the draft model.
pub const DRAFT_MODEL_STEP: Metric = Metric {
    name: "tandem_edge_draft_model_step_seconds",
    kind: Kind::Histogram(INTER_TOKEN_SECONDS),
    unit: Unit::Seconds,
    labels: &[],
    help: "One guess of the draft model, with what it waited for.",
};
/// The draft model.
pub const DRAFT_MODEL_WEIGHT_BYTES: Metric = Metric {
    name: "tandem_edge_draft_model_weight_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &[],
    help: "Memory of the draft model's matrices.",
};
/// Tokens of a round trip.
pub const ROUND_TRIP_TOKENS: Metric = Metric {
    name: "tandem_edge_round_trip_tokens",
    kind: Kind::Histogram(&[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0]),
    unit: Unit::Count,
    labels: &[],
    help: "Tokens that came with one message.",
};
/// The link.
pub const LINK: Metric = Metric {
    name: "tandem_edge_link_seconds",
    kind: Kind::Histogram(INTER_TOKEN_SECONDS),
    unit: Unit::Seconds,
    labels: &[],
    help: "From sending a row to its token, less what the cloud says it queued and computed.",
};
/// Rows a message.
pub const ROWS: Metric = Metric {
    name: "tandem_edge_rows",
    kind: Kind::Histogram(COUNTS),
    unit: Unit::Count,
    labels: PHASE,
    help: "Rows of one message.",
};
/// Bits a value.
pub const BITS_PER_VALUE: Metric = Metric {
    name: "tandem_edge_bits_per_value",
    kind: Kind::Histogram(&[
        2.0, 3.0, 4.0, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0, 9.0, 12.0, 16.0, 20.0, 32.0, 40.0,
    ]),
    unit: Unit::Count,
    labels: &[],
    help: "Frame bits a hidden value, of one frame.",
};
/// Wire bytes.
pub const WIRE_BYTES: Metric = Metric {
    name: "tandem_edge_wire_bytes_total",
    kind: Kind::Counter,
    unit: Unit::Bytes,
    labels: DIRECTION_AND_KIND,
    help: "gRPC message bytes to and from the cloud with their prefix, before HTTP/2 and TLS.",
};
/// Sessions.
pub const SESSIONS: Metric = Metric {
    name: "tandem_edge_sessions",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[Label {
        name: "state",
        values: &["running", "idle"],
    }],
    help: "Answers being made, and conversations kept for their next turn.",
};
/// Sessions lost.
pub const REPLAYS: Metric = Metric {
    name: "tandem_edge_replays_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[Label {
        name: "cause",
        values: &[
            "connection",
            "draining",
            "given_up",
            "no_room",
            "other",
            "unavailable",
        ],
    }],
    help: "Answers that went on in another session, by what they lost the one before to.",
};
/// Sessions taken up again.
pub const RESUMES: Metric = Metric {
    name: "tandem_edge_resumes_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[],
    help: "Sessions that went on where they were when their connection had broken, by another stream.",
};
/// Answers that are not known to be what they would have been.
pub const INEXACT_ANSWERS: Metric = Metric {
    name: "tandem_edge_inexact_answers_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[],
    help: "Answers that went on in a cloud that is not known to compute as the one that they began with.",
};
/// The clouds.
pub const CLOUDS: Metric = Metric {
    name: "tandem_edge_clouds",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[Label {
        name: "state",
        values: &["fits", "misfit", "away"],
    }],
    help: "Clouds that this edge knows of, by what they answered last.",
};
/// Time lost with them.
pub const REPLAY: Metric = Metric {
    name: "tandem_edge_replay_seconds",
    kind: Kind::Histogram(REPLAY_SECONDS),
    unit: Unit::Seconds,
    labels: &[],
    help: "From the loss of an answer's session to its next token.",
};
/// Positions that sessions began with.
pub const PREFIX_POSITIONS: Metric = Metric {
    name: "tandem_edge_prefix_positions_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[Label {
        name: "result",
        values: &["gone", "kept"],
    }],
    help: "Positions of prompts that other sessions had filled before, by whether the cloud still had them; their rows were neither computed nor sent again.",
};
/// Bytes that did not go up.
pub const PREFIX_SAVED_BYTES: Metric = Metric {
    name: "tandem_edge_prefix_saved_bytes_total",
    kind: Kind::Counter,
    unit: Unit::Bytes,
    labels: &[],
    help: "About what the rows of these positions took when they were sent.",
};
/// Memory of beginnings.
pub const PREFIX_BYTES: Metric = Metric {
    name: "tandem_edge_prefix_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &[],
    help: "Memory of the beginnings that are kept for later prompts.",
};
/// Changes of codec.
pub const CODEC_SWITCHES: Metric = Metric {
    name: "tandem_edge_codec_switches_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[
        Label {
            name: "from",
            values: CODECS,
        },
        Label {
            name: "to",
            values: CODECS,
        },
    ],
    help: "Changes of codec because of the link, where `adapt.floor` allows them.",
};
/// The link's round trip.
pub const LINK_ROUND_TRIP: Metric = Metric {
    name: "tandem_edge_link_round_trip_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    labels: &[],
    help: "The round trip by the last pings; 0 without `adapt.floor`.",
};
/// The link's rate.
pub const LINK_RATE: Metric = Metric {
    name: "tandem_edge_link_rate_bytes_per_second",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    help: "What the link carries up, or at least carries where rows are too small to tell; 0 without `adapt.floor`.",
};
