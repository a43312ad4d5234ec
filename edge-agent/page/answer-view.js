import { copy } from "./clipboard.js";
import { button, element } from "./element.js";
import { bytes, counted, ratio, time } from "./figures.js";
import { COPY_CODE } from "./markdown-dom.js";
import { MarkdownView } from "./markdown-view.js";

/** An answer, whole or still coming. */
export class AnswerView {
  element = element("article", { class: "answer", "aria-label": "Answer" });
  #message;
  #onagain;
  #markdown;
  #summary = element("summary");
  #thoughts = element("details", { class: "thoughts" }, this.#summary, element("p"));
  #end = element("div", { class: "end" });

  /** `comes`: its text is not whole yet, and screen readers are to hear it. `onagain()` asks for another one. */
  constructor(message, onagain, { comes }) {
    this.#message = message;
    this.#onagain = onagain;
    this.#markdown = new MarkdownView({ speaks: comes });
    this.#markdown.element.addEventListener("click", ({ target }) => {
      if (target.closest(`.${COPY_CODE}`)) copy(target.closest(".code").querySelector("code").textContent, target);
    });
    this.element.append(this.#thoughts, this.#markdown.element, this.#end);
    if (comes) this.show();
    else this.finish();
  }

  /** Shows what has come of the message. */
  show() {
    const { content, thoughts } = this.#message;
    this.element.classList.add("comes");
    this.element.classList.toggle("waits", !content && !thoughts);
    this.#showThoughts(content ? "Thoughts" : "Thinking…");
    this.#markdown.show(content);
  }

  /** Shows the message, which nothing is added to any more. */
  finish() {
    const { content, note, figures } = this.#message;
    this.element.classList.remove("comes", "waits");
    this.#showThoughts("Thoughts");
    this.#markdown.show(content, true);
    const copyAll = button("Copy", ({ currentTarget }) => copy(content, currentTarget), {
      shows: "copy",
      class: "quiet",
    });
    const again = note?.isFailure
      ? button("Try again", this.#onagain, { class: "again" })
      : button("Answer again", this.#onagain, { shows: "again", class: "quiet again" });
    this.#end.replaceChildren(
      ...(note ? [element("p", { class: note.isFailure ? "failure" : "note" }, note.text)] : []),
      element("div", { class: "actions" }, ...(content ? [copyAll] : []), again),
      element("p", { class: "figures" }, figures ? inWords(figures) : ""),
    );
  }

  #showThoughts(title) {
    const { thoughts } = this.#message;
    this.#thoughts.hidden = !thoughts;
    this.#summary.textContent = title;
    this.#thoughts.lastChild.textContent = thoughts;
  }
}

function inWords({ tokens, seconds, sent }) {
  const parts = [`${counted(tokens, "token")} in ${time(seconds)}`];
  if (seconds > 0) parts.push(`${ratio(tokens / seconds)} tokens/s`);
  if (sent > 0) parts.push(`${bytes(sent)} up`);
  return parts.join(" · ");
}
