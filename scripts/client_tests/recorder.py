"""Stands between a client and the API, changes nothing, and notes which fields the server passed over."""

from __future__ import annotations

import http.client
import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from processes import local

# Of one connection, not of what it carries.
HOPS = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


@dataclass
class Exchange:
    call: str
    sent: dict
    status: int
    passed_over: list[str]


class Recorder:
    """A port of its own in front of the API at `port`."""

    def __init__(self, port: int) -> None:
        self.exchanges: list[Exchange] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:
                    # A client that goes away takes the connection to the server with it.
                    self.close_connection = True

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name: value for name, value in self.headers.items() if name.lower() not in HOPS}
                server = http.client.HTTPConnection("127.0.0.1", port)
                try:
                    server.request(self.command, self.path, body, headers)
                    self.answer(server.getresponse(), body)
                finally:
                    server.close()

            def answer(self, response: http.client.HTTPResponse, body: bytes) -> None:
                told = response.headers.get("x-tandem-passed-over")
                sent = json.loads(body) if body else {}
                names = told.split(", ") if told else []
                call = f"{self.command} {self.path}"
                recorder.exchanges.append(Exchange(call, sent, response.status, names))
                self.send_response_only(response.status)
                for name, value in response.getheaders():
                    if name.lower() not in HOPS:
                        self.send_header(name, value)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                while piece := response.read1(65536):
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.write(b"0\r\n\r\n")

            def log_message(self, *_) -> None:
                pass

            do_GET = do_POST = forward

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.base = f"http://{local(self._server.server_port)}/v1"

    def passed_over(self) -> set[str]:
        return {name for exchange in self.exchanges for name in exchange.passed_over}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
