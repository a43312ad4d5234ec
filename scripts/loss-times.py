"""How long a lost cloud stops an answer, and of what that is made.

Two clouds and an edge, everything in f32, behind no link. An answer comes from one cloud, which is killed, or stopped
so that it is silent. The edge's log says when it noticed; the client's clock, when the next token came. Beside it, the
same context as a prompt of its own, which the other cloud does not know: what a prefill of it takes.

usage: scripts/loss-times [--times N] [--fault kill|stop] [--prompt WORDS] [--json FILE]
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any, Iterator

from processes import free_ports, local, stop, wait_for

ROOT = Path(__file__).resolve().parent.parent
BINARIES = Path(os.environ.get("TANDEM_BINARIES") or ROOT / "target/release")
MODEL = Path(os.environ.get("TANDEM_MODEL") or ROOT / ".tandem/models/smollm2-135m-instruct")

# Tokens of the answer, and after how many of them the cloud is lost.
TOKENS, BEFORE = 60, 20
NOTICED = re.compile(r"^(\S+Z) .*a session was lost in the middle of an answer", re.MULTILINE)


class Servers:
    """Two clouds, which can be told apart by their load, and an edge."""

    def __init__(self, home: Path) -> None:
        self.home = home
        ports = iter(free_ports(7))
        self.clouds = [(next(ports), next(ports)) for _ in range(2)]
        self.edge, self.edge_admin, self.openai = next(ports), next(ports), next(ports)
        self.running: dict[int, subprocess.Popen] = {}

    def start_cloud(self, number: int) -> None:
        data, admin = self.clouds[number]
        self.running[data] = self._start("cloud-service", data, admin)
        self._wait("cloud-service", admin)

    def start_edge(self) -> None:
        clouds = ",".join(f"http://{local(data)}" for data, _ in self.clouds)
        options = ["--split", "10", "--preset", "exact", "--cloud", clouds, "--openai-listen", local(self.openai)]
        self.running[self.edge] = self._start("edge-agent", self.edge, self.edge_admin, *options)
        self._wait("edge-agent", self.edge_admin)

    def _start(self, program: str, data: int, admin: int, *options: str) -> subprocess.Popen:
        listening = ["--listen", local(data), "--metrics-listen", local(admin)]
        command = [BINARIES / program, "serve", "--model", MODEL, "--threads", "1", *listening, *options]
        with (self.home / f"{program}-{data}.log").open("a") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def _wait(self, program: str, admin: int) -> None:
        health = [BINARIES / program, "health", "--address", local(admin)]
        wait_for(lambda: subprocess.run(health, capture_output=True).returncode == 0, f"{program} to serve")

    def answering_cloud(self) -> int:
        """The number of the cloud in which an answer is made."""
        for number, (_, admin) in enumerate(self.clouds):
            with urllib.request.urlopen(f"http://{local(admin)}/metrics", timeout=5) as page:
                gauge = re.search(rb'^tandem_cloud_sessions\{state="running"\} (\d+)', page.read(), re.MULTILINE)
            if int(gauge[1]):
                return number
        raise RuntimeError("no cloud makes an answer")

    def noticed(self) -> list[float]:
        """When the edge noticed losses, by its log, as seconds since 1970."""
        log = (self.home / f"edge-agent-{self.edge}.log").read_text()
        times = [match[1] for match in NOTICED.finditer(log)]
        return [datetime.datetime.fromisoformat(at).timestamp() for at in times]

    def stop(self) -> None:
        for process in self.running.values():
            process.send_signal(signal.SIGCONT)
            stop(process)

    def tokens(self, prompt: str, count: int) -> Iterator[float]:
        """When each token of an answer came."""
        body = {
            "model": MODEL.name,
            "prompt": prompt,
            "max_tokens": count,
            "temperature": 0,
            "ignore_eos": True,
            "logprobs": 0,
            "stream": True,
        }
        headers = {"content-type": "application/json"}
        url = f"http://{local(self.openai)}/v1/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=120) as answer:
            for line in answer:
                if line.startswith(b"data: {"):
                    event = json.loads(line[6:])
                    if "error" in event:
                        raise RuntimeError(event["error"])
                    if event["choices"] and event["choices"][0]["finish_reason"] is None:
                        yield time.time()


def lose(servers: Servers, fault: str, prompt: str) -> dict[str, float]:
    """One answer whose cloud is lost, and what that took."""
    before = len(servers.noticed())
    at, lost = [], 0.0
    number = 0
    for now in servers.tokens(prompt, TOKENS):
        at.append(now)
        if len(at) == BEFORE:
            number = servers.answering_cloud()
            process = servers.running[servers.clouds[number][0]]
            lost = time.time()
            process.send_signal(signal.SIGKILL if fault == "kill" else signal.SIGSTOP)
    gaps = [(later - earlier, later) for earlier, later in zip(at, at[1:])]
    pause, resumed = max(gaps)
    noticed = servers.noticed()[before:]
    if not noticed:
        raise RuntimeError("the answer had ended before the cloud was lost")
    process = servers.running[servers.clouds[number][0]]
    if fault == "kill":
        process.wait()
        servers.start_cloud(number)
    else:
        process.send_signal(signal.SIGCONT)
    return {"noticed": noticed[0] - lost, "next token": resumed - noticed[0], "pause": pause}


def prefill(servers: Servers, prompt: str) -> float:
    """Seconds to the first token behind a prompt of the same length."""
    began = time.time()
    return next(iter(servers.tokens(prompt, 1))) - began


def words(number: int, count: int) -> str:
    """Text that no other number's begins as."""
    return " ".join([f"Report {number}:", *(f"item {number * 7919 + at} was counted;" for at in range(count))])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--fault", choices=["kill", "stop"], default="kill")
    parser.add_argument("--prompt", type=int, default=40, help="parts of the prompt, of some 12 tokens each")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.times < 1:
        parser.error("--times must be at least 1")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as home:
        servers = Servers(Path(home))
        try:
            starts = [threading.Thread(target=servers.start_cloud, args=(number,)) for number in range(2)]
            for thread in starts:
                thread.start()
            for thread in starts:
                thread.join()
            servers.start_edge()
            prefill(servers, words(1, given.prompt))
            for number in range(given.times):
                alone = prefill(servers, words(2 * number + 2, given.prompt))
                row = lose(servers, given.fault, words(2 * number + 3, given.prompt))
                row["prefill"] = alone
                row["more than a prefill"] = row["next token"] - alone
                rows.append(row)
                print("  ".join(f"{name} {1e3 * value:.0f} ms" for name, value in row.items()), flush=True)
        finally:
            servers.stop()
    print(f"\n| of {len(rows)} | median, ms | highest, ms |\n| --- | --- | --- |")
    for name in rows[0]:
        values = [1e3 * row[name] for row in rows]
        print(f"| {name} | {statistics.median(values):.0f} | {max(values):.0f} |")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
