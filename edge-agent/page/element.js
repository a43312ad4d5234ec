/**
 * Builds elements. Text always goes in as a text node, never as HTML, so nothing that a model or a server
 * writes can become markup.
 */

/** An HTML element with these attributes (`on…`: listeners; false, null and undefined are left out) and children. */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same of SVG. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

/** The page's icon of this name, which index.html draws; it says nothing to screen readers. */
function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#icon-${name}` }));
}

/** A button with text, or with an icon and a label for those who do not see it. */
export function button(label, onclick, { shows, ...attributes } = {}) {
  const name = shows ? { "aria-label": label, title: label } : {};
  return element("button", { type: "button", onclick, ...name, ...attributes }, shows ? icon(shows) : label);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      node.addEventListener(name.slice(2), value);
    } else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  node.append(...children);
  return node;
}
