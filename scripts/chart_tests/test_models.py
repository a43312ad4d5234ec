"""Models that the servers bring themselves, from the hub or out of a GGUF file: what they are told, and where
they may write."""

import unittest
from pathlib import PurePosixPath
from typing import Any

import yaml

from chart_tests.chart import Manifest, Values, cases, named, notes, pods, render

CASES: dict[str, Values] = dict(cases())
SERVERS = ("cloud", "edge")
# Seconds between a server's start and its pod's restart that the defaults allow.
STARTUP, FETCH = 600, 3600


class Pod:
    """A server's pod, and its configuration."""

    def __init__(self, name: str, values: Values) -> None:
        manifests = render(values)
        data = named(manifests, "ConfigMap", f"demo-tandem-{name}")["data"]
        self.config: dict[str, Any] = yaml.safe_load(data["config.yaml"])
        path, pod = next((p, pod) for p, pod in pods(manifests) if p.endswith(f"/demo-tandem-{name}"))
        self.workload = named(manifests, path.split("/")[0], f"demo-tandem-{name}")["spec"]
        self.container: Manifest = pod["spec"]["containers"][0]
        self.volumes: dict[str, Manifest] = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        self.mounts: dict[str, Manifest] = {m["name"]: m for m in self.container["volumeMounts"]}
        self.env: dict[str, Manifest] = {v["name"]: v for v in self.container.get("env", [])}

    def startup_seconds(self) -> int:
        probe = self.container["startupProbe"]
        return probe["periodSeconds"] * probe["failureThreshold"]


def every_server() -> list[tuple[str, str, Pod]]:
    found = []
    for case, values in cases():
        for name in SERVERS:
            if values.get(name, {}).get("enabled", True):
                found.append((case, name, Pod(name, values)))
    return found


class Models(unittest.TestCase):
    def test_it_is_a_hub_id_or_lies_in_a_volume_that_is_mounted(self) -> None:
        for case, name, pod in every_server():
            with self.subTest(case, server=name):
                model = pod.config["model"]
                if not model.startswith("/"):
                    self.assertNotIn("model", pod.mounts)
                    continue
                mount = pod.mounts["model"]["mountPath"]
                self.assertTrue(PurePosixPath(model).is_relative_to(mount))
                self.assertEqual(model != mount, model.endswith(".gguf"))

    def test_a_server_that_brings_its_model_has_a_volume_to_write_to(self) -> None:
        for case, name, pod in every_server():
            with self.subTest(case, server=name):
                model, cache = pod.config["model"], pod.mounts.get("cache")
                if model.startswith("/") and not model.endswith(".gguf"):
                    self.assertIsNone(cache)
                elif cache is None:
                    # Beside the file, and for that its directory must be writable.
                    self.assertIs(pod.mounts["model"]["readOnly"], False)
                else:
                    self.assertNotIn("readOnly", cache)
                    variable = "XDG_CACHE_HOME" if model.startswith("/") else "HF_HOME"
                    self.assertEqual(pod.env[variable]["value"], cache["mountPath"])
                    volume = pod.volumes["cache"]
                    self.assertTrue(
                        "persistentVolumeClaim" in volume or volume["emptyDir"]["sizeLimit"], volume
                    )

    def test_its_name_is_its_own_unless_it_is_given_another(self) -> None:
        for values, expected in (
            ({}, "smollm2-135m-instruct"),
            (CASES["model of the hub"]["model"], "Qwen2.5-0.5B-Instruct"),
            (CASES["GGUF file in an image"]["model"], "m"),
            ({**CASES["model of the hub"]["model"], "name": "small"}, "small"),
        ):
            self.assertEqual(Pod("edge", {"model": values}).config["name"], expected)


class Hub(unittest.TestCase):
    def test_the_server_is_given_the_id_and_fetches_into_a_volume_of_its_pod(self) -> None:
        for name in SERVERS:
            pod = Pod(name, CASES["model of the hub"])
            self.assertEqual(pod.config["model"], "Qwen/Qwen2.5-0.5B-Instruct")
            self.assertEqual(pod.volumes["cache"], {"name": "cache", "emptyDir": {"sizeLimit": "8Gi"}})
            self.assertEqual(set(pod.env), {"HF_HOME"})
            self.assertIn("fetch Qwen/Qwen2.5-0.5B-Instruct", notes(CASES["model of the hub"]))

    def test_revision_claim_mirror_and_token_reach_the_server(self) -> None:
        for name in SERVERS:
            pod = Pod(name, CASES["model of a mirror"])
            commit = "0" * 40
            self.assertEqual(pod.config["model"], f"meta-llama/Llama-3.2-3B-Instruct@{commit}")
            self.assertEqual(pod.volumes["cache"]["persistentVolumeClaim"], {"claimName": "models"})
            self.assertEqual(pod.env["HF_ENDPOINT"]["value"], "http://mirror.place:8080/hub")
            token = {"secretKeyRef": {"name": "hugging-face", "key": "token"}}
            self.assertEqual(pod.env["HF_TOKEN"], {"name": "HF_TOKEN", "valueFrom": token})

    def test_variables_of_the_values_win_and_none_comes_twice(self) -> None:
        own = [{"name": "HF_HOME", "value": "/tmp"}, {"name": "HF_HUB_OFFLINE", "value": "1"}]
        values = {**CASES["model of a mirror"], "cloud": {"env": own}}
        env = Pod("cloud", values).container["env"]
        self.assertEqual([v["name"] for v in env], ["HF_ENDPOINT", "HF_TOKEN", "HF_HOME", "HF_HUB_OFFLINE"])
        self.assertEqual(env[2:], own)

    def test_startup_waits_for_the_fetch(self) -> None:
        hub = CASES["model of the hub"]["model"]["hub"]
        for fetch in (FETCH, 7203, 1000000):
            values = {"model": {"source": "hub", "hub": {**hub, "fetchSeconds": fetch}}}
            for name in SERVERS:
                pod = Pod(name, values)
                self.assertGreaterEqual(pod.startup_seconds(), STARTUP + fetch)
                self.assertLess(pod.startup_seconds(), STARTUP + fetch + 5)
                self.assertEqual(pod.workload["progressDeadlineSeconds"], STARTUP + fetch + 1200)
        self.assertEqual(Pod("cloud", CASES["model of the hub"]).startup_seconds(), STARTUP + FETCH)
        self.assertEqual(Pod("cloud", {}).startup_seconds(), STARTUP)

    def test_one_side_alone_may_take_it_from_there(self) -> None:
        values: Values = {"edge": {"model": CASES["model of the hub"]["model"]}}
        self.assertEqual(Pod("edge", values).config["model"], "Qwen/Qwen2.5-0.5B-Instruct")
        cloud = Pod("cloud", values)
        self.assertEqual(cloud.config["model"], "/models/smollm2-135m-instruct")
        self.assertNotIn("cache", cloud.volumes)


class GgufFiles(unittest.TestCase):
    def test_the_server_is_given_the_file_within_the_directory(self) -> None:
        for case, expected in (
            ("GGUF file in a claim", "/models/model/model.gguf"),
            ("GGUF file in an image", "/models/m/q8_0/m.gguf"),
            ("GGUF file on the nodes", "/models/m/m.gguf"),
            ("GGUF file fetched", "/models/m/m.gguf"),
        ):
            with self.subTest(case):
                self.assertEqual(Pod("edge", CASES[case]).config["model"], expected)

    def test_the_import_lies_in_a_volume_or_beside_a_file_that_was_fetched(self) -> None:
        empty = {"name": "cache", "emptyDir": {"sizeLimit": "8Gi"}}
        claim = {"name": "cache", "persistentVolumeClaim": {"claimName": "imports"}}
        for case, volume in (
            ("GGUF file in a claim", empty),
            ("GGUF file in an image", claim),
            ("GGUF file on the nodes", empty),
            ("GGUF file fetched", None),
        ):
            with self.subTest(case):
                self.assertEqual(Pod("edge", CASES[case]).volumes.get("cache"), volume)
