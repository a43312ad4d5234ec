"""Writes the Grafana dashboard, charts/tandem/files/dashboards/tandem.json, from the rows below.

usage: scripts/dashboard.py [--check]
  --check  writes nothing, and fails where the file is not what it would write

A new metric joins with one line: a panel in its row. Its description comes from the table of
docs/reference.md, and scripts/test-observability holds both against each other.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "charts" / "tandem" / "files" / "dashboards" / "tandem.json"
REFERENCE = ROOT / "docs" / "reference.md"

# Every selector has these, so that the dashboard's variables act on every panel.
PLACE = 'namespace=~"$namespace",job=~"$job",instance=~"$instance"'
WIDTH, HEIGHT = 24, 8


@dataclass
class Panel:
    title: str
    unit: str
    # Expression and legend.
    queries: list[tuple[str, str]]
    kind: str = "timeseries"
    width: int = 8
    height: int = HEIGHT
    stacked: bool = False
    # Where colours change: [(value, colour)].
    steps: list[tuple[float | None, str]] = field(default_factory=list)


def series(name: str, *conditions: str) -> str:
    return f"{name}{{{','.join([PLACE, *conditions])}}}"


def quantiles(name: str, by: str = "") -> list[tuple[str, str]]:
    """Median, 90% and 99% of a histogram; with a label, of each of its values."""
    labels = f"le, {by}" if by else "le"
    buckets = f"sum by ({labels}) (rate({series(name + '_bucket')}[$__rate_interval]))"
    legend = f" {{{{{by}}}}}" if by else ""
    return [
        (f"histogram_quantile({q}, {buckets})", f"{percent}%{legend}")
        for q, percent in ((0.5, 50), (0.9, 90), (0.99, 99))
    ]


def rate(name: str, by: str = "", legend: str = "") -> list[tuple[str, str]]:
    """What a counter counts a second, by labels."""
    shown = legend or " ".join(f"{{{{{label}}}}}" for label in by.split(", ") if label)
    return [(f"sum by ({by}) (rate({series(name)}[$__rate_interval]))", shown)]


def now(name: str, by: str = "", legend: str = "") -> list[tuple[str, str]]:
    """A gauge, by labels."""
    shown = legend or " ".join(f"{{{{{label}}}}}" for label in by.split(", ") if label)
    return [(f"sum by ({by}) ({series(name)})", shown)]


def mean(name: str, legend: str) -> tuple[str, str]:
    total, count = (f"sum (rate({series(name + end)}[$__rate_interval]))" for end in ("_sum", "_count"))
    return (f"{total} / {count}", legend)


def stat(title: str, unit: str, query: str, steps: list[tuple[float | None, str]]) -> Panel:
    return Panel(title, unit, [(query, "")], kind="stat", width=4, height=4, steps=steps)


EDGE, CLOUD = "tandem_edge_", "tandem_cloud_"
GOOD = [(None, "green")]
# Without what is the client's doing, as in the alerts.
FAILED = "sum (increase({}[$__range]))".format(
    series(EDGE + "failures_total", 'code!~"cancelled|invalid_argument|out_of_range|unimplemented"')
)

ROWS: list[tuple[str, list[Panel]]] = [
    (
        "At a glance",
        [
            stat(
                "First token, 95%",
                "s",
                f"histogram_quantile(0.95, sum by (le) (rate({series(EDGE + 'time_to_first_token_seconds_bucket')}[$__range])))",
                [*GOOD, (2.5, "red")],
            ),
            stat(
                "Failed requests",
                "percentunit",
                f"{FAILED} / ({FAILED} + sum (increase({series(EDGE + 'request_success_total')}[$__range])))",
                [*GOOD, (0.01, "red")],
            ),
            stat(
                "Tokens",
                "cps",
                f"sum (rate({series(EDGE + 'generation_tokens_total')}[$__rate_interval]))",
                GOOD,
            ),
            stat(
                "Bits a value",
                "none",
                mean(EDGE + "bits_per_value", "")[0],
                GOOD,
            ),
            stat("Sessions in clouds", "none", f"sum ({series(CLOUD + 'sessions')})", GOOD),
            stat(
                "Fullest key and value memory",
                "percentunit",
                f"max ({series(CLOUD + 'kv_bytes')} / {series(CLOUD + 'kv_budget_bytes')})",
                [*GOOD, (0.8, "orange"), (0.9, "red")],
            ),
        ],
    ),
    (
        "Edge: latency",
        [
            Panel("Time to first token", "s", quantiles(EDGE + "time_to_first_token_seconds")),
            Panel("Between tokens", "s", quantiles(EDGE + "inter_token_latency_seconds")),
            Panel("Whole answers", "s", quantiles(EDGE + "e2e_request_latency_seconds")),
            Panel("Front layers, a step", "s", quantiles(EDGE + "step_seconds", "phase")),
            Panel("Engine, a step", "s", quantiles(EDGE + "engine_step_seconds", "kind")),
            Panel("Rows of a step", "none", quantiles(EDGE + "engine_rows", "phase")),
            Panel("Engine stalled", "none", now(EDGE + "engine_stalled", "instance")),
            Panel("Link, a token", "s", quantiles(EDGE + "link_seconds")),
            Panel(
                "Tokens of a round trip",
                "none",
                quantiles(EDGE + "round_trip_tokens") + [mean(EDGE + "round_trip_tokens", "mean")],
            ),
            Panel("Drafts", "cps", rate(EDGE + "drafts_total", "what, source")),
            Panel(
                "A guess of the draft model",
                "s",
                quantiles(EDGE + "draft_model_step_seconds"),
            ),
            Panel("Draft model", "bytes", now(EDGE + "draft_model_weight_bytes", "instance")),
            Panel(
                "Where a token's time goes",
                "s",
                [
                    mean(EDGE + "step_seconds", "edge computes"),
                    mean(EDGE + "link_seconds", "link"),
                    mean(CLOUD + "queue_seconds", "cloud queues"),
                    mean(CLOUD + "step_seconds", "cloud computes"),
                ],
                stacked=True,
            ),
        ],
    ),
    (
        "Edge: link and codec",
        [
            Panel("Bandwidth", "Bps", rate(EDGE + "wire_bytes_total", "direction, kind"), stacked=True),
            Panel("Prompt bytes on their way", "bytes", now(EDGE + "uplink_bytes", "instance, what")),
            Panel("Rows a message", "none", quantiles(EDGE + "rows", "phase")),
            Panel(
                "Bits a value",
                "none",
                quantiles(EDGE + "bits_per_value") + [mean(EDGE + "bits_per_value", "mean")],
            ),
            Panel("Outliers", "percentunit", quantiles(EDGE + "outlier_fraction")),
            Panel("Encoding, a step", "s", quantiles(EDGE + "encode_seconds", "phase")),
            Panel("Round trip", "s", now(EDGE + "link_round_trip_seconds", "instance")),
            Panel("Rate of the link", "Bps", now(EDGE + "link_rate_bytes_per_second", "instance")),
            Panel("Changes of codec", "cps", rate(EDGE + "codec_switches_total", "from, to", "{{from}} to {{to}}")),
        ],
    ),
    (
        "Edge: answers, sessions, failures",
        [
            Panel("Answers", "reqps", rate(EDGE + "request_success_total", "finished_reason"), stacked=True),
            Panel("Failures", "reqps", rate(EDGE + "failures_total", "code"), stacked=True),
            Panel("Sessions", "none", now(EDGE + "sessions", "state"), stacked=True),
            Panel("Answers that went on elsewhere", "cps", rate(EDGE + "replays_total", "cause"), stacked=True),
            Panel("Pauses until they did", "s", quantiles(EDGE + "replay_seconds")),
            Panel(
                "Answers that went on where they were",
                "cps",
                rate(EDGE + "resumes_total", legend="taken up"),
            ),
            Panel(
                "Answers that may have gone on otherwise",
                "cps",
                rate(EDGE + "inexact_answers_total", legend="inexact"),
            ),
            Panel("Clouds that edges know of", "none", now(EDGE + "clouds", "instance, state")),
            Panel(
                "Tokens",
                "cps",
                rate(EDGE + "generation_tokens_total", legend="generated")
                + rate(EDGE + "prompt_tokens_total", legend="of prompts")
                + rate(EDGE + "reused_tokens_total", legend="of them, reused"),
            ),
            Panel(
                "Positions that answers began with",
                "cps",
                rate(EDGE + "prefix_positions_total", "result"),
                stacked=True,
            ),
            Panel("Rows that were not sent again", "Bps", rate(EDGE + "prefix_saved_bytes_total", legend="saved")),
            Panel("Beginnings that are kept", "bytes", now(EDGE + "prefix_bytes", "instance")),
            Panel("Connections", "none", now(EDGE + "connections", "instance")),
            Panel("Connections closed", "cps", rate(EDGE + "connections_closed_total", "cause"), stacked=True),
            Panel(
                "Handshakes and refused requests",
                "cps",
                rate(EDGE + "tls_handshakes_total", "outcome", "TLS: {{outcome}}")
                + rate(EDGE + "unauthenticated_total", "cause", "token {{cause}}"),
            ),
            Panel("Certificates and tokens read again", "cps", rate(EDGE + "reloads_total", "what, outcome")),
            Panel("Releases", "none", now(EDGE + "build_info", "version"), stacked=True),
            Panel(
                "What runs",
                "none",
                now(EDGE + "deployment_info", "model, split, weights, kv, codec"),
                stacked=True,
            ),
            Panel("Matrices", "bytes", now(EDGE + "weight_bytes", "instance")),
            Panel("Spans of traces", "cps", rate(EDGE + "trace_spans_total", "outcome")),
        ],
    ),
    (
        "Cloud: latency",
        [
            Panel("Time to first token", "s", quantiles(CLOUD + "time_to_first_token_seconds")),
            Panel("Between tokens", "s", quantiles(CLOUD + "inter_token_latency_seconds")),
            Panel("Queue, a step", "s", quantiles(CLOUD + "queue_seconds", "phase")),
            Panel("Back layers, a step", "s", quantiles(CLOUD + "step_seconds", "phase")),
            Panel("Reading frames, a step", "s", quantiles(CLOUD + "frame_read_seconds", "phase")),
            Panel("Engine, a step", "s", quantiles(CLOUD + "engine_step_seconds", "kind")),
            Panel("Rows of a step", "none", quantiles(CLOUD + "engine_rows", "phase")),
            Panel("Engine stalled", "none", now(CLOUD + "engine_stalled", "instance")),
            Panel("Rows a message", "none", quantiles(CLOUD + "rows", "phase")),
        ],
    ),
    (
        "Cloud: sessions, keys and values, failures",
        [
            Panel("Sessions", "none", now(CLOUD + "sessions", "instance, state"), stacked=True),
            Panel(
                "Opened and evicted",
                "cps",
                rate(CLOUD + "sessions_opened_total", legend="opened")
                + rate(CLOUD + "sessions_evicted_total", "cause", "evicted: {{cause}}"),
            ),
            Panel("Refused", "cps", rate(CLOUD + "sessions_refused_total", "limit, of"), stacked=True),
            Panel("Answers that keep a form", "cps", rate(CLOUD + "constrained_answers_total", "form"), stacked=True),
            Panel("Making a form ready", "s", quantiles(CLOUD + "constraint_compile_seconds")),
            Panel("Connections that broke under sessions", "cps", rate(CLOUD + "sessions_left_total", "what")),
            Panel(
                "Keys and values",
                "bytes",
                now(CLOUD + "kv_bytes", "instance", "{{instance}}")
                + now(CLOUD + "kv_budget_bytes", "instance", "{{instance}} budget"),
            ),
            Panel(
                "Positions that sessions were to begin with",
                "cps",
                rate(CLOUD + "prefix_positions_total", "result"),
                stacked=True,
            ),
            Panel("Pages that are kept for others", "bytes", now(CLOUD + "prefix_bytes", "instance")),
            Panel("Pages of keys and values", "none", now(CLOUD + "kv_pages", "instance, state"), stacked=True),
            Panel("Answers", "reqps", rate(CLOUD + "request_success_total", "finished_reason"), stacked=True),
            Panel("Failures", "reqps", rate(CLOUD + "failures_total", "code"), stacked=True),
            Panel("Tokens", "cps", rate(CLOUD + "generation_tokens_total", "instance")),
            Panel("Connections", "none", now(CLOUD + "connections", "instance")),
            Panel("Connections closed", "cps", rate(CLOUD + "connections_closed_total", "cause"), stacked=True),
            Panel(
                "Handshakes and refused requests",
                "cps",
                rate(CLOUD + "tls_handshakes_total", "outcome", "TLS: {{outcome}}")
                + rate(CLOUD + "unauthenticated_total", "cause", "token {{cause}}"),
            ),
            Panel("Certificates and tokens read again", "cps", rate(CLOUD + "reloads_total", "what, outcome")),
            Panel("Releases", "none", now(CLOUD + "build_info", "version"), stacked=True),
            Panel(
                "What runs",
                "none",
                now(CLOUD + "deployment_info", "model, layers, weights, kv"),
                stacked=True,
            ),
            Panel("Matrices", "bytes", now(CLOUD + "weight_bytes", "instance")),
            Panel("Spans of traces", "cps", rate(CLOUD + "trace_spans_total", "outcome")),
        ],
    ),
    (
        "Cloud: bandwidth and codec",
        [
            Panel("Bandwidth", "Bps", rate(CLOUD + "wire_bytes_total", "direction, kind"), stacked=True),
            Panel("Bits a value", "none", quantiles(CLOUD + "bits_per_value")),
        ],
    ),
]


def metrics(text: str) -> set[str]:
    """The metrics that a query or a panel names, without a histogram's endings."""
    names = re.findall(r"\btandem_(?:edge|cloud)_\w+", text)
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def documented() -> dict[str, str]:
    """Every metric of docs/reference.md with its sentence."""
    row = re.compile(r"^\| `(tandem_\w+)` \| \w+ \| [^|]* \| (.*) \|$", re.MULTILINE)
    return dict(row.findall(REFERENCE.read_text()))


def dashboard() -> dict[str, Any]:
    sentences = documented()
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        panels.append({"type": "row", "title": title, "collapsed": False, "gridPos": at(0, y, WIDTH, 1)})
        y += 1
        x = height = 0
        for panel in row:
            if x + panel.width > WIDTH:
                x, y = 0, y + height
            panels.append(as_json(panel, x, y, sentences))
            x, height = x + panel.width, panel.height
        y += height
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
    return {
        "uid": "tandem",
        "title": "Tandem",
        "description": "Edges, their links and their clouds.",
        "tags": ["tandem"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": variables()},
        "panels": panels,
    }


def at(x: int, y: int, w: int, h: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}


def as_json(panel: Panel, x: int, y: int, sentences: dict[str, str]) -> dict[str, Any]:
    named = sorted(set().union(*(metrics(query) for query, _ in panel.queries)))
    steps = [{"value": value, "color": colour} for value, colour in panel.steps or [(None, "green")]]
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        defaults["custom"] = {
            "fillOpacity": 20 if panel.stacked else 0,
            "stacking": stacking,
            "showPoints": "never",
        }
        options: dict[str, Any] = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    else:
        options = {"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": "\n\n".join(f"`{name}`: {sentences.get(name, '')}" for name in named),
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": at(x, y, panel.width, panel.height),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "expr": query,
                "legendFormat": legend or "__auto",
                "datasource": {"type": "prometheus", "uid": "${datasource}"},
            }
            for number, (query, legend) in enumerate(panel.queries)
        ],
    }


def variables() -> list[dict[str, Any]]:
    any_server = '{__name__=~"tandem_(edge|cloud)_sessions"'
    return [
        {
            "name": "datasource",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus",
            "current": {},
        },
        # Outside Kubernetes there is no such label, and "All" takes that too.
        label("namespace", f"label_values({any_server}}}, namespace)"),
        label("job", f'label_values({any_server},namespace=~"$namespace"}}, job)'),
        label("instance", f'label_values({any_server},namespace=~"$namespace",job=~"$job"}}, instance)'),
    ]


def label(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def main() -> None:
    written = json.dumps(dashboard(), indent=1) + "\n"
    if sys.argv[1:] == ["--check"]:
        if not FILE.exists() or FILE.read_text() != written:
            sys.exit(f"dashboard: {FILE.relative_to(ROOT)} is not up to date; run scripts/dashboard.py")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        FILE.write_text(written)


if __name__ == "__main__":
    main()
