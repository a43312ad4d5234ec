"""How fast the real pair decodes while its page shows an answer, and while a program reads the same answer without it.

The browser has the lowest priority, as if it ran on a machine of its own; with --beside it has the pair's.

usage: scripts/test-page --speed [--beside] [ROUNDS]
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from chat_page import ChatPage
from conftest import CHROMIUM, launch
from real_pair import CLOUD, EDGE, MODEL, RealPair, is_here

QUESTION = "Tell me how bread is made, step by step."
TOKENS = 150
ROUNDS = 9


def with_page(page: Page, pair: RealPair) -> float:
    """Seconds a token, with the page open and the split shown."""
    page.get_by_role("button", name="New conversation").click()
    chat = ChatPage(page, pair.url)
    return pair.seconds_a_token(lambda: chat.ask(QUESTION))


def by_a_program(pair: RealPair, tells_split: bool) -> float:
    """The same without a page."""
    body = {
        "model": MODEL.name,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": TOKENS,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True, "include_split": tells_split},
    }
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{pair.url}v1/chat/completions", json.dumps(body).encode(), headers)

    def read() -> None:
        with urllib.request.urlopen(request, timeout=120) as answer:
            for _ in answer:
                pass

    return pair.seconds_a_token(read)


def behind_all(home: Path) -> Path:
    """A command that runs the browser in the time that nobody else wants."""
    command = home / "browser"
    command.write_text(f'#!/bin/sh\nexec nice -n 19 "{CHROMIUM}" "$@"\n')
    command.chmod(0o700)
    return command


def main() -> int:
    beside = "--beside" in sys.argv
    rounds = int(next((word for word in sys.argv[1:] if word.isdigit()), ROUNDS))
    if not is_here():
        print("there is no pair: cargo build --release --bins; scripts/setup model", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        pair = RealPair(Path(home))
        # The same question over and over would be drafted from its own answers.
        pair.edge_options = ["--drafts", "0"]
        browser = launch(playwright, CHROMIUM if beside else behind_all(Path(home)))
        try:
            pair.start(CLOUD)
            pair.start(EDGE)
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.set_default_timeout(60_000)
            chat = ChatPage(page, pair.url)
            chat.open()
            chat.set(temperature="0", maximum_tokens=str(TOKENS))
            ratios: dict[str, list[float]] = {"the page": [], "a program that reads the split": []}
            for number in range(rounds + 1):
                ways = {
                    "alone": lambda: by_a_program(pair, tells_split=False),
                    "the page": lambda: with_page(page, pair),
                    "a program that reads the split": lambda: by_a_program(pair, tells_split=True),
                }
                order = list(ways) if number % 2 else list(reversed(ways))
                took = {name: ways[name]() for name in order}
                # The first round warms everything up.
                if number:
                    for name, values in ratios.items():
                        values.append(took["alone"] / took[name])
                print("  ".join(f"{name} {1e3 * took[name]:.2f} ms" for name in ways), flush=True)
        finally:
            browser.close()
            pair.stop()
    for name, values in ratios.items():
        middle, low, high = statistics.median(values), min(values), max(values)
        print(f"tokens/s with {name} ÷ without: {middle:.3f} ({low:.3f} to {high:.3f}, {len(values)} rounds)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
