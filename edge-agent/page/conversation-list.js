import { patchChildren } from "./dom-patch.js";
import { element } from "./element.js";

/** The list of conversations beside the open one; on a narrow screen it is shown in place of the messages. */
export class ConversationList {
  #list = document.getElementById("conversation-list");
  #toggle = document.getElementById("show-conversations");

  constructor(onopen, onnew) {
    this.#list.addEventListener("click", ({ target }) => {
      const chosen = target.closest("button");
      if (!chosen) return;
      this.#unfold(false);
      onopen(chosen.dataset.id);
    });
    document.getElementById("new").addEventListener("click", () => {
      this.#unfold(false);
      onnew();
    });
    this.#toggle.addEventListener("click", () => this.#unfold(this.#toggle.getAttribute("aria-expanded") === "false"));
  }

  /** Shows them; `isAnsweringIn(id)` says which one an answer is coming to. */
  show(conversations, openId, isAnsweringIn) {
    const entry = ({ id, title }) => {
      const state = { "aria-current": id === openId && "true", class: isAnsweringIn(id) && "comes" };
      return element("li", {}, element("button", { type: "button", "data-id": id, ...state }, title));
    };
    patchChildren(this.#list, conversations.map(entry));
  }

  #unfold(isOpen) {
    this.#toggle.setAttribute("aria-expanded", String(isOpen));
    document.body.classList.toggle("lists-conversations", isOpen);
  }
}
