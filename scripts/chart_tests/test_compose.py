"""docker/compose.yaml, as far as it can be tested without a Docker engine: which model its services are given, and
that the second cloud of docker/compose.two-clouds.yaml is as the first."""

import os
import re
import subprocess
import unittest
from typing import Any

import yaml

from chart_tests.chart import ROOT

SERVERS = ("cloud-service", "edge-agent", "edge-agent-wan")
REFERENCE = re.compile(r"\$\{(\w+):-([^}]*)\}")
VARIABLE = re.compile(r"\$\{(\w+)")
DOCKER = ROOT / "docker"
COMPOSE = (DOCKER / "compose.yaml").read_text()
TWO_CLOUDS = (DOCKER / "compose.two-clouds.yaml").read_text()


def services(file: str = COMPOSE, **variables: str) -> dict[str, Any]:
    """The services as compose sees them with these variables set."""
    text = REFERENCE.sub(lambda found: variables.get(found[1]) or found[2], file)
    return yaml.safe_load(text)["services"]


def model_of(server: dict[str, Any]) -> str:
    command = server["command"]
    return command[command.index("--model") + 1]


class Compose(unittest.TestCase):
    def test_images_listen_in_plain_text_for_nobody_who_has_not_asked_for_it(self) -> None:
        self.assertNotIn("insecure", (DOCKER / "Dockerfile").read_text())
        for name in SERVERS:
            for port in services()[name].get("ports", []):
                self.assertTrue(port.startswith("127.0.0.1:"), f"{name}: {port}")

    def test_without_a_word_it_is_the_default_model(self) -> None:
        found = services()
        for name in SERVERS:
            self.assertEqual(model_of(found[name]), "/model")
            self.assertIn("model:/model:ro", found[name]["volumes"])
        self.assertEqual(found["model"]["volumes"], ["model:/model"])
        self.assertEqual(found["model"]["environment"], {"OTHER_MODEL": ""})

    def test_a_path_is_mounted_for_the_servers_only(self) -> None:
        for path in ("/models/mine", "/models/m.gguf"):
            found = services(TANDEM_MODEL=path)
            for name in SERVERS:
                self.assertEqual(model_of(found[name]), "/model")
                self.assertIn(f"{path}:/model:ro", found[name]["volumes"])
            self.assertEqual(found["model"]["volumes"], ["model:/model"])
            self.assertEqual(found["model"]["environment"], {"OTHER_MODEL": path})

    def test_an_id_is_given_to_the_servers(self) -> None:
        found = services(TANDEM_MODEL_ID="o/m@main")
        for name in SERVERS:
            self.assertEqual(model_of(found[name]), "o/m@main")
        self.assertEqual(found["model"]["environment"], {"OTHER_MODEL": "o/m@main"})

    def test_what_is_fetched_and_imported_lies_in_a_volume(self) -> None:
        found = services()
        for name in SERVERS:
            self.assertIs(found[name]["read_only"], True)
            self.assertIn("cache:/cache", found[name]["volumes"])
            for variable in ("HF_HOME", "XDG_CACHE_HOME"):
                self.assertRegex(found[name]["environment"][variable], "^/cache(/|$)")
        self.assertIn("cache", yaml.safe_load(COMPOSE)["volumes"])

    def test_a_second_cloud_is_as_the_first(self) -> None:
        own = {"build", "depends_on", "pull_policy"}
        for name in set(VARIABLE.findall(COMPOSE)):
            first = services(**{name: "other"})["cloud-service"]
            second = services(TWO_CLOUDS, **{name: "other"})["cloud-service-2"]
            for cloud in (first, second):
                for key in own:
                    cloud.pop(key, None)
            self.assertEqual(second, first, name)

    def test_an_edge_with_two_clouds_is_as_one_with_one(self) -> None:
        for name in set(VARIABLE.findall(COMPOSE)):
            command = services(**{name: "other"})["edge-agent"]["command"]
            clouds = command.index("--cloud") + 1
            command[clouds] += ",http://cloud-service-2:50051"
            edge = services(TWO_CLOUDS, **{name: "other"})["edge-agent"]
            self.assertEqual(edge["command"], command, name)
            self.assertEqual(set(edge), {"command", "depends_on"})

    def test_its_head_names_the_variables_of_the_servers(self) -> None:
        head = COMPOSE.split("x-server:")[0]
        for name in set(VARIABLE.findall(COMPOSE)) - {"TANDEM_RTT", "TANDEM_RATE"}:
            if name.startswith(("TANDEM_", "HF_")):
                self.assertIn(name, head)

    def test_nothing_is_fetched_where_another_model_is_named(self) -> None:
        script = ["sh", DOCKER / "fetch-default-model"]
        for model in ("/models/m.gguf", "o/m"):
            environment = {**os.environ, "OTHER_MODEL": model}
            result = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=30)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            self.assertIn(f"{model} is used", result.stdout)
