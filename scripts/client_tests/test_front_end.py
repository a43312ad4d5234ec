"""open-webui, where there is one: a conversation as its page holds it, against the real pair."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from client_tests.calls import KEY, NAME, NEXT, PROMPT, TOKENS, ClientTest, call
from client_tests.pair import url
from processes import free_ports, stop, wait_for

PROGRAM = os.environ.get("TANDEM_OPEN_WEBUI")
# Its first start makes a database, and its first answer reads thousands of tokens: the page's own tools.
PATIENCE = 300
# No sign-in, nothing asked of the internet, and no models of its own for documents.
SETTINGS = {
    "WEBUI_AUTH": "False",
    "ENABLE_OLLAMA_API": "False",
    "OPENAI_API_KEY": KEY,
    "OFFLINE_MODE": "True",
    "HF_HUB_OFFLINE": "1",
    "RAG_EMBEDDING_ENGINE": "openai",
    "ENABLE_VERSION_UPDATE_CHECK": "False",
    "ANONYMIZED_TELEMETRY": "False",
    "DO_NOT_TRACK": "true",
    "SCARF_NO_ANALYTICS": "true",
    "WEBUI_SECRET_KEY": "the-secret-of-the-tests-is-no-secret",
}
# Of the surroundings of this process, which are not those of open-webui.
OURS = {"LD_LIBRARY_PATH", "PYTHONPATH"}


@unittest.skipUnless(PROGRAM, "TANDEM_OPEN_WEBUI names no open-webui")
class OpenWebUiTest(ClientTest):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        home = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        [port] = free_ports(1)
        cls.page = url(port)
        cls.token = ""
        environment = {name: value for name, value in os.environ.items() if name not in OURS}
        environment.update(SETTINGS, DATA_DIR=str(home), OPENAI_API_BASE_URL=cls.recorder.base)
        log = cls.enterClassContext((home / "log").open("w+"))
        command = ["nice", PROGRAM, "serve", "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log)
        cls.addClassCleanup(stop, process)

        def healthy() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"{PROGRAM} ended:\n{(home / 'log').read_text()[-4000:]}")
            try:
                return cls.ask("GET", "/health")["status"]
            except urllib.error.URLError:
                return False

        wait_for(healthy, "open-webui to serve", PATIENCE)
        cls.token = cls.ask("POST", "/api/v1/auths/signin", {"email": "", "password": ""})["token"]
        # As the page does at once: open-webui answers for models that it has listed.
        cls.models = cls.ask("GET", "/api/models")["data"]

    @classmethod
    def ask(cls, method: str, path: str, body: dict | None = None) -> dict:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {cls.token}"}
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(cls.page + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def turn(self, text: str, chat: str | None = None, after: str | None = None) -> tuple[str, dict]:
        """What the page sends for a message of its user: the conversation's id and the answer that it keeps."""
        question, answer = str(uuid.uuid4()), str(uuid.uuid4())
        message = {
            "id": question,
            "parentId": after,
            "childrenIds": [],
            "role": "user",
            "content": text,
            "timestamp": int(time.time()),
            "models": [NAME],
        }
        begun = self.ask(
            "POST",
            "/api/chat/completions",
            {
                "stream": True,
                "model": NAME,
                "params": {"temperature": 0, "max_tokens": TOKENS},
                "tool_servers": [],
                "features": {"image_generation": False, "code_interpreter": False, "web_search": False},
                "variables": {"{{USER_NAME}}": "User"},
                "model_item": {"id": NAME},
                "session_id": "the-session-of-the-tests",
                "id": answer,
                "parent_id": after,
                "user_message": message,
                "background_tasks": {},
                **({"chat_id": chat} if chat else {}),
            },
        )
        kept: dict = {}

        def done() -> bool:
            history = self.ask("GET", f"/api/v1/chats/{begun['chat_id']}")["chat"]["history"]
            kept.update(history["messages"][answer])
            return kept.get("done")

        wait_for(done, "open-webui to keep the answer", PATIENCE)
        self.assertNotIn("error", kept)
        return begun["chat_id"], kept

    def sent(self) -> list[dict]:
        return [exchange.sent for exchange in self.recorder.exchanges if exchange.call == "POST /v1/chat/completions"]

    def said(self, body: dict) -> str:
        """What the edge says by itself to what open-webui sent, whole where that was streamed."""
        self.assertTrue(body["stream"])
        data = json.dumps({**body, "stream": False}).encode()
        edge = f"{url(self.pair.openai)}/v1/chat/completions"
        request = urllib.request.Request(edge, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)["choices"][0]["message"]["content"]

    @call("open-webui", "a conversation on its page")
    def test_the_page_keeps_what_the_edge_says_in_two_turns(self) -> None:
        self.assertEqual([model["id"] for model in self.models], [NAME])
        chat, first = self.turn(PROMPT)
        _, second = self.turn(NEXT, chat, first["id"])
        turns = self.sent()
        self.assertEqual(len(turns), 2)
        for kept, sent in zip((first, second), turns):
            self.assertTrue(sent["tools"])
            self.assertEqual(kept["content"], self.said(sent).strip())
        contents = [message["content"] for message in turns[1]["messages"] if message["role"] != "system"]
        self.assertEqual(contents, [PROMPT, first["content"], NEXT])

    @call("open-webui", "the title of a conversation")
    def test_a_title_is_made_by_the_model(self) -> None:
        messages = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": "The air scatters blue."}]
        answer = self.ask("POST", "/api/v1/tasks/title/completions", {"model": NAME, "messages": messages})
        self.assertTrue(answer["choices"][0]["message"]["content"])
        [sent] = self.sent()
        self.assertIn("The air scatters blue.", sent["messages"][-1]["content"])
