/** The page's views, of which the address's fragment names the open one. */

const VIEWS = ["chat", "split", "plan"];

export function openView() {
  return document.body.dataset.view;
}

/** Calls `show(view)` now and whenever another view is opened. */
export function whenViewChanges(show) {
  const change = () => {
    const view = location.hash.slice(1) || "chat";
    // Other fragments are places within a view.
    if (!VIEWS.includes(view)) return;
    document.body.dataset.view = view;
    for (const link of document.querySelectorAll(".views a")) {
      if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    show(view);
  };
  window.addEventListener("hashchange", change);
  change();
}
