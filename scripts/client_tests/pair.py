"""The real pair on loopback: one for all tests, started by the first that asks for it."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import re
import subprocess
import tempfile
import urllib.request
from pathlib import Path

from client_tests.terminator import Authority
from processes import WAIT_SECONDS, free_ports, local, stop, wait_for

BINARIES = Path(os.environ["TANDEM_BINARIES"])
MODEL = Path(os.environ["TANDEM_MODEL"])
EDGE, CLOUD = BINARIES / "edge-agent", BINARIES / "cloud-service"

# f32, or a profile beside the model would decide what an answer is.
SPLIT = ["--split", "10", "--preset", "exact"]


class Pair:
    """An edge-agent with its cloud-service, another whose cloud is not there, and one that asks for TLS and a token."""

    def __init__(self) -> None:
        ports = iter(free_ports(10))
        self.cloud, self.cloud_admin = next(ports), next(ports)
        self.edge, self.edge_admin, self.openai = next(ports), next(ports), next(ports)
        self.lonely, lonely_admin, nobody = next(ports), next(ports), next(ports)
        self.guarded, guarded_admin = next(ports), next(ports)
        with contextlib.ExitStack() as stack:
            self._home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self._start(stack, CLOUD, self.cloud, self.cloud_admin)
            served = ["--cloud", url(self.cloud), "--openai-listen", local(self.openai)]
            self._start(stack, EDGE, self.edge, self.edge_admin, *SPLIT, *served)
            self._start(stack, EDGE, self.lonely, lonely_admin, *SPLIT, "--cloud", url(nobody))
            guard = [*self._guard(), "--cloud", url(self.cloud)]
            self._start(stack, EDGE, self.guarded, guarded_admin, *SPLIT, *guard)
            edges = [(EDGE, admin) for admin in (self.edge_admin, lonely_admin, guarded_admin)]
            for binary, admin in ((CLOUD, self.cloud_admin), *edges):
                health = [binary, "health", "--address", local(admin)]
                wait_for(
                    lambda: subprocess.run(health, capture_output=True).returncode == 0,
                    f"{binary.name} to serve",
                )
            # All of them serve: they stay until the tests have ended.
            atexit.register(stack.pop_all().close)

    def _guard(self) -> list[str | Path]:
        """Flags of an edge-agent that asks for TLS and a token, which `authority` and `token` satisfy."""
        authority = Authority(self._home, "edges-authority")
        certificate, key = authority.issue("edge")
        self.authority, self.token = authority.pem, self._home / "token"
        self.token.write_text("the-token-of-the-tests\n")
        tokens = self._home / "tokens"
        tokens.write_text(f"tests: {self.token.read_text()}")
        return ["--tls-certificate", certificate, "--tls-key", key, "--auth-tokens", tokens]

    def _start(self, stack: contextlib.ExitStack, binary: Path, data: int, admin: int, *options: str) -> None:
        listening = ["--listen", local(data), "--metrics-listen", local(admin)]
        command = ["nice", binary, "serve", "--model", MODEL, "--threads", "1", *listening, *options]
        with (self._home / f"{binary.name}-{data}.log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        stack.callback(stop, process)

    @functools.cache
    def greedy(self, prompt: str, tokens: int) -> str:
        """What an edge-agent prints that runs without a server in between."""
        edge = ["--model", MODEL, "--threads", "1", *SPLIT, "--cloud", url(self.cloud)]
        command = [EDGE, "generate", *edge, "--chat", "--temperature", "0", "--max-tokens", str(tokens), prompt]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=WAIT_SECONDS)
        return done.stdout

    def running_sessions(self) -> int:
        """The cloud's gauge of sessions in which an answer is made."""
        with urllib.request.urlopen(f"{url(self.cloud_admin)}/metrics", timeout=5) as page:
            gauge = re.search(rb'^tandem_cloud_sessions\{state="running"\} (\d+)', page.read(), re.MULTILINE)
        return int(gauge[1])


@functools.cache
def running_pair() -> Pair:
    """The pair of this process; it ends with it."""
    return Pair()


def url(port: int) -> str:
    return f"http://{local(port)}"
