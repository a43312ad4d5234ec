"""The real servers take the configurations that the chart writes. Needs them built."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

from chart_tests.chart import ROOT, cases, of_kind, refusal, render

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARIES = Path(os.environ.get("TANDEM_BINARIES", TARGET / "release"))
SERVERS = {"cloud": BINARIES / "cloud-service", "edge": BINARIES / "edge-agent"}
# Without these a server begins by starting itself again.
OPENMP = {"GOMP_SPINCOUNT": "10000", "OMP_NUM_THREADS": "1"}
NO_MODEL = ["--model", "/nowhere", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]


@unittest.skipUnless(all(path.exists() for path in SERVERS.values()), f"not built: {BINARIES}")
class Configuration(unittest.TestCase):
    def test_the_servers_find_nothing_wrong_but_the_model(self) -> None:
        written: dict[tuple[str, str], str] = {}
        for name, values in cases():
            for configuration in of_kind(render(values), "ConfigMap"):
                component = configuration["metadata"]["name"].rsplit("-", 1)[1]
                if text := configuration["data"].get("config.yaml"):
                    # Most cases change nothing here.
                    written.setdefault((component, text), name)
        for (component, text), name in written.items():
            with self.subTest(name, component=component):
                # Files of Secrets are read before the model is looked for.
                self.assertRegex(self.start(component, text), "/nowhere|cannot read /run/tandem/")

    def test_the_schema_takes_what_the_servers_take(self) -> None:
        for component, path, values in (
            ("cloud", "limits.accept_profiles", ("auto", True, False, "true", "known", "", 1, None)),
            ("cloud", "sessions.stall", ("30s", "1ms", "1000us", "01s", "999us", "0s", "0ms", "s", 30, "1.5s")),
            ("edge", "preset", ("standard", "exact", "Exact", "fast", "", True)),
        ):
            for value in values:
                with self.subTest(path, value=value):
                    config = value
                    for key in reversed(path.split(".")):
                        config = {key: config}
                    taken = "/nowhere" in self.start(component, yaml.safe_dump(config))
                    self.assertEqual(refusal({component: {"config": config}}) is None, taken)

    def test_a_wrong_one_would_be_seen(self) -> None:
        for component in SERVERS:
            self.assertIn("threads", self.start(component, "threads: many"))

    def start(self, component: str, configuration: str) -> str:
        """What the server says as it gives up: it checks its configuration before it looks for a model."""
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(configuration)
            file.flush()
            command = [SERVERS[component], "serve", "--config", file.name, *NO_MODEL]
            environment = {**os.environ, "RUST_BACKTRACE": "0", "RUST_LOG": "error", **OPENMP}
            result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
        self.assertNotEqual(result.returncode, 0)
        return result.stderr
