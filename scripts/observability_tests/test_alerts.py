"""Every alert is one that somebody can act upon."""

import re
import unittest

import yaml

import dashboard
from observability_tests.sources import ALERT_TESTS, ROOT, RUNBOOK, alerts, documented_labels, rules


class Alerts(unittest.TestCase):
    def test_names_are_unique_and_ours(self) -> None:
        names = [alert["alert"] for alert in alerts()]
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            self.assertRegex(name, r"^Tandem[A-Za-z]+$")

    def test_each_says_how_urgent_it_is_what_happens_and_what_to_do(self) -> None:
        for alert in alerts():
            with self.subTest(alert["alert"]):
                self.assertIn(alert["labels"]["severity"], ("page", "ticket"))
                self.assertIn("for", alert)
                self.assertEqual(set(alert["annotations"]), {"summary", "description", "runbook"})

    def test_each_has_a_runbook_and_each_runbook_an_alert(self) -> None:
        headings = re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE)
        self.assertEqual(sorted(headings), sorted(alert["alert"] for alert in alerts()))
        for alert in alerts():
            anchor = f"docs/runbook.md#{alert['alert'].lower()}"
            self.assertEqual(alert["annotations"]["runbook"], anchor)

    def test_links_of_the_runbook_lead_somewhere(self) -> None:
        for page, anchor in re.findall(r"\]\(([\w.-]*)#([^)]*)\)", RUNBOOK.read_text()):
            with self.subTest(f"{page}#{anchor}"):
                text = (RUNBOOK.parent / (page or RUNBOOK.name)).read_text()
                headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
                anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
                self.assertIn(anchor, anchors)

    def test_each_is_tested_firing_and_silent(self) -> None:
        fired, silent = set(), set()
        for path in ALERT_TESTS:
            for test in yaml.safe_load(path.read_text())["tests"]:
                for expected in test["alert_rule_test"]:
                    (fired if expected["exp_alerts"] else silent).add(expected["alertname"])
        names = {alert["alert"] for alert in alerts()}
        self.assertEqual(names - fired, set(), "never fires in a test")
        self.assertEqual(names - silent, set(), "is never silent in a test")

    def test_rules_ask_for_metrics_and_labels_that_there_are(self) -> None:
        known = documented_labels()
        for rule in rules():
            with self.subTest(rule.get("alert") or rule.get("record")):
                for metric in dashboard.metrics(rule["expr"]):
                    self.assertIn(metric, known)
                for name, matchers in re.findall(r"(tandem_\w+)\{([^}]*)\}", rule["expr"]):
                    metric = next(iter(dashboard.metrics(name)))
                    used = set(re.findall(r"(\w+)\s*(?:=|!)", matchers))
                    self.assertLessEqual(used, known[metric])

    def test_bounds_of_latencies_are_bounds_of_the_histogram(self) -> None:
        buckets = (ROOT / "crates/telemetry/src/metrics/buckets.rs").read_text()
        ladder = buckets[buckets.index("TIME_TO_FIRST_TOKEN_SECONDS") :]
        bounds = re.findall(r"[\d.]+", ladder[ladder.index("&[\n") : ladder.index("];")])
        for rule in rules():
            for bound in re.findall(r'first_token_seconds_bucket\{le="([^"]*)"', rule["expr"]):
                self.assertIn(bound, bounds)
