"""The page as its user handles it."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

# A real edge takes its time.
ANSWER_MS = 120_000


class ChatPage:
    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.message = page.get_by_role("textbox", name="Message", exact=True)
        self.send = page.get_by_role("button", name="Send")
        self.stop = page.get_by_role("button", name="Stop")
        self.questions = page.get_by_role("article", name="Your message")
        self.answers = page.get_by_role("article", name="Answer")
        self.conversations = page.locator("#conversation-list button")
        self.status = page.locator("#status")
        self.trouble = page.locator("#trouble")

    def open(self, view: str = "") -> None:
        self.page.goto(self.url + (f"#{view}" if view else ""))
        expect(self.page.locator(".views a[aria-current]")).to_have_count(1)

    def view(self, name: str) -> Locator:
        """Opens a view by its link; its section."""
        self.page.get_by_role("navigation", name="Views").get_by_role("link", name=name).click()
        return self.page.locator(f"#{name.lower()}")

    def say(self, text: str) -> None:
        self.message.fill(text)
        self.message.press("Enter")

    def ask(self, text: str) -> Locator:
        """Asks, and waits for the answer to end; the answer."""
        count = self.answers.count()
        self.say(text)
        expect(self.answers).to_have_count(count + 1)
        self.wait_for_end()
        return self.answers.last

    def wait_for_end(self) -> None:
        expect(self.send).to_be_visible(timeout=ANSWER_MS)

    def set(self, **fields: str) -> None:
        """Settings by their labels' first words, such as maximum_tokens or system_prompt."""
        self.page.get_by_role("button", name="Settings").click()
        for name, value in fields.items():
            self.page.get_by_label(name.replace("_", " ").capitalize()).fill(value)
        self.page.get_by_role("button", name="Save").click()
        expect(self.page.get_by_role("dialog")).to_have_count(0)
