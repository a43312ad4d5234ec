"""instructor against the API whose port is TANDEM_OPENAI: test_instructor.py runs this among its packages."""

from __future__ import annotations

import os
import unittest
from importlib.metadata import version
from typing import Annotated

import instructor
from pydantic import AfterValidator

from client_tests.calls import KEY, MESSAGES, NAME, Bounded, Number, Weather, call, versions
from client_tests.recorder import Recorder

ASKED = {"messages": MESSAGES, "temperature": 0, "max_tokens": 200}
# By a function to be called, which is the default, and by the form of the answer.
MODES = (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA)


class OfInstructor(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.recorder = Recorder(int(os.environ["TANDEM_OPENAI"]))
        cls.addClassCleanup(cls.recorder.close)

    def setUp(self) -> None:
        self.recorder.exchanges.clear()

    def client(self, mode: instructor.Mode) -> instructor.Instructor:
        return instructor.from_provider(f"openai/{NAME}", base_url=self.recorder.base, api_key=KEY, mode=mode)

    @call("instructor", "create(response_model=Model)")
    def test_an_answer_is_the_pydantic_model_that_was_asked_for(self) -> None:
        for mode in MODES:
            answer = self.client(mode).create(response_model=Weather, max_retries=0, **ASKED)
            self.assertIsInstance(answer, Weather)

    @call("instructor", "create_partial(response_model=Model)")
    def test_a_stream_grows_into_the_model(self) -> None:
        for mode in MODES:
            grown = list(self.client(mode).create_partial(response_model=Weather, **ASKED))
            Weather.model_validate(grown[-1].model_dump())
            self.assertGreater(len(grown), 2)

    @call("instructor", "create(max_retries=...)")
    def test_an_answer_that_does_not_pass_is_asked_for_again(self) -> None:
        seen = []

        def second_time(degrees: int) -> int:
            seen.append(degrees)
            if len(seen) == 1:
                raise ValueError("is not what was measured")
            return degrees

        class Measured(Bounded):
            degrees: Annotated[Number, AfterValidator(second_time)]

        mode = instructor.Mode.TOOLS
        answer = self.client(mode).create(response_model=Measured, max_retries=2, **ASKED)
        self.assertEqual(answer.degrees, seen[-1])
        self.assertEqual(len(self.recorder.exchanges), 2)
        self.assertIn("is not what was measured", str(self.recorder.exchanges[-1].sent["messages"]))

    def test_the_version_is_the_one_that_is_tried(self) -> None:
        self.assertEqual(versions()["instructor"], version("instructor"))
