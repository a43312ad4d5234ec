import { patchChildren, unchanged } from "./dom-patch.js";
import { element } from "./element.js";
import { blocksOf } from "./markdown-blocks.js";
import { elementOf } from "./markdown-dom.js";

/**
 * Markdown that is still being written. Blocks that further text cannot change are made once; only the rest, in general
 * the last block, is made again as text comes.
 *
 * Screen readers hear each finished block once, while `speaks` is true: finished blocks are put into a live region, and
 * the unfinished ones stand outside of it.
 */
export class MarkdownView {
  element = element("div", { class: "markdown" });
  #finished = element("div", { class: "blocks" });
  #unfinished = element("div", { class: "blocks" });
  // Where in the text the unfinished blocks begin.
  #start = 0;
  // The items of the unfinished lists as they are shown: a long list is made anew for its last item alone.
  #items = new Set();

  constructor({ speaks = false } = {}) {
    if (speaks) this.#finished.setAttribute("aria-live", "polite");
    this.element.append(this.#finished, this.#unfinished);
  }

  /** Shows a text that begins with what was shown before; `isWhole`: nothing will follow. */
  show(text, isWhole = false) {
    const lines = text.slice(this.#start).split("\n");
    const blocks = blocksOf(lines);
    this.#showUnfinished(blocks);
    const count = isWhole ? blocks.length : finishedOf(blocks, lines);
    if (count > 0) this.#finish(count, isWhole ? lines : lines.slice(0, blocks[count].line));
  }

  #showUnfinished(blocks) {
    const before = this.#items;
    this.#items = new Set();
    const elements = blocks.map((block, index) =>
      elementOf(block, (item, number, make) => {
        const key = JSON.stringify([index, block.start === null, block.loose, number, item.source]);
        this.#items.add(key);
        return before.has(key) ? unchanged() : make();
      }),
    );
    patchChildren(this.#unfinished, elements);
  }

  /** The first `count` blocks, which these lines are, are finished. */
  #finish(count, lines) {
    this.#finished.append(...[...this.#unfinished.children].slice(0, count));
    this.#start += lengthOf(lines);
    this.#items.clear();
  }
}

/**
 * How many of the blocks cannot change any more. The last one can. As long as it has no whole line, the one before can
 * too: what looks like a paragraph may become the next item of a list.
 */
function finishedOf(blocks, lines) {
  const last = blocks.at(-1);
  const isBegun = last && last.line === lines.length - 1;
  return Math.max(0, blocks.length - (isBegun ? 2 : 1));
}

function lengthOf(lines) {
  return lines.reduce((length, line) => length + line.length + 1, 0);
}
