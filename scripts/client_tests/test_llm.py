"""The command `llm` against the OpenAI-compatible API of the real pair."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from client_tests.calls import KEY, NAME, NEXT, PROMPT, TOKENS, ClientTest, Weather, call
from processes import WAIT_SECONDS


class LlmTest(ClientTest):
    def setUp(self) -> None:
        super().setUp()
        # What its documentation says for models with OpenAI's API.
        home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        model = {
            "model_id": "tandem",
            "model_name": NAME,
            "api_base": self.recorder.base,
            "supports_schema": True,
            "supports_tools": True,
        }
        # JSON is YAML.
        (home / "extra-openai-models.yaml").write_text(json.dumps([model]))
        self.environment = {**os.environ, "LLM_USER_PATH": str(home)}

    def llm(self, *words: str, tokens: int = TOKENS) -> str:
        options = ["--key", KEY, "-o", "temperature", "0", "-o", "max_tokens", str(tokens)]
        command = [sys.executable, "-m", "llm", *words, *options]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=WAIT_SECONDS, stdin=subprocess.DEVNULL
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    @call("llm", "llm PROMPT, llm --continue")
    def test_a_prompt_is_answered_and_the_conversation_goes_on(self) -> None:
        self.assertEqual(self.llm("-m", "tandem", PROMPT), self.greedy() + "\n")
        self.assertEqual(self.llm("-m", "tandem", "--no-stream", PROMPT), self.greedy() + "\n")
        self.assertTrue(self.llm("--continue", NEXT).strip())
        contents = [message["content"] for message in self.recorder.exchanges[-1].sent["messages"]]
        self.assertEqual(contents, [PROMPT, self.greedy(), NEXT])

    @call("llm", "llm --schema")
    def test_an_answer_keeps_a_schema(self) -> None:
        schema = json.dumps(Weather.model_json_schema())
        Weather.model_validate_json(self.llm("-m", "tandem", "--schema", schema, PROMPT, tokens=200))

    @call("llm", "llm --tool")
    def test_a_tool_is_told_and_the_prompt_answered(self) -> None:
        said = self.llm("-m", "tandem", "--tool", "llm_version", PROMPT)
        self.assertTrue(said.strip())
        [told] = self.recorder.exchanges[-1].sent["tools"]
        self.assertEqual(told["function"]["name"], "llm_version")
