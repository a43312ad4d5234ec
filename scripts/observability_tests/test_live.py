"""A real Prometheus scrapes the real pair: every panel has something to show, and no alert fires."""

import json
import os
import subprocess
import tempfile
import unittest
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from observability_tests.sources import ROOT, RULES, filled
from observability_tests.test_dashboard import queries
from processes import WAIT_SECONDS, free_ports, local, stop, wait_for

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARIES = Path(os.environ.get("TANDEM_BINARIES", TARGET / "release"))
MODEL = Path(os.environ.get("TANDEM_MODEL", ROOT / ".tandem/models/smollm2-135m-instruct"))
EDGE, CLOUD = BINARIES / "edge-agent", BINARIES / "cloud-service"
THERE = EDGE.exists() and CLOUD.exists() and MODEL.exists()

# Panels of what does not happen to this pair: their quantiles are those of no values.
NEVER = {"Pauses until they did"}

# What promtool returns when it has only style to remark upon.
LINTED = 3


@unittest.skipUnless(THERE, f"needs {EDGE}, {CLOUD} and {MODEL}")
class Live(unittest.TestCase):
    """One pair and one Prometheus for all tests."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.home = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        data, admin, edge, edge_admin, cls.prometheus = free_ports(5)
        cls.edge, cls.admin = edge, {"cloud-service": admin, "edge-agent": edge_admin}
        model = ["--model", str(MODEL), "--threads", "1"]
        listening = lambda data, admin: ["--listen", local(data), "--metrics-listen", local(admin)]
        cls.start(CLOUD, "serve", *model, *listening(data, admin))
        # A codec that looks for outliers.
        codec = ["--codec", "balanced", "--split", "10", "--cloud", f"http://{local(data)}"]
        cls.start(EDGE, "serve", *model, *codec, *listening(edge, edge_admin))
        cls.start_prometheus()
        for binary, port in ((CLOUD, admin), (EDGE, edge_admin)):
            health = [binary, "health", "--address", local(port)]
            wait_for(
                lambda: subprocess.run(health, capture_output=True).returncode == 0, f"{binary.name} to serve"
            )
        # Counters must be seen before they count, or there is no rate.
        wait_for(lambda: len(cls.ask("up == 1")) == 2, "both targets to be scraped")
        for answers in range(1, 4):
            cls.answer()
            counted = f"sum(tandem_edge_request_success_total) >= {answers}"
            wait_for(lambda: cls.ask(counted), "an answer to be counted")

    @classmethod
    def start(cls, *command: Any) -> None:
        log = cls.enterClassContext((cls.home / f"{Path(command[0]).name}.log").open("w"))
        process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log)
        cls.addClassCleanup(stop, process)

    @classmethod
    def start_prometheus(cls) -> None:
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [local(port)]}]}
            for job, port in cls.admin.items()
        ]
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in RULES],
            "scrape_configs": jobs,
        }
        file = cls.home / "prometheus.yaml"
        file.write_text(yaml.safe_dump(configuration))
        storage = f"--storage.tsdb.path={cls.home / 'data'}"
        address = f"--web.listen-address={local(cls.prometheus)}"
        cls.start("prometheus", f"--config.file={file}", storage, address, "--log.level=warn")

    @classmethod
    def answer(cls) -> None:
        ask = [EDGE, "ask", "--edge", f"http://{local(cls.edge)}", "--max-tokens", "8", "Count to nine."]
        subprocess.run(ask, check=True, capture_output=True, timeout=WAIT_SECONDS)

    @classmethod
    def get(cls, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://{local(cls.prometheus)}{path}", timeout=5) as answer:
            return json.load(answer)["data"]

    @classmethod
    def ask(cls, query: str) -> list[float]:
        """The values of an instant query that are numbers."""
        return [value for value in cls.values(query) if value == value]

    @classmethod
    def values(cls, query: str) -> list[float]:
        """The values of an instant query, not a number where there is nothing to tell."""
        try:
            result = cls.get("/api/v1/query?" + urllib.parse.urlencode({"query": query}))["result"]
        except OSError:
            return []
        return [float(sample["value"][1]) for sample in result]

    def test_every_query_of_the_dashboard_returns_numbers(self) -> None:
        for title, query in queries():
            with self.subTest(title, query=query):
                asked = self.values if title in NEVER else self.ask
                self.assertTrue(asked(filled(query)))

    def test_rules_are_evaluated_without_a_mistake_and_no_alert_fires(self) -> None:
        groups = self.get("/api/v1/rules")["groups"]
        self.assertEqual(len(groups), 5)
        for rule in (rule for group in groups for rule in group["rules"]):
            with self.subTest(rule["name"]):
                self.assertEqual(rule["health"], "ok", rule.get("lastError"))
                self.assertNotEqual(rule.get("state"), "firing")

    def test_promtool_finds_nothing_wrong_with_the_metrics(self) -> None:
        for job, port in self.admin.items():
            with self.subTest(job), urllib.request.urlopen(f"http://{local(port)}/metrics") as page:
                checked = subprocess.run(
                    ["promtool", "check", "metrics"], input=page.read(), capture_output=True
                )
                found = (checked.stdout + checked.stderr).decode().splitlines()
                # Bits a value is what the field calls it, and a ratio rather than an amount of data.
                self.assertEqual([line for line in found if "_bits_per_value use base unit" not in line], [])
                self.assertIn(checked.returncode, (0, LINTED))
