"""What axe-core finds in every view."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from chat_page import ChatPage
from conftest import Watch

GRAVE = ("serious", "critical")


def findings(page: Page, axe: str) -> list[str]:
    """What is grave, with the first element that has it."""
    page.evaluate(axe)
    violations = page.evaluate("async () => (await axe.run()).violations")
    return [f"{found['id']}: {found['nodes'][0]['html']}" for found in violations if found["impact"] in GRAVE]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_grave_keeps_anybody_out(chat: ChatPage, watch: Watch, axe: str, theme: str) -> None:
    watch.may_fail_to_load()  # A real edge may have no plan.
    page = chat.page
    page.emulate_media(color_scheme=theme)
    assert findings(page, axe) == []
    chat.set(maximum_tokens="200")
    chat.ask("Write a table, and code in Python.")
    assert findings(page, axe) == []
    chat.questions.first.get_by_role("button", name="Edit").click()
    assert findings(page, axe) == []
    for view in ("Split", "Plan"):
        chat.view(view)
        page.wait_for_load_state("networkidle")
        assert findings(page, axe) == []
    chat.view("Chat")
    page.get_by_role("button", name="Settings").click()
    assert findings(page, axe) == []
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 320, "height": 640})
    page.get_by_role("button", name="Conversations").click()
    expect(chat.conversations).to_be_visible()
    assert findings(page, axe) == []


def test_nothing_grave_keeps_anybody_out_while_an_answer_comes(chat: ChatPage, axe: str) -> None:
    chat.set(maximum_tokens="200")
    chat.say("Write a long story about a lighthouse keeper.")
    expect(chat.answers.last.locator(".markdown p").first).to_be_visible()
    assert findings(chat.page, axe) == []
    chat.wait_for_end()
