"""The dashboard shows every metric, and asks for nothing else."""

import json
import re
import subprocess
import tempfile
import unittest
from typing import Any, Iterator

import dashboard
from observability_tests.sources import documented_labels, filled

DASHBOARD: dict[str, Any] = json.loads(dashboard.FILE.read_text())


def queries() -> Iterator[tuple[str, str]]:
    """Each query with its panel's title."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


class Dashboard(unittest.TestCase):
    def test_it_is_what_its_rows_say(self) -> None:
        self.assertEqual(DASHBOARD, json.loads(json.dumps(dashboard.dashboard())))

    def test_every_documented_metric_is_in_a_panel_and_no_other(self) -> None:
        shown = set().union(*(dashboard.metrics(query) for _, query in queries()))
        renamed = {name for name, help in dashboard.documented().items() if help.startswith("The old name of")}
        self.assertEqual(shown, set(documented_labels()) - renamed)

    def test_queries_use_labels_that_the_metrics_have(self) -> None:
        known = documented_labels()
        for title, query in queries():
            with self.subTest(title, query=query):
                labels = set().union(*(known[metric] for metric in dashboard.metrics(query)))
                for by in re.findall(r"by \(([^)]*)\)", query):
                    self.assertLessEqual({name.strip() for name in by.split(",") if name.strip()}, labels)

    def test_legends_name_labels_that_are_left(self) -> None:
        for panel in DASHBOARD["panels"]:
            for target in panel.get("targets", []):
                left = ",".join(re.findall(r"by \(([^)]*)\)", target["expr"]))
                for name in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                    with self.subTest(panel["title"]):
                        self.assertIn(name, re.split(r"[,\s]+", left))

    def test_every_selector_obeys_the_variables(self) -> None:
        for title, query in queries():
            with self.subTest(title):
                selectors = re.findall(r"tandem_\w+(\{[^}]*\})?", query)
                for selector in selectors:
                    for variable in ("$namespace", "$job", "$instance"):
                        self.assertIn(variable, selector)

    def test_variables_come_before_those_that_use_them(self) -> None:
        names = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
        self.assertEqual(names, ["datasource", "namespace", "job", "instance"])
        for panel in DASHBOARD["panels"]:
            if panel["type"] != "row":
                self.assertEqual(panel["datasource"]["uid"], "${datasource}")

    def test_panels_do_not_overlap_and_fit_the_grid(self) -> None:
        taken: set[tuple[int, int]] = set()
        for panel in DASHBOARD["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            self.assertFalse(taken & cells, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], dashboard.WIDTH)
            taken |= cells
        ids = [panel["id"] for panel in DASHBOARD["panels"]]
        self.assertEqual(len(ids), len(set(ids)))

    def test_prometheus_understands_every_query(self) -> None:
        recorded = [{"record": f"panel:{n}", "expr": filled(query)} for n, (_, query) in enumerate(queries())]
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            json.dump({"groups": [{"name": "dashboard", "rules": recorded}]}, file)
            file.flush()
            checked = subprocess.run(
                ["promtool", "check", "rules", file.name], capture_output=True, text=True
            )
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
