import { announce } from "./announce.js";
import { AnswerView } from "./answer-view.js";
import { answer } from "./answer.js";
import { Unreachable } from "./edge.js";
import { element } from "./element.js";
import { counted } from "./figures.js";
import { oncePerFrame } from "./frame.js";
import { QuestionView } from "./question-view.js";
import { sampling } from "./sampling.js";

// Text comes in steps of a few words, as it is read.
const TEXT_EVERY = 100;
// So close to the end of the messages, the end stays in view as text comes.
const NEAR_END = 48;

/**
 * The open conversation, and the answer under way, of which there is one at most. It goes on while another
 * conversation is open.
 *
 * `on` is told what happens: `change()` of messages or state; `begin()`, `step(figures)` and `end(error)` of an answer;
 * `unreachable()`. `model()` resolves to what the edge says of its model.
 */
export class Chat {
  conversation = null;
  #messages;
  #conversations;
  #model;
  #on;
  #running = null;
  #follows = true;

  constructor(messages, conversations, model, on) {
    this.#messages = messages;
    this.#conversations = conversations;
    this.#model = model;
    this.#on = on;
    messages.addEventListener("scroll", () => {
      this.#follows = messages.scrollHeight - messages.scrollTop - messages.clientHeight < NEAR_END;
    });
    document.addEventListener("visibilitychange", () => {
      if (document.hidden && this.#running) conversations.save(this.#running.conversation);
    });
  }

  get isAnswering() {
    return this.#running !== null;
  }

  /** Whether the answer under way belongs to this conversation. */
  isAnsweringIn(id) {
    return this.#running?.conversation.id === id;
  }

  open(conversation) {
    this.conversation = conversation;
    this.#messages.replaceChildren(
      ...conversation.messages.map((message, index) => this.#view(message, index).element),
    );
    if (conversation.messages.length === 0) this.#messages.append(element("p", { class: "welcome" }, "Ask something."));
    this.#scrollToEnd();
    this.#on.change();
  }

  /** Asks something; false when an answer is under way. */
  send(content) {
    if (this.isAnswering) return false;
    this.#askFrom(this.conversation.messages.length, content);
    return true;
  }

  stop() {
    this.#running?.controller.abort();
  }

  #askFrom(index, content) {
    this.#keepFirst(index);
    this.#add({ role: "user", content });
    this.#answer();
  }

  #answerAgain() {
    this.#keepFirst(this.conversation.messages.length - 1);
    this.#answer();
  }

  #keepFirst(count) {
    this.conversation.messages.length = count;
    [...this.#messages.children].slice(count).forEach((child) => child.remove());
  }

  #add(message) {
    const view = this.#view(message, this.conversation.messages.length);
    this.conversation.messages.push(message);
    this.#messages.append(view.element);
    return view;
  }

  #view(message, index) {
    if (message === this.#running?.message) return (this.#running.view ??= this.#answerView(message, true));
    if (message.role === "assistant") return this.#answerView(message, false);
    return new QuestionView(message, (content) => this.isAnswering || this.#askFrom(index, content));
  }

  #answerView(message, comes) {
    return new AnswerView(message, () => this.isAnswering || this.#answerAgain(), { comes });
  }

  async #answer() {
    const conversation = this.conversation;
    const fields = { messages: history(conversation), ...sampling() };
    const message = { role: "assistant", content: "", thoughts: "", note: null, figures: null };
    const running = { conversation, message, view: null, controller: new AbortController() };
    this.#running = running;
    const view = this.#add(message);
    conversation.updated = Date.now();
    this.#conversations.save(conversation);
    this.#scrollToEnd();
    this.#on.begin();
    this.#on.change();

    const draw = oncePerFrame(() => {
      view.show();
      this.#follow(conversation);
    }, TEXT_EVERY);
    let failed = null;
    try {
      const { name } = await this.#model();
      await this.#read(answer({ model: name, ...fields }, running.controller.signal), message, draw);
    } catch (error) {
      failed = error;
      message.note = running.controller.signal.aborted ? { text: "Stopped." } : failure(error);
      if (error instanceof Unreachable) this.#on.unreachable();
    }
    draw.cancel();
    this.#running = null;
    view.finish();
    this.#follow(conversation);
    this.#conversations.save(conversation);
    announce(message.note?.text ?? `The answer is whole, ${counted(message.figures?.tokens ?? 0, "token")}.`);
    this.#on.end(failed);
    this.#on.change();
  }

  /** Adds to the message what comes. */
  async #read(pieces, message, draw) {
    const start = performance.now();
    const figures = { tokens: 0, seconds: 0, sent: 0, context: null };
    for await (const { text, thoughts, step, usage, finish } of pieces) {
      message.content += text ?? "";
      message.thoughts += thoughts ?? "";
      if (step) {
        figures.tokens += step.tokens ?? 0;
        figures.sent += step.up_bytes ?? 0;
        this.#on.step(step);
      }
      if (usage) {
        figures.tokens = usage.completion_tokens;
        figures.context = usage.prompt_tokens + usage.completion_tokens;
      }
      if (finish === "length") message.note = { text: "The answer ends here because it has as many tokens as it may." };
      figures.seconds = (performance.now() - start) / 1e3;
      message.figures = figures;
      draw();
    }
    if (!message.content && !message.thoughts) message.note ??= { text: "The answer is empty." };
  }

  /** Keeps the end in view if this conversation is open and its end was in view. */
  #follow(conversation) {
    if (this.#follows && conversation === this.conversation) this.#scrollToEnd();
  }

  #scrollToEnd() {
    this.#follows = true;
    this.#messages.scrollTop = this.#messages.scrollHeight;
  }
}

/** What the model is told: the system prompt, and the messages without questions that have no answer. */
function history({ system, messages }) {
  const said = messages.filter(({ role, content }, index) => {
    const next = messages[index + 1];
    return role === "assistant" ? content !== "" : !next || next.content !== "";
  });
  const prompt = system.trim() ? [{ role: "system", content: system }] : [];
  return [...prompt, ...said.map(({ role, content }) => ({ role, content }))];
}

function failure(error) {
  const wait = error.retryAfter ? ` It asks to be left alone for ${counted(error.retryAfter, "second")}.` : "";
  return { text: `${error.message}${wait}`, isFailure: true };
}
