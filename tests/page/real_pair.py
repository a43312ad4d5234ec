"""The real pair, for tests that kill its halves and start them again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

from processes import free_ports, local, stop, wait_for

ROOT = Path(__file__).resolve().parents[2]
BINARIES = Path(os.environ.get("TANDEM_BINARIES") or ROOT / "target/release")
MODEL = Path(os.environ.get("TANDEM_MODEL") or ROOT / ".tandem/models/smollm2-135m-instruct")
EDGE, CLOUD = BINARIES / "edge-agent", BINARIES / "cloud-service"

# f32, so that what an answer is depends on nothing that a machine measures.
SPLIT = ["--split", "10", "--preset", "exact"]


def is_here() -> bool:
    """Whether there is a pair to start."""
    return EDGE.exists() and CLOUD.exists() and (MODEL / "config.json").exists()


def metric(admin: int, name: str) -> float:
    """A value of a server's metrics; 0 where it has none of that name yet."""
    with urllib.request.urlopen(f"http://{local(admin)}/metrics", timeout=5) as page:
        found = re.search(rf"^{name} (\S+)", page.read().decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


class RealPair:
    """A cloud-service, and an edge-agent with its page."""

    def __init__(self, home: Path) -> None:
        self._home = home
        ports = iter(free_ports(5))
        self._cloud, self._cloud_admin = next(ports), next(ports)
        self._edge, self._edge_admin, self._page = next(ports), next(ports), next(ports)
        self.url = f"http://{local(self._page)}/"
        self._running: dict[Path, subprocess.Popen] = {}
        self.edge_options: list[str | Path] = []

    def start(self, program: Path) -> None:
        """Starts one of the two, and waits until it serves."""
        options: list[str | Path]
        if program == CLOUD:
            data, admin, options = self._cloud, self._cloud_admin, []
        else:
            data, admin = self._edge, self._edge_admin
            options = [*SPLIT, "--cloud", f"http://{local(self._cloud)}", "--openai-listen", local(self._page)]
            options += self.edge_options
        listening = ["--listen", local(data), "--metrics-listen", local(admin)]
        command = [program, "serve", "--model", MODEL, "--threads", "1", *listening, *options]
        with (self._home / f"{program.name}.log").open("a") as log:
            self._running[program] = subprocess.Popen(command, stdout=log, stderr=log)
        health = [program, "health", "--address", local(admin)]
        wait_for(lambda: subprocess.run(health, capture_output=True).returncode == 0, f"{program.name} to serve")

    def kill(self, program: Path) -> None:
        """Ends one of the two as a fault would."""
        process = self._running.pop(program)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Ends both."""
        for process in self._running.values():
            stop(process)
        self._running.clear()

    def running_sessions(self) -> int:
        """The cloud's gauge of sessions in which an answer is made."""
        return int(metric(self._cloud_admin, r'tandem_cloud_sessions\{state="running"\}'))

    def seconds_a_token(self, ask: Callable[[], object]) -> float:
        """The time between the tokens of the answers that come of `ask`, as the edge measures it."""
        name = "tandem_edge_inter_token_latency_seconds"

        def measured() -> list[float]:
            return [metric(self._edge_admin, f"{name}_{part}") for part in ("sum", "count")]

        before = measured()
        ask()
        seconds, tokens = (now - then for now, then in zip(measured(), before))
        return seconds / tokens

    def greedy(self, messages: list[dict[str, str]], tokens: int) -> str:
        """What the API itself answers."""
        body = {"model": MODEL.name, "messages": messages, "max_tokens": tokens, "temperature": 0}
        request = urllib.request.Request(
            f"{self.url}v1/chat/completions",
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["choices"][0]["message"]["content"]
