"""Calls that clients make: what docs/openai.md says of them, and the tests that hold it to that."""

from __future__ import annotations

import functools
import itertools
import unittest
import warnings
from pathlib import Path
from typing import Annotated, Callable, Literal

from pydantic import BaseModel, ConfigDict, Field

from client_tests.pair import MODEL, running_pair
from client_tests.recorder import Recorder
from processes import wait_for

PAGE = Path(__file__).resolve().parents[2] / "docs/openai.md"
NAME = MODEL.name
KEY = "none"
PROMPT = "Why is the sky blue?"
MESSAGES = [{"role": "user", "content": PROMPT}]
NEXT = "And why?"
SUM = "What is 3 + 4?"
TOKENS = 16

Number = Annotated[int, Field(ge=0, le=99)]


class Bounded(BaseModel):
    """Of a form that ends: a model as small as the tests' would go on for as long as it may."""

    model_config = ConfigDict(extra="forbid")


class Place(Bounded):
    name: Annotated[str, Field(max_length=12)]
    degrees: Annotated[int, Field(ge=-60, le=60)]


class Weather(Bounded):
    sky: Literal["clear", "cloudy"]
    places: Annotated[list[Place], Field(max_length=2)]


class ClientTest(unittest.TestCase):
    """Tests of a client that reaches the pair by way of `recorder`."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.pair = running_pair()
        cls.recorder = Recorder(cls.pair.openai)
        cls.addClassCleanup(cls.recorder.close)

    def setUp(self) -> None:
        wait_for(lambda: self.pair.running_sessions() == 0, "earlier answers to end")
        self.recorder.exchanges.clear()
        # Libraries warn of themselves, and leave connections to the garbage collector.
        self.enterContext(warnings.catch_warnings(action="ignore"))

    def greedy(self) -> str:
        """What the edge itself says to `PROMPT` in `TOKENS` tokens."""
        return self.pair.greedy(PROMPT, TOKENS).removesuffix("\n")


def call(client: str, name: str) -> Callable:
    """Marks the test of a row of the page: what the server passes over then is what the page says."""

    def marked(test: Callable) -> Callable:
        @functools.wraps(test)
        def run(self) -> None:
            test(self)
            self.assertEqual(self.recorder.passed_over(), calls()[client, name])

        return run

    return marked


def versions() -> dict[str, str]:
    return {client: version for client, version in table("| client | version |")}


def calls() -> dict[tuple[str, str], set[str]]:
    """The fields that are passed over, by client and call."""
    rows = table("| client | call |")
    return {(client, name): set(fields.split(", ")) if fields else set() for client, name, _, fields in rows}


def table(head: str) -> list[list[str]]:
    """The rows of the page's table that begins so, without the marks of code."""
    _, behind = PAGE.read_text().split(f"\n{head}", 1)
    rows = itertools.takewhile(lambda line: line.startswith("|"), behind.splitlines()[1:])
    return [[cell.strip().replace("`", "") for cell in row.strip("|").split("|")] for row in rows][1:]
