"""An edge as its page sees it, without a model: the page's files under the headers of the real listener, and answers
that are always the same.

    python3 mock_edge.py [PORT]

serves it for a browser. Each field of `Settings` can be set by an environment variable, such as MOCK_TOKEN=secret,
MOCK_PAUSE=0.05, MOCK_ANSWER=words, MOCK_DIES_AFTER=20, MOCK_REPLAY_AT=12 or MOCK_PLAN=none.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mock_plan
from mock_answers import HOSTILE, MARKDOWN, one_block_of_code, one_list, words
from mock_stream import Stream

PAGE = Path(__file__).resolve().parents[2] / "edge-agent" / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclasses.dataclass
class Settings:
    """How the mock behaves; tests change it between requests."""

    # A token that requests must carry; empty: none.
    token: str = ""
    # Seconds between two steps.
    pause: float = 0.01
    # "markdown", "hostile", "echo", which repeats the last message; or "words", "list" or "code" of so many tokens.
    answer: str = "markdown"
    tokens: int = 1000
    # Whether thoughts come before the answer.
    thoughts: bool = False
    # Whether every sixth step brings tokens by drafts.
    drafts: bool = True
    # The step at which the connection breaks, and the mock stops listening; 0: none.
    dies_after: int = 0
    # The step at which an error ends the stream; 0: none.
    fails_after: int = 0
    # The step at which the answer goes on in another cloud session; 0: none.
    replay_at: int = 0
    # "made", "impossible", or "none" for 404.
    plan: str = "made"
    # Layers on the edge.
    split: int = mock_plan.SPLIT
    # The status of a refusal of every answer; 0: none.
    refuses: int = 0
    # Whether the model is loaded.
    ready: bool = True

    @classmethod
    def from_environment(cls) -> Settings:
        given = {}
        for field in dataclasses.fields(cls):
            value = os.environ.get(f"MOCK_{field.name.upper()}")
            if value is not None:
                given[field.name] = value not in ("", "0") if field.type == "bool" else type(field.default)(value)
        return cls(**given)


class MockEdge:
    """Listens on a port of loopback, from `start` to `stop`, as often as one likes."""

    def __init__(self, settings: Settings | None = None, port: int = 0) -> None:
        self.settings = settings or Settings()
        self.port = port
        # The bodies of the answers that were asked for.
        self.requests: list[dict] = []
        self._connections: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        handler = type("Handler", (Handler,), {"edge": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Closes the socket and breaks every connection."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # The browser has closed it.

    def opened(self, connection: socket.socket) -> None:
        self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        self._connections.discard(connection)


class Refused(Exception):
    """An answer with an error instead of a body."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": "server_error", "param": None, "code": code}}


NOT_READY = Refused(503, "the model is being loaded", "loading")


class Handler(BaseHTTPRequestHandler):
    edge: MockEdge
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.edge.opened(self.connection)

    def finish(self) -> None:
        self.edge.closed(self.connection)
        super().finish()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/health":
            self._answer_health()
        elif path == "/":
            self._send_file("index.html")
        elif path.startswith("/page/"):
            self._send_file(path.removeprefix("/page/"))
        elif path == "/tandem/model":
            self._answer(self._model)
        elif path == "/tandem/plan":
            self._answer(self._plan)
        else:
            self._send(404, "text/plain", b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            self._authorize()
            if self.path != "/v1/chat/completions":
                raise Refused(404, f"{self.path} is not served", "not_found")
            request = json.loads(body)
            self.edge.requests.append(request)
            if self.edge.settings.refuses:
                raise Refused(self.edge.settings.refuses, "no session is free in the cloud", "session_limit")
            self._stream(request)
        except Refused as refused:
            self._send_json(refused.status, refused.body)
        except OSError:
            self.close_connection = True

    def _answer_health(self) -> None:
        if self.edge.settings.ready:
            self._send(200, "text/plain", b"")
        else:
            self._send_json(503, NOT_READY.body)

    def _authorize(self) -> None:
        if not self.edge.settings.ready:
            raise NOT_READY
        token = self.edge.settings.token
        if token and self.headers.get("Authorization") != f"Bearer {token}":
            raise Refused(401, "the token is not one of this server's", "invalid_api_key")

    def _answer(self, document: Callable[[], dict]) -> None:
        try:
            self._authorize()
            self._send_json(200, document())
        except Refused as refused:
            self._send_json(refused.status, refused.body)

    def _model(self) -> dict:
        layers, split = mock_plan.LAYERS, self.edge.settings.split
        side = {"kv": "int8", "backend": "libtorch, 4 threads"}
        edge = {"first_layer": 0, "end_layer": split, "weights": "int8", "weight_bytes": split * 3_540_000, **side}
        return {
            "name": "smollm2-135m-instruct",
            "layers": layers,
            "hidden": mock_plan.HIDDEN,
            "split": split,
            "codec": "high",
            "context": mock_plan.CONTEXT,
            "cloud_reachable": True,
            "edge": edge if split else None,
            "cloud": {
                "first_layer": split,
                "end_layer": layers,
                "weights": "f32",
                "kv": "f32",
                "backend": "libtorch, 16 threads",
                "weight_bytes": (layers - split) * 14_160_000,
            },
            "default_sampling": {
                "temperature": 0.2,
                "top_k": 40,
                "top_p": 0.9,
                "min_p": 0.05,
                "repetition_penalty": 1,
            },
        }

    def _plan(self) -> dict:
        if self.edge.settings.plan == "none":
            raise Refused(404, "this edge has no plan", "not_found")
        if self.edge.settings.plan == "impossible":
            return mock_plan.plan_without_answer()
        return mock_plan.plan()

    def _text(self, request: dict) -> str:
        settings = self.edge.settings
        answers = {
            "markdown": lambda: MARKDOWN,
            "hostile": lambda: HOSTILE,
            "echo": lambda: request["messages"][-1]["content"],
            "words": lambda: words(settings.tokens),
            "list": lambda: one_list(settings.tokens),
            "code": lambda: one_block_of_code(settings.tokens),
        }
        return answers[settings.answer]()

    def _stream(self, request: dict) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        settings = dataclasses.replace(self.edge.settings)
        Stream(self.wfile, request, settings, self.edge.stop).send(self._text(request))

    def _send_json(self, status: int, document: dict) -> None:
        self._send(status, "application/json", json.dumps(document).encode())

    def _send_file(self, name: str) -> None:
        path = PAGE / name
        if path.parent == PAGE and path.suffix in TYPES and path.is_file():
            self._send(200, TYPES[path.suffix], path.read_bytes())
        else:
            self._send(404, "text/plain", b"")

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    mock = MockEdge(Settings.from_environment(), int(sys.argv[1]) if len(sys.argv) > 1 else 8080)
    mock.start()
    print(mock.url)
    threading.Event().wait()
