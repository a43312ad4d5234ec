import { copy } from "./clipboard.js";
import { button, element } from "./element.js";
import { sendsByEnter } from "./keys.js";

/** A message of one's own. `onresend(text)` is called when it has been edited; without it, it cannot be. */
export class QuestionView {
  element = element("article", { class: "question", "aria-label": "Your message" });
  #message;
  #onresend;

  constructor(message, onresend) {
    this.#message = message;
    this.#onresend = onresend;
    this.#read();
  }

  #read() {
    const { content } = this.#message;
    const edit = button("Edit", () => this.#edit(), { shows: "edit", class: "quiet edit" });
    const copyAll = button("Copy", ({ currentTarget }) => copy(content, currentTarget), {
      shows: "copy",
      class: "quiet",
    });
    this.element.replaceChildren(
      element("p", { class: "said" }, content),
      element("div", { class: "actions" }, edit, copyAll),
    );
  }

  #edit() {
    const field = element("textarea", { "aria-label": "Your message", rows: 2 });
    field.value = this.#message.content;
    const cancel = () => {
      this.#read();
      this.element.querySelector(".edit").focus();
    };
    const resend = () => {
      const text = field.value.trim();
      if (text) this.#onresend(text);
    };
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") cancel();
      if (!sendsByEnter(event)) return;
      event.preventDefault();
      resend();
    });
    this.element.replaceChildren(
      element("div", { class: "said" }, field),
      element("p", { class: "hint" }, "What follows this message is replaced."),
      element("div", { class: "buttons" }, button("Cancel", cancel), button("Resend", resend, { class: "main" })),
    );
    field.focus();
  }
}
