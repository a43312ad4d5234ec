/**
 * The conversations of this browser, newest first, kept in its localStorage as far as that takes them.
 *
 * A conversation is { id, title, system, updated, messages }, and a message
 *   { role: "user", content } or
 *   { role: "assistant", content, thoughts, note, figures }
 * where `note` says how an answer ended, if not by itself, and `figures` what it took; both may be null.
 */

const PREFIX = "tandem.conversation.";
const MOST = 50;
// Browsers keep some five million characters for a page.
const MOST_CHARACTERS = 4_000_000;
const TITLE_LENGTH = 60;

export class Conversations {
  #kept = new Map();
  #onRefused;

  /** `onRefused()` is called when the browser does not keep a conversation: it then lasts as long as the page. */
  constructor(onRefused) {
    this.#onRefused = onRefused;
    storedIds().forEach((id) => this.refresh(id));
  }

  /** Reads one again that another tab may have changed or deleted. */
  refresh(id) {
    const conversation = parsed(localStorage.getItem(PREFIX + id));
    if (conversation) this.#kept.set(id, conversation);
    else this.#kept.delete(id);
  }

  /** All that have a message. */
  get all() {
    return [...this.#kept.values()].sort((a, b) => b.updated - a.updated);
  }

  get(id) {
    return this.#kept.get(id);
  }

  /** An empty one, which is kept once it has a message. */
  create(system) {
    const id = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 10)}`;
    return { id, title: "", system, updated: Date.now(), messages: [] };
  }

  /** Keeps it as it is now, in place of the oldest ones where there are too many. */
  save(conversation) {
    if (conversation.messages.length === 0) return;
    conversation.title ||= titleOf(conversation.messages[0].content);
    this.#kept.set(conversation.id, conversation);
    try {
      localStorage.setItem(PREFIX + conversation.id, JSON.stringify(conversation));
      this.#forgetOldest(conversation.id);
    } catch {
      this.#onRefused();
    }
  }

  delete(id) {
    this.#kept.delete(id);
    try {
      localStorage.removeItem(PREFIX + id);
    } catch {
      // What was not kept need not be removed.
    }
  }

  #forgetOldest(idOfNewest) {
    let characters = 0;
    this.all.forEach(({ id }, index) => {
      characters += localStorage.getItem(PREFIX + id)?.length ?? 0;
      if (id !== idOfNewest && (index >= MOST || characters > MOST_CHARACTERS)) this.delete(id);
    });
  }
}

/** The id of the conversation that this key of the storage belongs to; null for other keys. */
export function conversationOf(key) {
  return key?.startsWith(PREFIX) ? key.slice(PREFIX.length) : null;
}

/** The first line of the first message, shortened. */
function titleOf(text) {
  const line = text.trim().split("\n")[0];
  return line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH - 1).trimEnd()}…` : line;
}

function storedIds() {
  try {
    return Object.keys(localStorage).map(conversationOf).filter(Boolean);
  } catch {
    return [];
  }
}

/** What is stored, or null where it is not what this page writes. */
function parsed(text) {
  try {
    const { id, title, system, updated, messages } = JSON.parse(text);
    const isMessage = ({ role, content }) => ["user", "assistant"].includes(role) && typeof content === "string";
    const isWhole = [id, title, system].every((part) => typeof part === "string") && messages.every(isMessage);
    return isWhole ? { id, title, system, updated: Number(updated) || 0, messages } : null;
  } catch {
    return null;
  }
}
