"""The page before the real pair, whose halves are killed and start again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from chat_page import ANSWER_MS, ChatPage
from conftest import REAL_EDGE, Watch
from processes import wait_for
from real_pair import CLOUD, EDGE, RealPair, is_here

QUESTION = "Why is the sky blue?"
TOKENS = 40
# Takes longer than any test waits.
LONG = "Write a very long story about a lighthouse keeper."
BACK_MS = 60_000


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPair]:
    if REAL_EDGE:
        pytest.skip("starts a pair of its own")
    if not is_here():
        pytest.skip("NOT CHECKED: the page before the real pair (cargo build --release --bins; scripts/setup model)")
    pair = RealPair(tmp_path_factory.mktemp("pair"))
    try:
        pair.start(CLOUD)
        pair.start(EDGE)
        yield pair
    finally:
        pair.stop()


@pytest.fixture
def pair(started: RealPair) -> RealPair:
    wait_for(lambda: started.running_sessions() == 0, "earlier answers to end")
    return started


@pytest.fixture
def url(pair: RealPair) -> str:
    return pair.url


@pytest.fixture
def greedy_chat(chat: ChatPage) -> ChatPage:
    """The page, open, with answers that can be compared."""
    chat.page.set_default_timeout(BACK_MS)
    chat.set(temperature="0", maximum_tokens=str(TOKENS))
    return chat


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def said(answer: Locator) -> list[str]:
    return words(answer.locator(".markdown").inner_text())


def test_a_conversation_is_what_the_api_answers(pair: RealPair, greedy_chat: ChatPage) -> None:
    first = said(greedy_chat.ask(QUESTION))
    messages = [{"role": "user", "content": QUESTION}]
    text = pair.greedy(messages, TOKENS)
    assert first == words(text)
    second = said(greedy_chat.ask("And at sunset?"))
    messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "And at sunset?"}]
    assert second == words(pair.greedy(messages, TOKENS))
    split = greedy_chat.page.locator("#split")
    expect(split.locator(".of-edge")).to_contain_text("Layers 0 to 9")
    expect(split.locator(".tiles")).to_contain_text("bf16")
    expect(greedy_chat.answers.last.locator(".figures")).to_have_text(re.compile(rf"{TOKENS} tokens in"))


def test_stop_frees_the_clouds_session(pair: RealPair, chat: ChatPage) -> None:
    chat.say(LONG)
    expect(chat.answers.last.locator(".markdown")).to_have_text(re.compile(r"\w"), timeout=ANSWER_MS)
    assert pair.running_sessions() == 1
    chat.stop.click()
    chat.wait_for_end()
    wait_for(lambda: pair.running_sessions() == 0, "the cloud to free the session", 5)


def test_a_cloud_that_is_killed_changes_no_word(pair: RealPair, greedy_chat: ChatPage) -> None:
    greedy_chat.set(maximum_tokens="200")
    greedy_chat.say(QUESTION)
    expect(greedy_chat.answers.last.locator(".markdown")).to_have_text(re.compile(r"\w"), timeout=ANSWER_MS)
    pair.kill(CLOUD)
    pair.start(CLOUD)
    greedy_chat.wait_for_end()
    expect(greedy_chat.page.locator("#split .events")).to_contain_text("went on in another cloud session")
    text = pair.greedy([{"role": "user", "content": QUESTION}], 200)
    assert said(greedy_chat.answers.last) == words(text)


def test_an_edge_that_is_killed_is_waited_for(pair: RealPair, greedy_chat: ChatPage, watch: Watch) -> None:
    watch.may_fail_to_load()
    greedy_chat.set(maximum_tokens="400")
    greedy_chat.say(QUESTION)
    expect(greedy_chat.answers.last.locator(".markdown")).to_have_text(re.compile(r"\w"), timeout=ANSWER_MS)
    pair.kill(EDGE)
    expect(greedy_chat.trouble).to_contain_text("The edge cannot be reached.")
    pair.start(EDGE)
    expect(greedy_chat.trouble).to_be_hidden(timeout=BACK_MS)
    greedy_chat.set(maximum_tokens=str(TOKENS))
    greedy_chat.answers.last.get_by_role("button", name="Try again").click()
    greedy_chat.wait_for_end()
    text = pair.greedy([{"role": "user", "content": QUESTION}], TOKENS)
    assert said(greedy_chat.answers.last) == words(text)


def test_an_edge_that_asks_for_a_token_is_shown_one(
    pair: RealPair, page: Page, watch: Watch, tmp_path: Path
) -> None:
    watch.may_fail_to_load()
    tokens = tmp_path / "tokens"
    tokens.write_text("people: the-token-of-the-tests\n")
    pair.kill(EDGE)
    pair.edge_options = ["--auth-tokens", tokens]
    pair.start(EDGE)
    try:
        chat = ChatPage(page, pair.url)
        chat.open()
        dialog = page.get_by_role("dialog", name="The edge asks for a token")
        dialog.get_by_label("API token").fill("the-token-of-the-tests")
        dialog.get_by_label("API token").press("Enter")
        expect(dialog).to_have_count(0)
        chat.set(maximum_tokens="8")
        expect(chat.ask(QUESTION).locator(".markdown")).to_have_text(re.compile(r"\w"))
    finally:
        pair.kill(EDGE)
        pair.edge_options = []
        pair.start(EDGE)
