"""Every client of examples/, and OpenAI's own, against a pair that runs already: scripts/test-clients --against."""

from __future__ import annotations

import os
import subprocess
import unittest

import openai

from client_tests import test_clients
from client_tests.test_clients import PROMPT, TOKENS
from processes import WAIT_SECONDS

EDGE, OPENAI = os.environ["TANDEM_EDGE"], os.environ["TANDEM_OPENAI"]


class DeployedTest(unittest.TestCase):
    def answer(self, client: type[test_clients.Promises]) -> str:
        words = [*client.command, "--edge", EDGE, "--temperature", 0, "--max-tokens", TOKENS, PROMPT]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=WAIT_SECONDS)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.removesuffix("\n")

    def test_every_client_is_given_the_same_answer(self) -> None:
        with openai.OpenAI(base_url=f"http://{OPENAI}/v1", api_key="none", timeout=WAIT_SECONDS) as client:
            [model] = client.models.list()
            message = {"role": "user", "content": PROMPT}
            answer = client.chat.completions.create(
                model=model.id, messages=[message], max_tokens=TOKENS, temperature=0
            )
        expected = answer.choices[0].message.content
        self.assertTrue(expected)
        for client in (test_clients.Python, test_clients.PythonAsyncio, test_clients.Node, test_clients.Go):
            with self.subTest(client.__name__):
                if getattr(client, "__unittest_skip__", False):
                    self.skipTest(client.__unittest_skip_why__)
                self.assertEqual(self.answer(client), expected)
