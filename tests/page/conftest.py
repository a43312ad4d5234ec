"""What the tests of the page stand on: an edge, and Chromium, which is watched."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

from chat_page import ChatPage
from mock_edge import MockEdge

REAL_EDGE = os.environ.get("TANDEM_PAGE_URL", "")
TOKEN = os.environ.get("TANDEM_PAGE_TOKEN", "")
CHROMIUM = shutil.which(os.environ.get("CHROMIUM", "chromium")) or ""
# What Chromium itself writes for a status that is an error, and for an edge that is not there.
FAILED_TO_LOAD = "Failed to load resource"


def launch(playwright: Playwright, program: str | Path = CHROMIUM) -> Browser:
    # Chromium has no sandbox of its own where it runs as root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=program, args=arguments)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def mock() -> Iterator[MockEdge]:
    """A mock edge of this test's own. With a real edge, the tests that ask for it are skipped."""
    if REAL_EDGE:
        pytest.skip("makes sense with the mock edge only")
    mock = MockEdge()
    mock.start()
    yield mock
    mock.stop()


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """The address of the edge that is tested, with a slash at its end."""
    return REAL_EDGE.rstrip("/") + "/" if REAL_EDGE else request.getfixturevalue("mock").url


class Watch:
    """Everything that a page writes to the console, and every address that it asks for."""

    def __init__(self, url: str) -> None:
        self._origin = urlsplit(url)[:2]
        self._faults: list[str] = []
        self._may_fail_to_load = False

    def add(self, page: Page) -> None:
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("pageerror", lambda error: self._faults.append(f"error: {error}"))
        page.on("request", lambda request: self._request(request.url))

    def may_fail_to_load(self) -> None:
        """The test has the edge refuse something, or go away."""
        self._may_fail_to_load = True

    def check(self) -> None:
        assert self._faults == []

    def _console(self, kind: str, text: str) -> None:
        is_expected = self._may_fail_to_load and text.startswith(FAILED_TO_LOAD)
        if kind in ("error", "warning") and not is_expected:
            self._faults.append(f"{kind}: {text}")

    def _request(self, address: str) -> None:
        if not address.startswith("data:") and urlsplit(address)[:2] != self._origin:
            self._faults.append(f"request: {address}")


@pytest.fixture
def watch(url: str) -> Iterator[Watch]:
    watch = Watch(url)
    yield watch
    watch.check()


@pytest.fixture
def context(browser: Browser, url: str) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(60_000 if REAL_EDGE else 10_000)
    if TOKEN:
        context.add_init_script(f"sessionStorage.setItem('tandem.token', {json.dumps(TOKEN)})")
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, watch: Watch) -> Page:
    page = context.new_page()
    watch.add(page)
    return page


@pytest.fixture
def chat(page: Page, url: str) -> ChatPage:
    """The page, open."""
    chat = ChatPage(page, url)
    chat.open()
    return chat


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    path = os.environ.get("AXE", "")
    if not path:
        pytest.skip("AXE names no axe.min.js")
    return Path(path).read_text(encoding="utf-8")


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest):
    """Prints a figure that was measured, also of a test that passes."""

    def write(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {request.node.name}: {text}")

    return write
