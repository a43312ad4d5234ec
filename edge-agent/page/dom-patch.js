/** Stands in what is wanted for a node that is shown already as it should be. */
export function unchanged() {
  return document.createComment("");
}

/**
 * Makes an element's children what is wanted, and leaves alone what is the same already: scrolling, selection and focus
 * stay where they are, and the browser lays out only what has changed. `wanted` is used up.
 */
export function patchChildren(shown, wanted) {
  const old = [...shown.childNodes];
  old.slice(wanted.length).forEach((child) => child.remove());
  wanted.forEach((child, index) => (index < old.length ? patch(old[index], child) : shown.append(child)));
}

function patch(shown, wanted) {
  if (wanted.nodeType === Node.COMMENT_NODE) return;
  if (shown.nodeName !== wanted.nodeName) {
    shown.replaceWith(wanted);
    return;
  }
  if (shown.nodeType === Node.TEXT_NODE) {
    patchText(shown, wanted.data);
    return;
  }
  patchAttributes(shown, wanted);
  patchChildren(shown, [...wanted.childNodes]);
}

/** Text that only grows is appended to, which browsers lay out faster. */
function patchText(shown, text) {
  if (shown.data === text) return;
  if (text.startsWith(shown.data)) shown.appendData(text.slice(shown.length));
  else shown.data = text;
}

function patchAttributes(shown, wanted) {
  for (const { name } of [...shown.attributes]) {
    if (!wanted.hasAttribute(name)) shown.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (shown.getAttribute(name) !== value) shown.setAttribute(name, value);
  }
}
