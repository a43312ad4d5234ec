"""The tables of clients in docs/openai.md: each call has its test, and each version is the tested one."""

from __future__ import annotations

import re
import unittest
from importlib.metadata import version
from pathlib import Path

from client_tests.calls import calls, versions

# Read, not imported: not every client is among the packages of this process.
MARK = re.compile(r'^    @call\("(.*?)", "(.*?)"\)$', re.MULTILINE)
# In the environments of their own tests.
ELSEWHERE = {"instructor", "open-webui"}


class CallsTest(unittest.TestCase):
    def test_each_call_has_one_test_and_each_test_its_row(self) -> None:
        tests = sorted(Path(__file__).parent.glob("*.py"))
        marks = [tuple(mark) for test in tests for mark in MARK.findall(test.read_text())]
        self.assertEqual(sorted(marks), sorted(calls()))

    def test_the_versions_are_those_that_are_tried(self) -> None:
        said = versions()
        self.assertEqual({client for client, _ in calls()}, set(said))
        for client in said.keys() - ELSEWHERE:
            self.assertEqual(said[client], version(client), client)
