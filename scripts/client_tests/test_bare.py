"""A client that lacks what has to be installed or generated first says how, and shows no traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class Bare(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def said(self, *words: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(self.folder / "libraries")}
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=environment)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertNotIn("Traceback", done.stderr)
        return done.stderr

    def test_python_names_the_command_for_libraries_and_then_for_stubs(self) -> None:
        for name in ("chat.py", "chat_async.py", "tandem_client.py"):
            shutil.copy(EXAMPLES / "python" / name, self.folder)
        libraries = self.folder / "libraries"
        libraries.mkdir()
        # Found before any that this interpreter has.
        (libraries / "grpc.py").write_text("raise ImportError('no grpc')\n")
        for client in ("chat.py", "chat_async.py"):
            said = self.said(sys.executable, str(self.folder / client), "hi")
            self.assertIn("-m pip install --require-hashes -r", said)
        (libraries / "grpc.py").write_text("")
        for package, module in (("google/rpc", "error_details_pb2"), ("grpc_status", "rpc_status")):
            (libraries / package).mkdir(parents=True)
            (libraries / package / f"{module}.py").write_text("")
        for package in ("google", "google/rpc", "grpc_status"):
            (libraries / package / "__init__.py").write_text("")
        for client in ("chat.py", "chat_async.py"):
            said = self.said(sys.executable, str(self.folder / client), "hi")
            self.assertIn("-m grpc_tools.protoc", said)

    @unittest.skipUnless(shutil.which("node"), "node is not installed")
    def test_node_names_the_command_for_libraries(self) -> None:
        for name in ("chat.js", "package.json", "status.proto"):
            shutil.copy(EXAMPLES / "node" / name, self.folder)
        self.assertIn("npm ci", self.said("node", str(self.folder / "chat.js"), "hi"))


if __name__ == "__main__":
    unittest.main()
