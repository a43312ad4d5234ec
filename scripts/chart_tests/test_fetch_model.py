"""The script that fetches models, run as a pod would, against a server of this process."""

import functools
import hashlib
import http.server
import os
import shutil
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

from chart_tests.chart import CHART, cases, containers, named, pods, render

SCRIPT = CHART / "files" / "fetch-model.sh"
SHELL = "dash" if shutil.which("dash") else "sh"


class Server(http.server.SimpleHTTPRequestHandler):
    """Files, with ranges, and what was asked for."""

    asked: list[tuple[str, str | None, str | None]] = []

    def do_GET(self) -> None:
        span = self.headers.get("Range")
        self.asked.append((self.path, span, self.headers.get("Authorization")))
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
        self.send_response(206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:])

    def log_message(self, *_: object) -> None:
        pass


@unittest.skipUnless(shutil.which("curl"), "curl is missing (Debian: sudo apt install curl)")
class FetchModel(unittest.TestCase):
    FILES = {
        "config.json": b"{}",
        "model.safetensors": bytes(range(256)) * 400,
        "codec/cut-010.profile": b"p",
    }

    def setUp(self) -> None:
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.source, self.model = self.home / "source", self.home / "model"
        self.model.mkdir()
        for path, content in self.FILES.items():
            (self.source / path).parent.mkdir(parents=True, exist_ok=True)
            (self.source / path).write_bytes(content)
        handler = functools.partial(Server, directory=self.source)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        Server.asked = []

    def fetch(self, hashes: dict[str, str] | None = None, **environment: str) -> subprocess.CompletedProcess:
        files = [
            {
                "path": path,
                "url": f"http://127.0.0.1:{self.server.server_port}/{path}",
                "sha256": (hashes or {}).get(path, hashlib.sha256(content).hexdigest()),
            }
            for path, content in self.FILES.items()
        ]
        manifests = render({"model": {"source": "download", "download": {"files": files}}})
        data = named(manifests, "ConfigMap", "demo-tandem-cloud-fetch")["data"]
        (self.home / "files").write_text(data["files"])
        (self.home / "fetch-model.sh").write_text(data["fetch-model.sh"])
        command = [SHELL, self.home / "fetch-model.sh", self.home / "files", self.model]
        environment = {"PATH": os.environ["PATH"], "no_proxy": "127.0.0.1"} | environment
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    def there(self) -> dict[str, bytes]:
        files = [path for path in self.model.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.model)): path.read_bytes() for path in files}

    def test_files_are_fetched_and_nothing_else_is_left(self) -> None:
        result = self.fetch()
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(self.there(), self.FILES)

    def test_what_is_there_is_not_fetched_again(self) -> None:
        self.fetch()
        Server.asked = []
        result = self.fetch()
        self.assertEqual(result.returncode, 0)
        self.assertEqual(Server.asked, [])

    def test_a_damaged_file_is_replaced(self) -> None:
        self.fetch()
        (self.model / "config.json").write_bytes(b"[]")
        self.assertEqual(self.fetch().returncode, 0)
        self.assertEqual(self.there(), self.FILES)

    def test_a_wrong_hash_stops_the_start_and_leaves_no_file_of_that_name(self) -> None:
        result = self.fetch({"model.safetensors": "1" * 64})
        self.assertEqual(result.returncode, 1)
        self.assertIn("model.safetensors", result.stderr)
        self.assertEqual(self.there(), {"config.json": b"{}"})

    def test_an_interrupted_fetch_goes_on_where_it_was(self) -> None:
        content = self.FILES["model.safetensors"]
        host = subprocess.run(["hostname"], capture_output=True, text=True, check=True).stdout.strip()
        partial = self.model / f".partial-{host}-{hashlib.sha256(content).hexdigest()}"
        partial.write_bytes(content[:1000])
        self.assertEqual(self.fetch().returncode, 0)
        self.assertEqual(self.there(), self.FILES)
        self.assertIn(("/model.safetensors", "bytes=1000-", None), Server.asked)

    def test_a_missing_file_stops_the_start(self) -> None:
        (self.source / "config.json").unlink()
        result = self.fetch()
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("404", result.stderr)
        self.assertEqual(self.there(), {})

    def test_the_header_goes_with_every_request_and_into_no_output(self) -> None:
        header = self.home / "header"
        header.write_text("Authorization: Bearer secret\n")
        result = self.fetch(HEADER_FILE=str(header))
        self.assertEqual(result.returncode, 0)
        self.assertEqual({asked[2] for asked in Server.asked}, {"Bearer secret"})
        self.assertNotIn("secret", result.stdout + result.stderr)


class FetchingPods(unittest.TestCase):
    def test_the_fetch_is_given_what_it_reads(self) -> None:
        for name, values in cases():
            for pod_name, pod in pods(render(values)):
                for container in containers(pod):
                    if container["name"] != "fetch-model":
                        continue
                    with self.subTest(name, pod=pod_name):
                        mounts = {m["mountPath"] for m in container["volumeMounts"]}
                        script, (listing, directory) = container["command"][1], container["args"]
                        self.assertEqual({str(Path(script).parent), str(Path(listing).parent)}, {"/fetch"})
                        self.assertLessEqual({"/fetch", directory}, mounts)
                        for variable in container.get("env", []):
                            self.assertIn(str(Path(variable["value"]).parent), mounts)
