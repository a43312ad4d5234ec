import { sendsByEnter } from "./keys.js";

/** The field that messages are written in, with the buttons that send them and stop the answer. */
export class Composer {
  #field = document.getElementById("message");
  #send = document.getElementById("send");
  #stop = document.getElementById("stop");

  /** `send(text)` says whether it took the text, which is then removed from the field. */
  constructor(send, stop) {
    const form = document.getElementById("composer");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.#field.value.trim();
      if (text && send(text)) this.#field.value = "";
      this.focus();
    });
    this.#field.addEventListener("keydown", (event) => {
      if (!sendsByEnter(event)) return;
      event.preventDefault();
      form.requestSubmit();
    });
    this.#stop.addEventListener("click", () => {
      stop();
      this.focus();
    });
  }

  focus() {
    this.#field.focus();
  }

  show(isAnswering) {
    this.#send.hidden = isAnswering;
    this.#stop.hidden = !isAnswering;
  }
}
