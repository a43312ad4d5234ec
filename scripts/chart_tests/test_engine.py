"""Helm takes the chart, as it is and with every example."""

import re
import tomllib
import unittest

import helm_python

from chart_tests.chart import CHART, EXAMPLES, ROOT, cases, notes, of_kind, render, trusting


class Engine(unittest.TestCase):
    def test_lint_finds_nothing(self) -> None:
        for name, values in cases():
            with self.subTest(name):
                report = helm_python.lint(CHART, values, strict=True)
                self.assertEqual(report["messages"], [])
                self.assertEqual(report["errors"], [])

    def test_lint_finds_nothing_on_the_oldest_kubernetes(self) -> None:
        report = helm_python.lint(CHART, {}, strict=True, kube_version="v1.27.0")
        self.assertEqual((report["messages"], report["errors"]), ([], []))

    def test_there_are_the_promised_examples(self) -> None:
        self.assertEqual(sorted(EXAMPLES), ["browser", "edge-fleet", "gpu-cloud", "hub-model", "laptop"])

    def test_every_case_renders_and_tells_what_comes_next(self) -> None:
        for name, values in cases():
            with self.subTest(name):
                manifests = render(values)
                self.assertTrue(of_kind(manifests, "Deployment", "DaemonSet"))
                self.assertIn("helm test demo", notes(values))

    def test_rendering_twice_gives_the_same(self) -> None:
        for name, values in cases():
            with self.subTest(name):
                first, second = (helm_python.Chart.load(CHART).render(trusting(values)) for _ in range(2))
                self.assertEqual(first, second)

    def test_names_fit_whatever_the_release_is_called(self) -> None:
        for manifest in render({}, name="r" * 53):
            self.assertLessEqual(len(manifest["metadata"]["name"]), 63)

    def test_no_name_comes_twice(self) -> None:
        for name, values in cases():
            with self.subTest(name):
                names = [(m["kind"], m["metadata"]["name"]) for m in render(values)]
                self.assertEqual(len(names), len(set(names)))

    def test_the_images_tag_is_the_workspaces_version_everywhere(self) -> None:
        workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]
        version = workspace["package"]["version"]
        self.assertEqual(helm_python.Chart.load(CHART).metadata["appVersion"], version)
        for file in ("docker/Dockerfile", "docker/compose.yaml", "docker/compose.two-clouds.yaml"):
            found = re.findall(r"VERSION(?::-|=)([0-9][^}\s]*)", (ROOT / file).read_text())
            self.assertEqual(set(found), {version}, file)

    def test_a_packaged_chart_has_what_it_needs_and_no_more(self) -> None:
        names = {file["name"] for file in helm_python.Chart.load(CHART).files}
        self.assertIn("files/fetch-model.sh", names)
        self.assertFalse([name for name in names if name.startswith("examples/")])
