"""What the page promises of conversations, against a real edge too (TANDEM_PAGE_URL)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from chat_page import ChatPage
from conftest import Watch
from mock_edge import PAGE, POLICY

FEW = "24"
LONG = "Write a long story about a lighthouse keeper."


def test_it_is_served_under_its_headers(context: BrowserContext, url: str) -> None:
    paths = ["", *(f"page/{file.name}" for file in PAGE.iterdir() if file.name != "index.html")]
    for path in paths:
        response = context.request.get(url + path)
        assert response.status == 200, path
        assert response.headers["content-security-policy"] == POLICY
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"


def test_it_is_small_and_names_every_file_in_advance() -> None:
    files = list(PAGE.iterdir())
    assert sum(file.stat().st_size for file in files) <= 200_000
    named = re.findall(r'(?:href|src)="page/([a-z-]+\.(?:js|css))"', (PAGE / "index.html").read_text())
    assert sorted(named) == sorted(file.name for file in files if file.suffix != ".html")


def test_a_conversation_is_answered_and_kept(chat: ChatPage) -> None:
    chat.set(maximum_tokens=FEW)
    answer = chat.ask("Why is the sky blue?")
    expect(answer.locator(".markdown")).to_have_text(re.compile(r"\w"))
    expect(answer.locator(".figures")).to_have_text(re.compile(r"\d+ tokens in .* tokens/s .* up"))
    expect(chat.page.locator("#context")).to_have_text(re.compile(r"[\d,]+ of [\d,]+ tokens"))
    chat.ask("And at sunset?")
    said = chat.page.locator("#messages").inner_text()

    chat.page.reload()
    expect(chat.answers).to_have_count(2)
    assert chat.page.locator("#messages").inner_text() == said
    expect(chat.page.locator("#title")).to_have_text("Why is the sky blue?")


def test_conversations_are_begun_renamed_opened_and_deleted(chat: ChatPage) -> None:
    page = chat.page
    chat.set(maximum_tokens=FEW)
    chat.ask("The first one")
    page.get_by_role("button", name="New conversation").click()
    expect(chat.answers).to_have_count(0)
    chat.ask("The second one")
    expect(chat.conversations).to_have_text(["The second one", "The first one"])

    page.get_by_role("button", name="Rename").click()
    page.get_by_label("Title").fill("Another name")
    page.get_by_label("Title").press("Enter")
    expect(chat.conversations).to_have_text(["Another name", "The first one"])

    chat.conversations.last.click()
    expect(chat.questions).to_have_text(["The first one"])
    page.get_by_role("button", name="Delete the conversation").click()
    page.get_by_role("button", name="Cancel").click()
    expect(chat.conversations).to_have_count(2)
    page.get_by_role("button", name="Delete the conversation").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(chat.conversations).to_have_text(["Another name"])
    page.reload()
    expect(chat.conversations).to_have_text(["Another name"])


def test_stop_keeps_what_has_come(chat: ChatPage) -> None:
    chat.say(LONG)
    expect(chat.answers.last.locator(".markdown")).to_have_text(re.compile(r"\w"))
    chat.stop.click()
    chat.wait_for_end()
    expect(chat.answers.last.locator(".note")).to_have_text("Stopped.")
    expect(chat.answers.last.locator(".markdown")).to_have_text(re.compile(r"\w"))
    expect(chat.message).to_be_focused()


def test_a_message_is_edited_and_sent_again_from_there(chat: ChatPage) -> None:
    chat.set(maximum_tokens=FEW)
    chat.ask("One")
    chat.ask("Two")
    chat.questions.first.get_by_role("button", name="Edit").click()
    field = chat.questions.first.get_by_role("textbox")
    expect(field).to_have_value("One")
    field.fill("Three")
    chat.questions.first.get_by_role("button", name="Resend").click()
    chat.wait_for_end()
    expect(chat.questions).to_have_text(["Three"])
    expect(chat.answers).to_have_count(1)


def test_an_answer_is_made_again(chat: ChatPage) -> None:
    chat.set(maximum_tokens=FEW)
    chat.ask("One")
    chat.answers.last.get_by_role("button", name="Answer again").click()
    expect(chat.stop).to_be_visible()
    chat.wait_for_end()
    expect(chat.answers).to_have_count(1)
    expect(chat.answers.last.locator(".markdown")).to_have_text(re.compile(r"\w"))


def test_an_answer_goes_on_while_another_conversation_is_open(chat: ChatPage) -> None:
    chat.set(maximum_tokens="100")
    chat.say(LONG)
    expect(chat.answers.last.locator(".markdown")).to_have_text(re.compile(r"\w"))
    chat.page.get_by_role("button", name="New conversation").click()
    expect(chat.answers).to_have_count(0)
    chat.wait_for_end()
    chat.conversations.first.click()
    expect(chat.answers.last.locator(".figures")).to_have_text(re.compile(r"\d+ tokens"))


def test_the_split_shows_the_layers_and_the_answers_steps(chat: ChatPage) -> None:
    chat.set(maximum_tokens=FEW)
    chat.ask("Why is the sky blue?")
    split = chat.view("Split")
    expect(split.locator(".strip")).to_have_attribute("aria-label", re.compile(r"layers"))
    expect(split.locator(".of-cloud")).to_have_text(re.compile("Weights"))
    expect(split.locator(".tiles")).to_have_text(re.compile(r"Tokens/s\d.*Sent up\d.* [kM]?B"))
    expect(split.get_by_role("row", name="Link").locator("td").first).to_have_text(re.compile(r"\d"))


def test_light_and_dark_follow_the_system_or_the_switch_which_is_kept(chat: ChatPage) -> None:
    page = chat.page

    def brightness() -> int:
        colour = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        return int(re.findall(r"\d+", colour)[0])

    page.emulate_media(color_scheme="light")
    assert brightness() > 200
    page.emulate_media(color_scheme="dark")
    assert brightness() < 60
    page.get_by_role("button", name="Colours: system").click()
    expect(page.get_by_role("button", name="Colours: light")).to_be_visible()
    assert brightness() > 200
    page.reload()
    expect(page.get_by_role("button", name="Colours: light")).to_be_visible()
    assert brightness() > 200


@pytest.mark.parametrize("view", ["chat", "split", "plan"])
def test_a_narrow_screen_does_not_scroll_sideways(chat: ChatPage, watch: Watch, view: str) -> None:
    watch.may_fail_to_load()  # A real edge may have no plan.
    chat.page.set_viewport_size({"width": 320, "height": 640})
    chat.set(maximum_tokens="200")
    chat.ask("Write a table with code in Python, and a very long word: " + "Donaudampfschiff" * 8)
    chat.view(view.capitalize())
    chat.page.wait_for_load_state("networkidle")
    parts = chat.page.locator(f"html, body, main, #{view}, #messages, #composer")
    widths = "nodes => nodes.map(node => [node.id || node.nodeName, node.scrollWidth, node.clientWidth])"
    for name, needed, given in parts.evaluate_all(widths):
        assert needed <= given, name


def test_a_narrow_screen_shows_conversations_in_place_of_messages(chat: ChatPage) -> None:
    chat.set(maximum_tokens=FEW)
    chat.ask("The first one")
    chat.page.set_viewport_size({"width": 320, "height": 640})
    expect(chat.conversations).to_be_hidden()
    chat.page.get_by_role("button", name="Conversations").click()
    expect(chat.conversations).to_be_visible()
    expect(chat.answers).to_be_hidden()
    chat.conversations.first.click()
    expect(chat.answers).to_be_visible()


def test_the_keyboard_is_enough(chat: ChatPage, watch: Watch) -> None:
    watch.may_fail_to_load()  # A real edge may have no plan.
    page = chat.page
    chat.set(maximum_tokens=FEW)
    page.reload()
    expect(chat.message).to_be_focused()
    page.keyboard.type("One line")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("and another")
    page.keyboard.press("Enter")
    chat.wait_for_end()
    expect(chat.questions).to_have_text(["One line\nand another"])

    tab_to(page, "Answer again", backwards=True)
    page.keyboard.press("Enter")
    expect(chat.answers).to_have_count(1)
    chat.wait_for_end()
    tab_to(page, "Settings", backwards=True)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Settings")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Settings")).to_be_focused()
    tab_to(page, "Plan", backwards=True)
    page.keyboard.press("Enter")
    expect(page.locator("#plan")).to_be_visible()
    tab_to(page, "Chat", backwards=True)
    page.keyboard.press("Enter")
    tab_to(page, "Skip to the message field", backwards=True)
    page.keyboard.press("Enter")
    expect(chat.message).to_be_focused()


def tab_to(page: Page, name: str, backwards: bool) -> None:
    """Presses Tab until an element of this name has the focus, which must be seen on the way."""
    for _ in range(60):
        page.keyboard.press("Shift+Tab" if backwards else "Tab")
        focus = page.evaluate(
            """() => {
                const { activeElement: node } = document;
                const { outlineStyle, outlineWidth } = getComputedStyle(node);
                const name = node.getAttribute("aria-label") ?? node.textContent;
                return { name, isSeen: node === document.body || (outlineStyle !== "none" && outlineWidth !== "0px") };
            }"""
        )
        assert focus["isSeen"], focus["name"]
        if focus["name"].strip() == name:
            return
    raise AssertionError(f"Tab never comes to {name}")


def test_the_first_paint_is_quick(chat: ChatPage, report) -> None:
    chat.page.wait_for_load_state("networkidle")
    chat.page.reload()
    chat.page.wait_for_load_state("networkidle")
    paint = chat.page.evaluate("() => performance.getEntriesByName('first-contentful-paint')[0].startTime")
    report(f"first contentful paint after {paint:.0f} ms")
    assert paint < 2000


def test_no_file_of_the_page_names_another_origin() -> None:
    for file in Path(PAGE).iterdir():
        addresses = set(re.findall(r"https?://[\w.]+", file.read_text()))
        assert addresses <= {"http://www.w3.org"}, file.name
