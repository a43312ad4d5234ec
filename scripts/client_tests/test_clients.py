"""Every client of examples/ keeps the same promises against the real pair."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

from client_tests.pair import running_pair
from processes import WAIT_SECONDS, local, wait_for
from client_tests.terminator import Authority, Terminator

EXAMPLES = Path(os.environ["TANDEM_CLIENTS"]) / "examples"
PROMPT = "Why is the sky blue?"
# Takes longer than any test waits.
LONG = "Write a very long story about a dragon."
TOKENS = 16


class Promises:
    """What each client is tested for. A subclass says how it is called."""

    command: list[Any]
    # The unit behind the number of --timeout.
    seconds = ""

    @classmethod
    def setUpClass(cls) -> None:
        cls.pair = running_pair()
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))

    def setUp(self) -> None:
        wait_for(lambda: self.pair.running_sessions() == 0, "earlier answers to end")

    def words(self, port: int, *options: Any) -> list[str]:
        # Greedy, so that answers can be compared.
        if "--temperature" not in options:
            options = ("--temperature", 0, *options)
        return [str(word) for word in (*self.command, "--edge", local(port), *options)]

    def run_client(self, port: int, *options: Any) -> subprocess.CompletedProcess:
        words = self.words(port, *options)
        return subprocess.run(words, capture_output=True, text=True, timeout=WAIT_SECONDS)

    def chat(self, port: int, *options: Any) -> subprocess.CompletedProcess:
        return self.run_client(port, *options, "--max-tokens", TOKENS, PROMPT)

    def assert_status(self, done: subprocess.CompletedProcess, status: str, *lines: str) -> None:
        # Go spells codes in its own way: DeadlineExceeded.
        said = done.stderr.upper().replace("_", "")
        self.assertIn(f"{status.replace('_', '')}: ", said, done.stdout)
        for line in lines:
            self.assertIn(line, done.stderr.splitlines())
        self.assertEqual(done.returncode, 1)

    def assert_answered(self, done: subprocess.CompletedProcess) -> None:
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, self.pair.greedy(PROMPT, TOKENS))
        self.assertIn(f"{TOKENS} tokens, ", done.stderr)

    def test_an_answer_is_what_the_edge_itself_would_print(self) -> None:
        self.assert_answered(self.chat(self.pair.edge))

    def test_an_answer_keeps_a_schema(self) -> None:
        schema = self.folder / "schema.json"
        schema.write_text('{"type": "array", "items": {"enum": ["blue", "red"]}, "minItems": 2, "maxItems": 3}')
        done = self.run_client(self.pair.edge, "--json-schema", schema, "--max-tokens", 60, PROMPT)
        self.assertEqual(done.returncode, 0, done.stderr)
        colours = json.loads(done.stdout)
        self.assertTrue(2 <= len(colours) <= 3 and set(colours) <= {"blue", "red"}, colours)
        schema.write_text('{"type": "colour"}')
        done = self.run_client(self.pair.edge, "--json-schema", schema, PROMPT)
        self.assert_status(done, "INVALID_ARGUMENT", "  reason: CONSTRAINT")

    def test_a_deadline_ends_the_answer_everywhere(self) -> None:
        done = self.run_client(self.pair.edge, "--timeout", f"0.7{self.seconds}", LONG)
        self.assert_status(done, "DEADLINE_EXCEEDED")
        wait_for(lambda: self.pair.running_sessions() == 0, "the cloud to free the session", 5)

    def test_ctrl_c_in_the_middle_of_an_answer_frees_the_clouds_session(self) -> None:
        words = self.words(self.pair.edge, LONG)
        client = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        # The text is streamed: some of it is here while the answer runs.
        self.assertEqual(client.stdout.read(9), b"Once upon")
        self.assertEqual(self.pair.running_sessions(), 1)
        client.send_signal(signal.SIGINT)
        wait_for(lambda: self.pair.running_sessions() == 0, "the cloud to free the session", 5)
        _, errors = client.communicate(timeout=WAIT_SECONDS)
        self.assertEqual(client.returncode, 130, errors)
        self.assertIn(b"cancelled", errors)

    def test_refused_parameters_are_named(self) -> None:
        done = self.chat(self.pair.edge, "--temperature", 101, "--top-p", 2)
        self.assert_status(
            done,
            "INVALID_ARGUMENT",
            "  reason: SAMPLING",
            "  field sampling.temperature: must be in [0, 100], is 101",
            "  field sampling.top_p: must be in (0, 1], is 2",
        )
        self.assertEqual(done.stdout, "")

    def test_an_edge_without_its_cloud_says_when_to_try_again(self) -> None:
        done = self.chat(self.pair.lonely)
        self.assert_status(done, "UNAVAILABLE", "  reason: CLOUD_UNREACHABLE", "  retry after: 1 s")

    def test_an_edge_that_is_not_there_is_a_status_too(self) -> None:
        self.assert_status(self.chat(1), "UNAVAILABLE")

    def test_an_edge_with_tls_and_a_token_answers_who_has_it(self) -> None:
        trusting = ["--ca", self.pair.authority]
        self.assert_answered(self.chat(self.pair.guarded, *trusting, "--token-file", self.pair.token))
        with self.subTest("without one"):
            done = self.chat(self.pair.guarded, *trusting)
            self.assert_status(done, "UNAUTHENTICATED", "  reason: TOKEN")

    def test_tls_with_the_right_authority(self) -> None:
        authority = Authority(self.folder, "authority")
        terminator = self.terminator(*authority.issue("server"))
        self.assert_answered(self.chat(terminator.port, "--ca", authority.pem))

    def test_tls_with_a_certificate_of_the_client(self) -> None:
        authority = Authority(self.folder, "authority")
        terminator = self.terminator(*authority.issue("server"), authority.pem)
        certificate, key = authority.issue("client")
        own = ["--ca", authority.pem, "--cert", certificate, "--key", key]
        self.assert_answered(self.chat(terminator.port, *own))
        with self.subTest("without one"):
            self.assert_status(self.chat(terminator.port, "--ca", authority.pem), "UNAVAILABLE")

    def test_a_server_of_another_authority_gets_no_prompt(self) -> None:
        server = Authority(self.folder, "authority").issue("server")
        other = Authority(self.folder, "other")
        terminator = self.terminator(*server)
        done = self.chat(terminator.port, "--ca", other.pem)
        self.assert_status(done, "UNAVAILABLE")
        self.assertIn("certificate", done.stderr.lower())
        self.assertEqual(done.stdout, "")

    def terminator(self, *identity: Path) -> Terminator:
        terminator = Terminator(self.pair.edge, *identity)
        self.addCleanup(terminator.stop)
        return terminator


class Python(Promises, unittest.TestCase):
    command = [sys.executable, "-B", EXAMPLES / "python/chat.py"]


class PythonTools(unittest.TestCase):
    def test_a_function_is_called_and_the_answer_goes_on_from_its_result(self) -> None:
        edge = ["--edge", local(running_pair().edge), "--temperature", "0", "--max-tokens", "80", "--require"]
        command = [sys.executable, "-B", EXAMPLES / "python/tools.py", *edge, "How often is r in strawberry?"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS)
        call = re.search(r"^count_letter\((.*)\) = (\d+)$", done.stderr, re.MULTILINE)
        self.assertIsNotNone(call, done.stderr)
        given = json.loads(call[1])
        self.assertEqual(given["word"].lower().count(given["letter"].lower()), int(call[2]))
        # The small model may call again and again instead of answering.
        self.assertIn(done.returncode, (0, 1), done.stderr)
        self.assertEqual(bool(done.stdout.strip()), done.returncode == 0, done.stdout)


class PythonAsyncio(Promises, unittest.TestCase):
    command = [sys.executable, "-B", EXAMPLES / "python/chat_async.py"]


@unittest.skipUnless((EXAMPLES / "node/node_modules").exists(), "NOT CHECKED: Node")
class Node(Promises, unittest.TestCase):
    command = ["node", EXAMPLES / "node/chat.js"]

    def test_several_answers_come_whole(self) -> None:
        once = self.chat(self.pair.edge)
        done = self.chat(self.pair.edge, "--answers", 2)
        self.assertEqual(done.returncode, 0, done.stderr)
        # Greedy, they are the same.
        self.assertEqual(done.stdout, 2 * once.stdout)


@unittest.skipUnless((EXAMPLES / "go/chat").exists(), "NOT CHECKED: Go")
class Go(Promises, unittest.TestCase):
    command = [EXAMPLES / "go/chat"]
    seconds = "s"


def setUpModule() -> None:
    # In a shell's background SIGINT is ignored, and children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
