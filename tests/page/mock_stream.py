"""An answer of the mock edge as server-sent events."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from mock_answers import THOUGHTS, Step, steps_of, tokens_of
from mock_plan import CONTEXT, HIDDEN

if TYPE_CHECKING:
    from mock_edge import Settings


class Stream:
    """Writes one answer as the settings have it; `die` ends the edge under it."""

    def __init__(self, into: BinaryIO, request: dict, settings: Settings, die: Callable[[], None]) -> None:
        self._into = into
        self._settings = settings
        self._die = die
        self._head = {
            "id": "chatcmpl-mock",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": request["model"],
        }
        self._tells_steps = request.get("stream_options", {}).get("include_split", False)
        self._most = request.get("max_tokens") or CONTEXT
        self._prompt = 12 + sum(len(tokens_of(message["content"])) for message in request["messages"])

    def send(self, text: str) -> None:
        settings = self._settings
        self._piece({"role": "assistant", "content": ""})
        self._write(": keep-alive\n\n")
        self._think()
        steps = steps_of(text, self._prompt, HIDDEN, settings.drafts, settings.replay_at)
        tokens, start = 0, time.monotonic()
        for number, step in enumerate(steps):
            time.sleep(max(0.0, start + (number + 1) * settings.pause - time.monotonic()))
            if settings.dies_after and number == settings.dies_after:
                self._die()
                return
            if settings.fails_after and number == settings.fails_after:
                self._fail()
                return
            tokens += self._step(step, self._most - tokens)
            if tokens == self._most:
                break
        self._end(tokens)

    def _think(self) -> None:
        for thought in tokens_of(THOUGHTS) if self._settings.thoughts else []:
            time.sleep(self._settings.pause)
            self._piece({"reasoning_content": thought})

    def _step(self, step: Step, most: int) -> int:
        """Writes at most so many of its tokens; the number of those written."""
        texts = step.texts[:most]
        for text in texts:
            self._piece({"content": text})
        if self._tells_steps:
            self._event({**self._head, "choices": [], "split": step.figures})
        return len(texts)

    def _fail(self) -> None:
        error = {"message": "the cloud cannot be reached", "type": "server_error", "code": "cloud_unavailable"}
        self._event({"error": error})
        self._write("")

    def _end(self, tokens: int) -> None:
        self._piece({}, "length" if tokens == self._most else "stop")
        usage = {"prompt_tokens": self._prompt, "completion_tokens": tokens, "total_tokens": self._prompt + tokens}
        self._event({**self._head, "choices": [], "usage": usage})
        self._write("data: [DONE]\n\n")
        self._write("")

    def _piece(self, delta: dict, finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        self._event({**self._head, "choices": [choice]})

    def _event(self, document: dict) -> None:
        self._write(f"data: {json.dumps(document)}\n\n")

    def _write(self, text: str) -> None:
        """One piece of a chunked body; the empty one ends it."""
        data = text.encode()
        self._into.write(b"%x\r\n%b\r\n" % (len(data), data))
