"""Rules and dashboard come out of the chart as they went in."""

import json
import unittest

import yaml

from chart_tests.chart import CHART, MONITORED, of_kind, render

RULES = sorted((CHART / "files" / "rules").glob("*.yaml"))
DASHBOARDS = sorted((CHART / "files" / "dashboards").glob("*.json"))


class Monitoring(unittest.TestCase):
    def test_the_prometheus_rule_has_the_groups_of_the_files(self) -> None:
        rule = of_kind(render(MONITORED), "PrometheusRule")[0]
        written = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
        self.assertTrue(written)
        self.assertEqual(rule["spec"], {"groups": written})

    def test_the_config_map_has_the_dashboards(self) -> None:
        maps = [
            m
            for m in of_kind(render(MONITORED), "ConfigMap")
            if "grafana_dashboard" in m["metadata"]["labels"]
        ]
        self.assertEqual(len(maps), 1)
        self.assertEqual(
            {name: json.loads(text) for name, text in maps[0]["data"].items()},
            {path.name: json.loads(path.read_text()) for path in DASHBOARDS},
        )
        self.assertTrue(DASHBOARDS)

    def test_a_config_map_has_room_for_them(self) -> None:
        self.assertLess(sum(path.stat().st_size for path in DASHBOARDS), 900_000)

    def test_none_of_it_comes_unasked(self) -> None:
        kinds = {manifest["kind"] for manifest in render({})}
        self.assertFalse(kinds & {"ServiceMonitor", "PrometheusRule"})
