"""What the page does when the edge refuses, fails, or is not there, and what it asks of it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from chat_page import ChatPage
from conftest import Watch
from mock_edge import MockEdge

BACK_MS = 15_000


@pytest.fixture
def troubled(mock: MockEdge, watch: Watch) -> MockEdge:
    """A mock edge that may refuse and go away."""
    watch.may_fail_to_load()
    return mock


def test_a_token_is_asked_for(troubled: MockEdge, page: Page) -> None:
    troubled.settings.token = "the-token-of-the-tests"
    chat = ChatPage(page, troubled.url)
    chat.open()
    dialog = page.get_by_role("dialog", name="The edge asks for a token")
    expect(dialog).to_contain_text("The token is not one of this server's.")
    dialog.get_by_label("API token").fill("another-token")
    dialog.get_by_role("button", name="Go on").click()
    expect(dialog.get_by_label("API token")).to_have_value("")
    dialog.get_by_label("API token").fill("the-token-of-the-tests")
    dialog.get_by_label("API token").press("Enter")
    expect(page.locator("#model-name")).to_have_text("smollm2-135m-instruct")
    expect(dialog).to_have_count(0)
    expect(chat.ask("Hello").locator(".markdown")).to_contain_text("Blue light")
    assert "the-token-of-the-tests" not in page.evaluate("() => JSON.stringify({ ...localStorage })")


def test_a_message_without_a_token_is_not_lost(troubled: MockEdge, chat: ChatPage) -> None:
    troubled.settings.token = "the-token-of-the-tests"
    chat.say("Hello")
    dialog = chat.page.get_by_role("dialog", name="The edge asks for a token")
    dialog.get_by_role("button", name="Cancel").click()
    expect(chat.answers.last.locator(".failure")).to_have_text("The token is not one of this server's.")
    chat.answers.last.get_by_role("button", name="Try again").click()
    dialog.get_by_label("API token").fill("the-token-of-the-tests")
    dialog.get_by_role("button", name="Go on").click()
    chat.wait_for_end()
    expect(chat.answers.last.locator(".markdown")).to_contain_text("Blue light")
    expect(chat.questions).to_have_text(["Hello"])


def test_an_edge_that_is_killed_under_an_answer_is_waited_for(troubled: MockEdge, chat: ChatPage) -> None:
    troubled.settings.dies_after = 20
    chat.say("Why is the sky blue?")
    expect(chat.trouble).to_be_visible()
    expect(chat.trouble).to_contain_text("The edge cannot be reached.")
    expect(chat.status).to_have_text("The edge cannot be reached.")
    answer = chat.answers.last
    expect(answer.locator(".markdown")).to_contain_text("Blue light is scattered")
    expect(answer.locator(".failure")).to_have_text("The connection to the edge broke.")
    pauses = []
    for _ in range(3):
        text = chat.page.locator("#trouble-pause").inner_text()
        pauses.append(int(re.search(r"(\d+) s", text)[1]))
        expect(chat.page.locator("#trouble-pause")).not_to_have_text(text, timeout=BACK_MS)
    assert pauses == sorted(pauses) and pauses[0] < pauses[-1]

    troubled.settings.dies_after = 0
    troubled.start()
    expect(chat.trouble).to_be_hidden(timeout=BACK_MS)
    expect(answer.locator(".markdown")).to_contain_text("Blue light is scattered")
    answer.get_by_role("button", name="Try again").click()
    chat.wait_for_end()
    expect(chat.answers.last.locator(".markdown")).to_contain_text("Rayleigh scattering")


def test_an_edge_that_is_not_ready_is_waited_for(troubled: MockEdge, page: Page) -> None:
    troubled.settings.ready = False
    chat = ChatPage(page, troubled.url)
    chat.open()
    expect(chat.trouble).to_contain_text("The model is being loaded.")
    troubled.settings.ready = True
    expect(chat.trouble).to_be_hidden(timeout=BACK_MS)
    expect(page.locator("#model-name")).to_have_text("smollm2-135m-instruct")


def test_a_message_to_an_edge_that_is_away_can_be_sent_again(troubled: MockEdge, chat: ChatPage) -> None:
    troubled.stop()
    chat.say("Hello")
    expect(chat.trouble).to_be_visible()
    expect(chat.answers.last.locator(".failure")).to_have_text("The edge cannot be reached.")
    troubled.start()
    chat.page.get_by_role("button", name="Try now").click()
    expect(chat.trouble).to_be_hidden()
    chat.answers.last.get_by_role("button", name="Try again").click()
    expect(chat.answers.last.locator(".markdown")).to_contain_text("Blue light")
    chat.wait_for_end()
    expect(chat.questions).to_have_text(["Hello"])


def test_a_refusal_is_shown_with_a_way_to_try_again(troubled: MockEdge, chat: ChatPage) -> None:
    troubled.settings.refuses = 429
    answer = chat.ask("Hello")
    expect(answer.locator(".failure")).to_have_text("No session is free in the cloud.")
    expect(chat.status).to_have_text("No session is free in the cloud.")
    troubled.settings.refuses = 0
    answer.get_by_role("button", name="Try again").click()
    chat.wait_for_end()
    expect(chat.answers.last.locator(".failure")).to_have_count(0)


def test_a_failure_within_an_answer_keeps_what_has_come(mock: MockEdge, chat: ChatPage) -> None:
    mock.settings.fails_after = 12
    answer = chat.ask("Hello")
    expect(answer.locator(".failure")).to_have_text("The cloud cannot be reached.")
    expect(answer.locator(".markdown")).to_contain_text("Blue light is scattered")
    expect(answer.get_by_role("button", name="Try again")).to_be_visible()
    expect(chat.trouble).to_be_hidden()


def test_a_request_has_the_conversation_and_the_settings(mock: MockEdge, chat: ChatPage) -> None:
    mock.settings.answer = "echo"
    expect(chat.page.get_by_label("Temperature")).to_have_attribute("placeholder", "0.2")
    chat.set(system_prompt="Be brief.", temperature="0.5", seed="7", maximum_tokens="3")
    chat.ask("One")
    chat.ask("Two")
    request = mock.requests[-1]
    assert request["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "One"},
        {"role": "user", "content": "Two"},
    ]
    assert (request["temperature"], request["seed"], request["max_tokens"]) == (0.5, 7, 3)
    assert not {"top_p", "top_k", "min_p", "repetition_penalty"} & request.keys()
    assert request["stream_options"] == {"include_usage": True, "include_split": True}


def test_a_question_without_an_answer_is_not_told(troubled: MockEdge, chat: ChatPage) -> None:
    troubled.settings.refuses = 503
    chat.ask("Lost")
    troubled.settings.refuses = 0
    chat.ask("Found")
    assert troubled.requests[-1]["messages"] == [{"role": "user", "content": "Found"}]


def test_thoughts_are_folded(mock: MockEdge, chat: ChatPage) -> None:
    mock.settings.thoughts = True
    answer = chat.ask("Hello")
    thought = answer.get_by_text("The question is about light.")
    expect(thought).to_be_hidden()
    answer.get_by_text("Thoughts").click()
    expect(thought).to_be_visible()
    expect(answer.locator(".markdown")).not_to_contain_text("The question is about light.")


def test_what_an_input_method_enters_is_not_sent(mock: MockEdge, chat: ChatPage) -> None:
    chat.message.fill("にほん")
    chat.message.evaluate(
        """field => field.dispatchEvent(
            new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true, isComposing: true }))"""
    )
    expect(chat.questions).to_have_count(0)
    chat.message.press("Enter")
    expect(chat.questions).to_have_text(["にほん"])
    chat.wait_for_end()


def test_a_screen_reader_hears_each_block_once(mock: MockEdge, chat: ChatPage) -> None:
    chat.page.evaluate(
        """() => {
            window.heard = [];
            const note = (changes) => changes.forEach(({ target, addedNodes }) => {
                const said = [...addedNodes].map((node) => node.textContent);
                if (target.matches("[aria-live]")) window.heard.push(...said);
            });
            new MutationObserver(note).observe(document.getElementById("messages"), { childList: true, subtree: true });
        }"""
    )
    answer = chat.ask("Hello")
    heard = chat.page.evaluate("() => window.heard")
    assert "".join(heard) == answer.locator(".markdown").evaluate("node => node.textContent")
    expect(chat.status).to_have_text(re.compile(r"The answer is whole, \d+ tokens\."))


def test_marks_tell_of_replays_and_codecs(mock: MockEdge, chat: ChatPage) -> None:
    mock.settings.replay_at = 9
    chat.ask("Hello")
    events = chat.page.locator("#split .events li")
    expect(events).to_have_text(
        [
            "Step 10: went on in another cloud session",
            "Step 10: rows in economy from here, in high before",
        ]
    )


def test_without_layers_on_the_edge_no_rows_are_spoken_of(mock: MockEdge, chat: ChatPage) -> None:
    mock.settings.split = 0
    chat.page.reload()
    chat.ask("Hello")
    split = chat.page.locator("#split")
    expect(split.locator(".strip")).to_have_attribute("aria-label", "All 30 layers run in the cloud.")
    expect(split.locator(".of-edge")).to_contain_text("No layers")
    expect(split.locator(".of-link")).to_contain_text("Token ids")
    expect(split.locator(".tiles")).not_to_contain_text("bf16")


def test_a_plan_is_shown(mock: MockEdge, chat: ChatPage) -> None:
    plan = chat.view("Plan")
    expect(plan.locator(".lead")).to_contain_text("10 of 30 layers on the edge")
    expect(plan.locator(".remark")).to_contain_text("The limit on memory binds")
    expect(plan.locator("tr.chosen")).to_contain_text("10 (chosen)")
    expect(plan.locator(".plans tr")).to_have_count(17)
    expect(plan.get_by_role("img")).to_have_attribute("aria-label", re.compile("Chosen: split 10"))
    expect(plan.locator(".plan-chart .bar")).to_have_count(15)


def test_limits_that_cannot_be_held_are_told(mock: MockEdge, chat: ChatPage) -> None:
    mock.settings.plan = "impossible"
    plan = chat.view("Plan")
    expect(plan.locator(".lead")).to_have_text("No plan holds all limits.")
    expect(plan.locator(".remark").first).to_contain_text("The limit on memory is 30 MiB.")
    expect(plan).to_contain_text("too high to measure")


def test_an_edge_without_a_plan_says_how_to_get_one(troubled: MockEdge, chat: ChatPage) -> None:
    troubled.settings.plan = "none"
    expect(chat.view("Plan")).to_contain_text("edge-agent plan makes one")


def test_a_browser_that_keeps_nothing_is_no_hindrance(mock: MockEdge, context: BrowserContext, chat: ChatPage) -> None:
    context.add_init_script("Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError'); }")
    chat.page.reload()
    chat.ask("Hello")
    expect(chat.page.locator("#storage-trouble")).to_contain_text("lasts until the page is closed")
    chat.page.get_by_role("button", name="Close").click()
    chat.page.get_by_role("button", name="New conversation").click()
    chat.ask("Again")
    chat.conversations.last.click()
    expect(chat.questions).to_have_text(["Hello"])


def test_only_so_many_conversations_are_kept(mock: MockEdge, chat: ChatPage) -> None:
    chat.page.evaluate(
        """() => {
            for (let number = 0; number < 60; number += 1) {
                const messages = [{ role: "user", content: "Hello" }];
                const conversation = { id: `c${number}`, title: `${number}`, system: "", updated: number, messages };
                localStorage.setItem(`tandem.conversation.c${number}`, JSON.stringify(conversation));
            }
            localStorage.setItem("tandem.conversation.broken", "{");
        }"""
    )
    chat.page.reload()
    chat.page.get_by_role("button", name="New conversation").click()
    chat.ask("The newest")
    expect(chat.conversations).to_have_count(50)
    expect(chat.conversations.first).to_have_text("The newest")
    expect(chat.conversations.last).to_have_text("11")


def test_tabs_share_their_conversations(mock: MockEdge, context: BrowserContext, chat: ChatPage, watch: Watch) -> None:
    other = context.new_page()
    watch.add(other)
    other_chat = ChatPage(other, mock.url)
    other_chat.open()
    chat.ask("From the first tab")
    expect(other_chat.conversations).to_have_text(["From the first tab"])
