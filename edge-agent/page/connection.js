import { whyNotReady } from "./edge.js";

const PAUSES = [1, 2, 4, 8, 15, 30];
// An edge that is lost again so soon is not asked more often than before.
const STEADY = 30e3;

/**
 * Watches over an edge that does not answer: asks whether it is ready until it is, with growing pauses.
 * `show(trouble)` is told of each change: null, or { message, seconds }, the time until it is asked again.
 */
export class Connection {
  #show;
  #whenBack;
  #attempt = 0;
  #timer = 0;
  #isAway = false;
  #backAt = -STEADY;

  constructor(show, whenBack) {
    this.#show = show;
    this.#whenBack = whenBack;
    window.addEventListener("online", () => this.#isAway && this.tryNow());
  }

  get isAway() {
    return this.#isAway;
  }

  /** A request has failed because nobody answered it to its end. */
  lost() {
    if (this.#isAway) return;
    this.#isAway = true;
    if (performance.now() - this.#backAt < STEADY) {
      this.#wait("The edge cannot be reached.");
    } else {
      this.#attempt = 0;
      this.tryNow();
    }
  }

  /** Asks without waiting for the pause to end. */
  async tryNow() {
    clearTimeout(this.#timer);
    const trouble = await whyNotReady().catch((error) => error.message);
    if (!this.#isAway) return;
    if (trouble) {
      this.#wait(trouble);
      return;
    }
    this.#isAway = false;
    this.#backAt = performance.now();
    this.#show(null);
    this.#whenBack();
  }

  #wait(message) {
    clearTimeout(this.#timer);
    const seconds = PAUSES[Math.min(this.#attempt, PAUSES.length - 1)];
    this.#attempt += 1;
    this.#show({ message, seconds });
    this.#timer = setTimeout(() => this.tryNow(), seconds * 1e3);
  }
}
