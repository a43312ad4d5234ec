"""Every manifest is one that the API server of each supported Kubernetes knows."""

import copy
import functools
import unittest

import kubernetes_validate
from kubernetes_validate import utils

from chart_tests.chart import cases, chart, render

# The engine renders for a Kubernetes of its own choice; what a template leaves out for older ones
# must be turned off here.
OLDEST = chart().metadata["kubeVersion"].removeprefix(">=").removesuffix(".0-0")
CUSTOM = {"ServiceMonitor", "PrometheusRule", "Certificate"}

# It reads some 10 MB of definitions for each manifest otherwise.
utils.schema_contents = functools.cache(utils.schema_contents)


class Kubernetes(unittest.TestCase):
    def test_the_newest_and_the_first_with_a_sleep_action_know_every_manifest(self) -> None:
        for version in ("1.30", kubernetes_validate.latest_version()):
            for name, values in cases():
                if version == "1.30" and "in an image" in name:
                    continue
                self.check(name, values, version)

    def test_the_oldest_knows_every_manifest(self) -> None:
        for name, values in cases():
            if "in an image" in name:
                continue
            values = copy.deepcopy(values)
            for component in ("cloud", "edge"):
                values.setdefault(component, {})["preStopSeconds"] = 0
            self.check(name, values, OLDEST)

    def check(self, name: str, values: dict, version: str) -> None:
        for manifest in render(values):
            if manifest["kind"] in CUSTOM:
                continue
            with self.subTest(case=name, version=version, kind=manifest["kind"]):
                kubernetes_validate.validate(manifest, version, strict=True)
