/**
 * Markdown's blocks, as CommonMark has them with GitHub's tables. Left out: indented code, definitions of links,
 * and HTML, which is text.
 *
 * A block is one of
 *   { type: "paragraph", text }
 *   { type: "heading", level, text }
 *   { type: "rule" }
 *   { type: "code", language, text }
 *   { type: "quote", blocks }
 *   { type: "list", start (null: bullets), loose, items: [{ blocks, source }] }
 *   { type: "table", aligns: [left | right | center | null], head: [text], rows: [[text]] }
 * and has in `line` the number of the line that it begins with. An item's `source` is its lines.
 */

const MOST_NESTED = 12;

const FENCE = /^( {0,3})(`{3,}|~{3,})[ \t]*(.*)$/;
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?:( +)(?=[^ ])|[ \t]*$)/;
const UNDERLINE = /^ {0,3}(=+|-{3,})[ \t]*$/;
const DELIMITER_CELL = /^:?-+:?$/;

/** The blocks of these lines. */
export function blocksOf(lines, depth = 0) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (isBlank(lines[at])) {
      at += 1;
      continue;
    }
    const read = (depth < MOST_NESTED && (quote(lines, at, depth) ?? list(lines, at, depth))) || leaf(lines, at);
    blocks.push({ ...read.block, line: at });
    at = read.end;
  }
  return blocks;
}

/** A block that holds no other. `end` is the line behind it. */
function leaf(lines, at) {
  return fence(lines, at) ?? heading(lines, at) ?? rule(lines, at) ?? table(lines, at) ?? paragraph(lines, at);
}

function fence(lines, at) {
  const open = openFence(lines[at]);
  if (!open) return null;
  const [, indent, marks, info] = open;
  const closing = new RegExp(`^ {0,3}\\${marks[0]}{${marks.length},}[ \\t]*$`);
  let end = at + 1;
  while (end < lines.length && !closing.test(lines[end])) end += 1;
  const inside = lines.slice(at + 1, end).map((line) => withoutIndent(line, indent.length));
  const language = info.trim().split(/\s/)[0];
  return { block: { type: "code", language, text: inside.join("\n") }, end: end + 1 };
}

/** Behind backticks there are no others in the line, or it is code within a paragraph. */
function openFence(line) {
  const open = FENCE.exec(line);
  return open && !(open[2][0] === "`" && open[3].includes("`")) ? open : null;
}

function heading(lines, at) {
  const open = HEADING.exec(lines[at]);
  if (!open) return null;
  const text = lines[at].slice(open[0].length).trim();
  const unclosed = text.replace(/(^|[ \t])#+$/, "");
  return { block: { type: "heading", level: open[1].length, text: unclosed.trim() }, end: at + 1 };
}

function rule(lines, at) {
  return RULE.test(lines[at]) ? { block: { type: "rule" }, end: at + 1 } : null;
}

function quote(lines, at, depth) {
  if (!QUOTE.test(lines[at])) return null;
  const inside = [];
  let end = at;
  for (; end < lines.length; end += 1) {
    const isQuoted = QUOTE.test(lines[end]);
    if (!isQuoted && !continuesLazily(lines, end)) break;
    inside.push(lines[end].replace(QUOTE, ""));
  }
  return { block: { type: "quote", blocks: blocksOf(inside, depth + 1) }, end };
}

function list(lines, at, depth) {
  const first = item(lines[at]);
  if (!first || RULE.test(lines[at])) return null;
  const items = [];
  let loose = false;
  let end = at;
  for (let next = first; next; next = end < lines.length && !RULE.test(lines[end]) ? item(lines[end]) : null) {
    if (next.kind !== first.kind) break;
    const body = itemBody(lines, end, next);
    items.push({ blocks: blocksOf(body.lines, depth + 1), source: body.lines.join("\n") });
    loose ||= body.hasGap || (body.blanks > 0 && item(lines[body.end] ?? "")?.kind === first.kind);
    end = body.end;
  }
  return { block: { type: "list", start: first.start, loose, items }, end };
}

/** What the marker at the beginning of a line says; null where there is none. */
function item(line) {
  const open = ITEM.exec(line);
  if (!open) return null;
  const [, indent, marker, spaces = " "] = open;
  const number = Number.parseInt(marker, 10);
  return {
    kind: marker.at(-1),
    start: Number.isNaN(number) ? null : number,
    indent: indent.length,
    // Text that is further away begins with spaces of its own.
    offset: indent.length + marker.length + (spaces.length > 4 ? 1 : spaces.length),
    isEmpty: open[3] === undefined,
  };
}

/**
 * The lines of an item without their indentation. Models often indent what belongs to a numbered item by less
 * than CommonMark asks for, so two spaces more than the marker's are enough.
 */
function itemBody(lines, at, { indent, offset }) {
  const body = [lines[at].slice(offset)];
  const enough = Math.min(offset, indent + 2);
  let end = at + 1;
  let blanks = 0;
  let hasGap = false;
  for (; end < lines.length; end += 1) {
    const line = lines[end];
    if (isBlank(line)) {
      blanks += 1;
      continue;
    }
    const belongs = indentOf(line) >= enough || (blanks === 0 && continuesLazily(lines, end));
    if (!belongs) break;
    if (blanks > 0) {
      hasGap = true;
      body.push(...Array(blanks).fill(""));
      blanks = 0;
    }
    body.push(withoutIndent(line, offset));
  }
  return { lines: body, end, blanks, hasGap };
}

function table(lines, at) {
  const head = cells(lines[at]);
  if (!lines[at].includes("|") || at + 1 >= lines.length) return null;
  const delimiters = cells(lines[at + 1]);
  if (delimiters.length !== head.length || !delimiters.every((cell) => DELIMITER_CELL.test(cell))) return null;
  const rows = [];
  let end = at + 2;
  while (end < lines.length && !isBlank(lines[end]) && !beginsBlock(lines[end])) {
    const row = cells(lines[end]).slice(0, head.length);
    rows.push([...row, ...Array(head.length - row.length).fill("")]);
    end += 1;
  }
  return { block: { type: "table", aligns: delimiters.map(alignment), head, rows }, end };
}

/** A row's cells: between bars that have no backslash before them. */
function cells(line) {
  const row = line.trim().replace(/^\|/, "");
  const parts = row.match(/(?:\\.|[^|\\]|\\$)+|\|/g) ?? [];
  const found = [""];
  for (const part of parts) {
    if (part === "|") found.push("");
    else found[found.length - 1] = part.replaceAll("\\|", "|").trim();
  }
  if (found.length > 1 && row.endsWith("|") && !row.endsWith("\\|")) found.pop();
  return found;
}

function alignment(cell) {
  const [left, right] = [cell.startsWith(":"), cell.endsWith(":")];
  if (left && right) return "center";
  return right ? "right" : left ? "left" : null;
}

function paragraph(lines, at) {
  const text = [lines[at].trimStart()];
  let end = at + 1;
  for (; end < lines.length; end += 1) {
    const underline = UNDERLINE.exec(lines[end]);
    if (underline) {
      const level = underline[1][0] === "=" ? 1 : 2;
      return { block: { type: "heading", level, text: text.join("\n").trim() }, end: end + 1 };
    }
    if (!continuesParagraph(lines, end)) break;
    text.push(lines[end].trimStart());
  }
  return { block: { type: "paragraph", text: text.join("\n").trimEnd() }, end };
}

function continuesParagraph(lines, at) {
  return !isBlank(lines[at]) && !beginsBlock(lines[at]) && !table(lines, at);
}

/** The same of a paragraph in a quote or an item whose mark or indentation the line lacks. */
function continuesLazily(lines, at) {
  return continuesParagraph(lines, at) && !item(lines[at]);
}

/** Whether a line ends the paragraph before it. A list does so if it is not empty, and begins with 1. */
function beginsBlock(line) {
  if (openFence(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line)) return true;
  const marker = item(line);
  return marker !== null && !marker.isEmpty && (marker.start ?? 1) === 1;
}

function isBlank(line) {
  return line.trim() === "";
}

function indentOf(line) {
  return line.length - line.replace(/^ +/, "").length;
}

function withoutIndent(line, most) {
  return line.slice(Math.min(indentOf(line), most));
}
