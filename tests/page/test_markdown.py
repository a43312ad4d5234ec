"""What the page makes of a model's Markdown."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from chat_page import ChatPage
from mock_answers import HOSTILE, MARKDOWN
from mock_edge import MockEdge

SAFE = ("http:", "https:", "mailto:")

# Texts in which a later line changes what an earlier one is.
TEXTS = [
    MARKDOWN,
    HOSTILE,
    "1. one\n\n2. two\n\n   more\n3. three\n\ntext\n2. no item\n\n12. an item\n",
    "- a\n  - b\n    - c\n\n      d\n- e\n\n\nend",
    "text\n| a | b |\n| - | -: |\n| 1 | 2 |\nnot a bar\n\nend",
    "Title\n=====\n\nunder\n---\n---\n***",
    "> a\n> > b\nlazy\n\n> c\n- d\n> e",
    "````\n```\n````\n~~~js\nx\n~~~~\nend ``` open\n```",
    "**a *b* c** _d_ `e` ~~f~~ <https://example.org> https://example.org/a_(b). a_b_c \\*d\\* &lt;",
    "# a #\n###### b\n####### c\n#d",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_that_comes_in_pieces_ends_as_one_that_comes_at_once(chat: ChatPage, text: str) -> None:
    whole, in_pieces = chat.page.evaluate(
        """async (text) => {
            const { MarkdownView } = await import("./page/markdown-view.js");
            const shown = (view) => [...view.element.children].map((blocks) => blocks.innerHTML).join("");
            const [whole, inPieces] = [new MarkdownView(), new MarkdownView()];
            whole.show(text, true);
            for (let end = 0; end <= text.length; end += 1) inPieces.show(text.slice(0, end));
            inPieces.show(text, true);
            return [shown(whole), shown(inPieces)];
        }""",
        text,
    )
    assert in_pieces == whole


def test_every_kind_of_block_is_shown(chat: ChatPage) -> None:
    """The answer of the mock edge; a real one's may have anything."""
    chat.page.evaluate(
        """async (text) => {
            const { MarkdownView } = await import("./page/markdown-view.js");
            const view = new MarkdownView();
            view.show(text, true);
            document.getElementById("messages").replaceChildren(view.element);
        }""",
        MARKDOWN,
    )
    answer = chat.page.locator("#messages .markdown")
    expect(answer.get_by_role("heading", name="How strongly")).to_be_visible()
    expect(answer.locator("strong").first).to_have_text("scattered")
    expect(answer.locator("em").first).to_have_text("4.4 times")
    expect(answer.get_by_role("row")).to_have_count(4)
    expect(answer.locator("ol > li > ul > li")).to_have_text(["blue a lot,", "red hardly at all."])
    expect(answer.locator("blockquote")).to_contain_text("A sky without air")
    expect(answer.locator("pre")).to_contain_text("# <b>not bold</b>")
    link = answer.get_by_role("link", name="Rayleigh scattering")
    expect(link).to_have_attribute("href", "https://example.org/rayleigh")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    expect(link).to_have_attribute("target", "_blank")


def test_code_is_copied(mock: MockEdge, chat: ChatPage) -> None:
    chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    copy = chat.ask("How?").locator(".code").get_by_role("button", name="Copy")
    copy.click()
    expect(copy).to_have_attribute("data-outcome", "Copied")
    assert "def scattering" in chat.page.evaluate("() => navigator.clipboard.readText()")


def test_nothing_in_an_answer_becomes_markup_or_a_request(mock: MockEdge, chat: ChatPage) -> None:
    mock.settings.answer = "hostile"
    answer = chat.ask("Be evil.")
    chat.page.wait_for_load_state("networkidle")
    expect(answer.locator("img, script, iframe, style, object, video, [onerror], [style]")).to_have_count(0)
    addresses = answer.locator("a").evaluate_all("links => links.map(link => link.protocol)")
    assert addresses and set(addresses) <= set(SAFE)
    expect(answer.get_by_role("link", name="Image: a picture")).to_be_visible()
    expect(answer).to_contain_text('<img src="https://evil.example/3.png" onerror="alert(1)">')
    expect(answer).to_contain_text("[click](javascript:alert(3))")


def test_hostile_text_takes_no_longer_than_other_text(chat: ChatPage, report) -> None:
    within = ["*a ", "_a*", "[", "![", "[a](b", "`", "``` ` ", "<a", "\\|"]
    pieces = [*within, "> ", "- a\n", "1. a\n\n", "|", "| - |\n| a |\n", "#"]
    slowest = chat.page.evaluate(
        """async (pieces) => {
            const { MarkdownView } = await import("./page/markdown-view.js");
            const took = pieces.map((piece) => {
                const start = performance.now();
                new MarkdownView().show(piece.repeat(20000 / piece.length), true);
                return performance.now() - start;
            });
            return Math.max(...took);
        }""",
        pieces,
    )
    report(f"20 kB of the slowest text in {slowest:.0f} ms")
    assert slowest < 1000
