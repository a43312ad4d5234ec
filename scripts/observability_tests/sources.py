"""Where rules, dashboard and documentation are, and what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = sorted((ROOT / "charts" / "tandem" / "files" / "rules").glob("*.yaml"))
ALERT_TESTS = sorted((Path(__file__).parent / "alerts").glob("*.yaml"))
REFERENCE = ROOT / "docs" / "reference.md"
RUNBOOK = ROOT / "docs" / "runbook.md"


def rules() -> list[dict[str, Any]]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def documented_labels() -> dict[str, set[str]]:
    """Every metric of docs/reference.md with its labels, and with those that a scrape adds."""
    row = re.compile(r"^\| `(tandem_\w+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)
    added = {"namespace", "job", "instance"}
    return {
        name: added | set(re.findall(r"`(\w+)`", labels)) | ({"le"} if kind == "histogram" else set())
        for name, kind, labels in row.findall(REFERENCE.read_text())
    }


def filled(query: str) -> str:
    """A dashboard's query with its variables filled in, as Grafana would for everything and an hour."""
    for variable, value in {"$__rate_interval": "20s", "$__range": "20s"}.items():
        query = query.replace(variable, value)
    return re.sub(r"\$\w+", ".*", query)
