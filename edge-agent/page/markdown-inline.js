/**
 * What is within a paragraph of Markdown: emphasis, code, links, line breaks. A node is one of
 *   { type: "text", text }
 *   { type: "code", text }
 *   { type: "break" }
 *   { type: "strong" | "emphasis" | "deleted", children }
 *   { type: "link", address, children }
 * An image is a link to it, since showing it would be a request that nobody has asked for.
 *
 * The text is read once from left to right. What may turn out to open something stands in the output as
 * { type: "text", text, opens }, and is text unless its end is found.
 */

// Bounds of what is looked for, so that the time stays proportional to the length of the text.
const MOST_OPEN = 32;
const MOST_RUN = 8;
const MOST_ADDRESS = 2000;

const PLAIN = /[^\\`*_~[\]!<&\nh]+/y;
const ESCAPE = /\\([!-/:-@[-`{-~])/y;
const BACKTICKS = /`+/y;
const RUN = /\*+|_+|~+/y;
const AUTOLINK = /<([a-z][a-z0-9+.-]{1,31}:[^\s<>]{1,2000}|[^\s<>@]{1,64}@[^\s<>@]{1,255})>/iy;
const BARE_ADDRESS = /https?:\/\/[^\s<>"`]{1,2000}/iy;
const ENTITY = /&(amp|lt|gt|quot|nbsp|#39);/y;
const ADDRESS =
  /\(\s*(?:<([^<>\n]{0,2000})>|((?:\\.|[^\s\\()]|\((?:\\.|[^\s\\()])*\)){0,2000}))(?:\s+(?:"[^"]{0,500}"|'[^']{0,500}'))?\s*\)/y;
const LINE_BREAK = /\n/y;

const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', nbsp: "\u00a0", "#39": "'" };
const SCHEMES = ["http:", "https:", "mailto:"];

/** The nodes of a text. */
export function nodesOf(text) {
  return new Reader(text).read();
}

/** An address that a link may have, as the browser writes it; null for any other. */
function safeAddress(text) {
  try {
    const address = new URL(text);
    return SCHEMES.includes(address.protocol) ? address.href : null;
  } catch {
    return null;
  }
}

class Reader {
  #text;
  #at = 0;
  #output = [];
  // Indices in the output of what may open emphasis, and of what may open a link or an image.
  #emphasis = [];
  #brackets = [];
  // Of runs of backticks, by their length: behind this place there is none.
  #noBackticks = new Map();

  constructor(text) {
    this.#text = text;
  }

  read() {
    while (this.#at < this.#text.length) {
      const read =
        this.#plain() || this.#escape() || this.#code() || this.#emphasised() || this.#bracket() || this.#address();
      if (!read) this.#say(this.#text[this.#at++]);
    }
    return this.#output;
  }

  /** What the pattern finds here, which is read then. */
  #take(pattern) {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found) this.#at = pattern.lastIndex;
    return found;
  }

  #say(text) {
    const last = this.#output.at(-1);
    if (last?.type === "text" && !last.opens) last.text += text;
    else this.#output.push({ type: "text", text });
    return true;
  }

  #plain() {
    const found = this.#take(PLAIN);
    return found && this.#say(found[0]);
  }

  #escape() {
    const escaped = this.#take(ESCAPE);
    if (escaped) return this.#say(escaped[1]);
    const entity = this.#take(ENTITY);
    if (entity) return this.#say(ENTITIES[entity[1]]);
    return this.#take(LINE_BREAK) && this.#output.push({ type: "break" });
  }

  #code() {
    const open = this.#take(BACKTICKS);
    if (!open) return false;
    const end = this.#closingBackticks(open[0].length);
    if (end < 0) return this.#say(open[0]);
    const inside = this.#text.slice(this.#at, end).replaceAll("\n", " ");
    const isPadded = inside.startsWith(" ") && inside.endsWith(" ") && inside.trim() !== "";
    this.#output.push({ type: "code", text: isPadded ? inside.slice(1, -1) : inside });
    this.#at = end + open[0].length;
    return true;
  }

  #closingBackticks(length) {
    if (this.#at >= (this.#noBackticks.get(length) ?? Infinity)) return -1;
    const runs = /`+/g;
    runs.lastIndex = this.#at;
    for (let run = runs.exec(this.#text); run; run = runs.exec(this.#text)) {
      if (run[0].length === length) return run.index;
    }
    this.#noBackticks.set(length, this.#at);
    return -1;
  }

  #emphasised() {
    const before = this.#text[this.#at - 1] ?? " ";
    const found = this.#take(RUN);
    if (!found) return false;
    const run = found[0];
    const after = this.#text[this.#at] ?? " ";
    const { opens, closes } = sides(run[0], before, after);
    const isMark = run.length <= MOST_RUN && (run[0] !== "~" || run.length === 2);
    let left = run.length;
    while (isMark && closes && left > 0) {
      const used = this.#closeEmphasis(run[0], left);
      if (used === 0) break;
      left -= used;
    }
    const rest = run.slice(0, left);
    if (left > 0 && isMark && opens && this.#emphasis.length < MOST_OPEN) {
      this.#emphasis.push(this.#output.length);
      this.#output.push({ type: "text", text: rest, opens: "emphasis" });
    } else if (left > 0) {
      this.#say(rest);
    }
    return true;
  }

  /** Puts what follows the nearest mark of this kind within it. The number of characters that it took from both. */
  #closeEmphasis(mark, length) {
    const open = this.#emphasis.findLastIndex((index) => this.#output[index].text[0] === mark);
    if (open < 0) return 0;
    const index = this.#emphasis[open];
    const opener = this.#output[index];
    const used = Math.min(2, length, opener.text.length);
    const children = this.#output.splice(index + 1);
    const type = mark === "~" ? "deleted" : used === 2 ? "strong" : "emphasis";
    opener.text = opener.text.slice(used);
    if (opener.text === "") this.#output.pop();
    this.#forget(opener.text === "" ? index : index + 1);
    this.#output.push({ type, children });
    return used;
  }

  /** Nothing at or behind this place in the output opens anything any more. */
  #forget(index) {
    while (this.#emphasis.at(-1) >= index) this.#emphasis.pop();
    while (this.#brackets.at(-1) >= index) this.#brackets.pop();
  }

  #bracket() {
    const open = this.#take(/!?\[/y);
    if (open) {
      if (this.#brackets.length === MOST_OPEN) this.#brackets.shift();
      this.#brackets.push(this.#output.length);
      this.#output.push({ type: "text", text: open[0], opens: "link" });
      return true;
    }
    if (this.#text[this.#at] !== "]") return false;
    this.#at += 1;
    const index = this.#brackets.pop();
    const link = index === undefined ? null : this.#linkTarget();
    if (!link) return this.#say("]");
    const isImage = this.#output[index].text === "![";
    const inside = withoutLinks(this.#output.splice(index).slice(1));
    this.#forget(index);
    const children = isImage ? [{ type: "text", text: `Image: ${textOf(inside) || link}` }] : inside;
    this.#output.push({ type: "link", address: link, children });
    return true;
  }

  /** The address behind a bracket; what is none that a link may have stays text. */
  #linkTarget() {
    const start = this.#at;
    const found = this.#take(ADDRESS);
    const address = found && safeAddress((found[1] ?? found[2]).replace(/\\([!-/:-@[-`{-~])/g, "$1"));
    if (!address) this.#at = start;
    return address;
  }

  #address() {
    const start = this.#at;
    const written = this.#take(AUTOLINK)?.[1];
    if (written) {
      const address = safeAddress(written) ?? safeAddress(written.includes("@") ? `mailto:${written}` : "");
      if (address) return this.#link(address, written);
      this.#at = start;
      return false;
    }
    if (/\w/.test(this.#text[start - 1] ?? " ")) return false;
    const bare = this.#take(BARE_ADDRESS)?.[0];
    if (!bare) return false;
    const ended = withoutEnd(bare);
    this.#at = start + ended.length;
    const address = safeAddress(ended);
    return address ? this.#link(address, ended) : this.#say(ended);
  }

  #link(address, text) {
    return this.#output.push({ type: "link", address, children: [{ type: "text", text }] });
  }
}

/** Whether a run of marks may open and close emphasis, by the characters around it (CommonMark, 6.2). */
function sides(mark, before, after) {
  const isSpace = (character) => /\s/u.test(character);
  const isPunctuation = (character) => /[\p{P}\p{S}]/u.test(character);
  const left = !isSpace(after) && (!isPunctuation(after) || isSpace(before) || isPunctuation(before));
  const right = !isSpace(before) && (!isPunctuation(before) || isSpace(after) || isPunctuation(after));
  if (mark !== "_") return { opens: left, closes: right };
  return { opens: left && (!right || isPunctuation(before)), closes: right && (!left || isPunctuation(after)) };
}

/** An address in running text without the punctuation behind it. */
function withoutEnd(address) {
  let end = address.length;
  for (;;) {
    const last = address[end - 1];
    const isUnopened = last === ")" && !address.slice(0, end).includes("(");
    if (!isUnopened && !".,:;!?'*_~]".includes(last)) return address.slice(0, end);
    end -= 1;
  }
}

function withoutLinks(nodes) {
  return nodes.flatMap((node) => {
    if (!node.children) return [node];
    const children = withoutLinks(node.children);
    return node.type === "link" ? children : [{ ...node, children }];
  });
}

function textOf(nodes) {
  return nodes.map((node) => node.text ?? (node.children ? textOf(node.children) : " ")).join("");
}
