import { element } from "./element.js";
import { nodesOf } from "./markdown-inline.js";

/** Elements for blocks of Markdown. */

const INLINE = { strong: "strong", emphasis: "em", deleted: "s" };
const TASK = /^\[([ xX])\] /;

// Headings of an answer stand below the conversation's title, which is an h2.
const HEADINGS_ABOVE = 2;

/**
 * The element of one block. Of a list, `itemOf(item, number, make)` may give another node in place of what `make()` gives.
 */
export function elementOf(block, itemOf = (item, number, make) => make()) {
  switch (block.type) {
    case "heading":
      return element(
        `h${Math.min(block.level + HEADINGS_ABOVE, 6)}`,
        { class: `level-${block.level}` },
        ...inline(block.text),
      );
    case "rule":
      return element("hr");
    case "code":
      return code(block);
    case "quote":
      return element("blockquote", {}, ...elementsOf(block.blocks));
    case "list":
      return list(block, itemOf);
    case "table":
      return table(block);
    default:
      return element("p", {}, ...inline(block.text));
  }
}

function elementsOf(blocks) {
  return blocks.map((block) => elementOf(block));
}

/** What the copy buttons of code are found by. */
export const COPY_CODE = "copy-code";

function code({ language, text }) {
  const name = language || "code";
  return element(
    "div",
    { class: "code" },
    element(
      "div",
      { class: "code-head" },
      element("span", {}, name),
      element("button", { type: "button", class: `quiet ${COPY_CODE}` }, "Copy"),
    ),
    // Within reach of the keyboard, to be scrolled.
    element("pre", { tabindex: 0, role: "group", "aria-label": `Block of ${name}` }, element("code", {}, text)),
  );
}

function list({ start, loose, items }, itemOf) {
  const attributes = start === null || start === 1 ? {} : { start };
  const children = items.map((item, number) => itemOf(item, number, () => listItem(item, loose)));
  return element(start === null ? "ul" : "ol", attributes, ...children);
}

function listItem({ blocks: [first, ...others] }, loose) {
  const isText = first?.type === "paragraph";
  const task = isText && TASK.exec(first.text);
  const text = isText && inline(task ? first.text.slice(task[0].length) : first.text);
  return element(
    "li",
    task ? { class: "task" } : {},
    ...(task ? [task[1] === " " ? "☐ " : "☑ "] : []),
    ...(first ? (isText ? (loose ? [element("p", {}, ...text)] : text) : [elementOf(first)]) : []),
    ...elementsOf(others),
  );
}

function table({ aligns, head, rows }) {
  const cell = (name) => (text, column) =>
    element(name, aligns[column] ? { class: `align-${aligns[column]}` } : {}, ...inline(text));
  return element(
    "div",
    { class: "scroller", tabindex: 0, role: "group", "aria-label": "Table" },
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...head.map(cell("th")))),
      element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map(cell("td"))))),
    ),
  );
}

function inline(text) {
  return nodesOf(text).map(inlineElement);
}

function inlineElement(node) {
  switch (node.type) {
    case "text":
      return node.text;
    case "code":
      return element("code", {}, node.text);
    case "break":
      return element("br");
    case "link":
      return element(
        "a",
        { href: node.address, title: node.address, rel: "noopener noreferrer", target: "_blank" },
        ...node.children.map(inlineElement),
      );
    default:
      return element(INLINE[node.type], {}, ...node.children.map(inlineElement));
  }
}
