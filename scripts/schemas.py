"""Whether answers keep their JSON schema: those of scripts/schemas.json, greedy and at temperature 1, some of them with their
cloud killed in the middle. Starts two clouds and an edge of its own, and judges with the jsonschema package.

With --turns, what a form costs instead: tokens a second of one client with each of three forms and without, in turn.

usage: scripts/schemas [--model DIRECTORY] [--weights int8] [--split 10] [--answers 10] [--clients 4] [--json FILE]
       scripts/schemas --turns N [--tokens 100] [--model DIRECTORY] [--weights int8] [--split 10]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

import jsonschema
from processes import free_ports, local, stop, wait_for

ROOT = Path(__file__).resolve().parents[1]
BINARIES = Path(os.environ.get("TANDEM_BIN_DIR", ROOT / "target" / "release"))
SUBJECTS = ["the sea", "a bicycle", "Paris", "tea", "the moon", "a library", "jazz", "an old oak", "chess", "the steam engine"]
MOST_TOKENS = 600
# How long a cloud may take until it serves.
STARTS_WITHIN = 120


@dataclass
class Answer:
    """What came of a request."""

    text: str
    ended: bool
    tokens: int


class Cloud:
    """A cloud-service that can be killed and started again."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self.port, self.metrics = free_ports(2)
        self.arguments, self.log = arguments, log
        self.start()

    def start(self) -> None:
        command = [BINARIES / "cloud-service", "serve", "--listen", local(self.port), "--metrics-listen", local(self.metrics)]
        self.process = subprocess.Popen([*command, *self.arguments], stderr=self.log.open("a"))

    def is_ready(self) -> bool:
        return answers(f"http://{local(self.metrics)}/readyz")

    def answers_now(self) -> bool:
        """Whether it makes an answer."""
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{local(self.metrics)}/metrics", timeout=5) as page:
            running = re.search(r'^tandem_cloud_sessions\{state="running"\} (\S+)', page.read().decode(), re.MULTILINE)
            return running is not None and float(running[1]) > 0
        return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as response:
        return response.status == 200
    return False


@contextlib.contextmanager
def servers(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[list[Cloud], str]]:
    model = ["--model", arguments.model, "--weights", arguments.weights]
    clouds = [Cloud(model, folder / f"cloud-{number}.log") for number in (1, 2)]
    port, metrics, api = free_ports(3)
    edge = None
    try:
        for cloud in clouds:
            wait_for(cloud.is_ready, "a cloud", STARTS_WITHIN)
        config = folder / "edge.yaml"
        config.write_text(json.dumps({"cloud": [f"http://{local(cloud.port)}" for cloud in clouds]}))
        command = [BINARIES / "edge-agent", "serve", "--config", config, "--split", str(arguments.split), *model]
        if arguments.turns:
            # So that all answers take as many round trips.
            command += ["--drafts", "0"]
        listen = ["--listen", local(port), "--metrics-listen", local(metrics), "--openai-listen", local(api)]
        edge = subprocess.Popen([*command, *listen], stderr=(folder / "edge.log").open("a"))
        url = f"http://{local(api)}"
        wait_for(lambda: answers(f"{url}/health"), "the edge", STARTS_WITHIN)
        yield clouds, url
    finally:
        for process in [edge, *(cloud.process for cloud in clouds)]:
            if process is not None:
                stop(process)


def request(url: str, case: dict[str, Any], subject: int, temperature: float) -> urllib.request.Request:
    body = {
        "model": model_of(url),
        "messages": [{"role": "user", "content": case["ask"].format(SUBJECTS[subject % len(SUBJECTS)])}],
        "temperature": temperature,
        "seed": subject,
        "max_tokens": MOST_TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": case["schema"]}},
    }
    return post(url, body)


def model_of(url: str) -> str:
    with urllib.request.urlopen(f"{url}/v1/models") as models:
        return json.load(models)["data"][0]["id"]


def post(url: str, body: dict[str, Any]) -> urllib.request.Request:
    head = {"content-type": "application/json"}
    return urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), head)


def ask(asked: urllib.request.Request, on_text: Any = lambda text: None) -> Answer:
    """The whole answer; `on_text` is told what there is of it, each time there is more."""
    text, reason, tokens = "", None, 0
    with urllib.request.urlopen(asked, timeout=600) as stream:
        for line in stream:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[len(b"data: ") :])
            if "error" in chunk:
                raise RuntimeError(chunk["error"]["message"])
            for choice in chunk["choices"]:
                text += choice["delta"].get("content") or ""
                reason = choice["finish_reason"] or reason
            tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
            on_text(text)
    return Answer(text, reason == "stop", tokens)


def is_valid(case: dict[str, Any], answer: Answer) -> bool:
    checker = jsonschema.Draft202012Validator(case["schema"], format_checker=jsonschema.FormatChecker())
    try:
        return checker.is_valid(json.loads(answer.text))
    except json.JSONDecodeError:
        return False


def with_a_kill(url: str, clouds: list[Cloud], case: dict[str, Any], alone: Answer) -> tuple[Answer, bool]:
    """The same answer with its cloud killed in the middle, and whether one was."""
    killed: list[Cloud] = []

    def in_the_middle(text: str) -> None:
        if killed or len(text) < len(alone.text) / 2:
            return
        for cloud in clouds:
            if cloud.answers_now():
                cloud.kill()
                killed.append(cloud)
                return

    answer = ask(request(url, case, 0, 1), in_the_middle)
    for cloud in killed:
        cloud.start()
        wait_for(cloud.is_ready, "a cloud that was killed", STARTS_WITHIN)
    return answer, bool(killed)


# What goes on for as long as it is asked to, so that all answers have as many tokens.
ENDLESS: dict[str, dict[str, Any]] = {
    "free": {"ignore_eos": True},
    "a list of free strings": {"guided_json": {"type": "array", "items": {"type": "string"}, "minItems": 500}},
    "any text": {"guided_regex": r"(.|\n){1000,}"},
}


def rate(url: str, fields: dict[str, Any], tokens: int) -> float:
    """Tokens a second behind the first."""
    body = {
        "model": model_of(url),
        "messages": [{"role": "user", "content": "Write a long story about a fox."}],
        "temperature": 0,
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_split": True},
        **fields,
    }
    steps = []
    with urllib.request.urlopen(post(url, body), timeout=600) as stream:
        for line in stream:
            if line.startswith(b"data: {"):
                steps.append(json.loads(line[len(b"data: ") :]).get("split"))
    later = [step for step in steps if step][1:]
    return sum(step["tokens"] for step in later) / sum(step["seconds"] for step in later)


def costs(url: str, turns: int, tokens: int) -> int:
    for fields in ENDLESS.values():
        rate(url, fields, 20)
    made = [{name: rate(url, fields, tokens) for name, fields in ENDLESS.items()} for _ in range(turns)]
    print("| form | tokens/s, median | ÷ free: median | least, most |\n| --- | --- | --- | --- |")
    for name in ENDLESS:
        ratios = sorted(turn[name] / turn["free"] for turn in made)
        median = statistics.median(turn[name] for turn in made)
        print(f"| {name} | {median:.1f} | {statistics.median(ratios):.3f} | {ratios[0]:.2f}, {ratios[-1]:.2f} |")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / ".tandem" / "models" / "smollm2-135m-instruct"))
    parser.add_argument("--weights", default="int8")
    parser.add_argument("--split", type=int, default=10)
    parser.add_argument("--answers", type=int, default=10, help="to each schema, greedy and at temperature 1")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--turns", type=int, help="measure what a form costs instead, so many times each")
    parser.add_argument("--tokens", type=int, default=100, help="of each answer then")
    parser.add_argument("--json", type=Path, help="also write the figures and all texts there")
    arguments = parser.parse_args()
    cases = json.loads((ROOT / "scripts" / "schemas.json").read_text())
    temperatures = (0.0, 1.0)
    folder = Path(tempfile.mkdtemp(prefix="schemas-"))
    began = time.monotonic()
    if arguments.turns:
        with servers(arguments, folder) as (_, url):
            return costs(url, arguments.turns, arguments.tokens)
    with servers(arguments, folder) as (clouds, url), ThreadPoolExecutor(arguments.clients) as clients:
        asked = [(case, t, subject) for case in cases for t in temperatures for subject in range(arguments.answers)]
        made = list(clients.map(lambda one: ask(request(url, one[0], one[2], one[1])), asked))
        alone = {one[0]["name"]: answer for one, answer in zip(asked, made) if one[1:] == (1.0, 0)}
        disturbed = [(case, *with_a_kill(url, clouds, case, alone[case["name"]])) for case in cases]
    rows = []
    for case in cases:
        own = [answer for one, answer in zip(asked, made) if one[0] is case]
        ended = [answer for answer in own if answer.ended]
        valid = [answer for answer in ended if is_valid(case, answer)]
        rows.append((case["name"], len(own), len(ended), len(valid), sum(a.tokens for a in own) / len(own)))
    print("| schema | answers | ended by themselves | of these valid | tokens, mean |\n| --- | --- | --- | --- | --- |")
    for name, own, ended, valid, tokens in rows:
        print(f"| {name} | {own} | {ended} | {valid} | {tokens:.0f} |")
    own, ended, valid = (sum(row[at] for row in rows) for at in (1, 2, 3))
    print(f"| **all** | {own} | {ended} | {valid} | |")
    killed = [(case, answer) for case, answer, was_killed in disturbed if was_killed]
    same = [answer.text == alone[case["name"]].text for case, answer in killed]
    print(f"\n{len(killed)} answers with their cloud killed in the middle: {sum(same)} the same as without")
    print(f"{time.monotonic() - began:.0f} s; logs are in {folder}")
    if arguments.json:
        texts = [{"schema": one[0]["name"], "temperature": one[1], "subject": one[2], **vars(a)} for one, a in zip(asked, made)]
        arguments.json.write_text(json.dumps({"rows": rows, "killed": len(killed), "same": sum(same), "answers": texts}, indent=1))
    return 0 if valid == ended and all(same) and ended >= 0.95 * own else 1


if __name__ == "__main__":
    sys.exit(main())
