"""Pictures of the page for the documentation, into the directory TANDEM_PAGE_SHOTS."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from chat_page import ChatPage
from conftest import REAL_EDGE, Watch

DIRECTORY = os.environ.get("TANDEM_PAGE_SHOTS", "")
MOST_BYTES = 150_000
WIDE, NARROW = {"width": 1200, "height": 720}, {"width": 320, "height": 640}


@pytest.mark.skipif(not DIRECTORY, reason="TANDEM_PAGE_SHOTS names no directory")
@pytest.mark.parametrize(
    ("name", "view", "theme", "size"),
    [
        ("chat-light", "Chat", "light", WIDE),
        ("chat-dark", "Chat", "dark", WIDE),
        ("chat-narrow", "Chat", "light", NARROW),
        ("split-narrow", "Split", "light", NARROW),
        ("split", "Split", "light", WIDE),
        ("plan", "Plan", "light", WIDE),
    ],
)
def test_a_picture_is_made(
    chat: ChatPage, watch: Watch, request: pytest.FixtureRequest, name: str, view: str, theme: str, size: dict
) -> None:
    watch.may_fail_to_load()  # A real edge may have no plan.
    page = chat.page
    chat.set(maximum_tokens="150")
    if not REAL_EDGE:
        # As long as its figures say that a step takes.
        request.getfixturevalue("mock").settings.pause = 0.07
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.set_viewport_size(size)
    page.context.set_default_timeout(60_000)
    chat.ask("Why is the sky blue?")
    chat.view(view)
    page.wait_for_load_state("networkidle")
    expect(page.locator(f"#{view.lower()}")).to_be_visible()
    path = Path(DIRECTORY) / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path)
    assert path.stat().st_size < MOST_BYTES
