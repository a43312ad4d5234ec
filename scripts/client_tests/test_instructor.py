"""instructor, whose packages do not go with the newest of openai: its tests run among packages of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest
from pathlib import Path

from client_tests.pair import running_pair

SCRIPTS = Path(__file__).resolve().parents[1]


class InstructorTest(unittest.TestCase):
    def test_its_tests_pass(self) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.environ["TANDEM_INSTRUCTOR"],
            "TANDEM_OPENAI": str(running_pair().openai),
        }
        command = [sys.executable, "-m", "unittest", "client_tests.of_instructor"]
        done = subprocess.run(command, cwd=SCRIPTS, env=environment, capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("Ran 4 tests", done.stderr)
