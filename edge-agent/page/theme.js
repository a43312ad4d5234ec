/** Light, dark, or as the system has it. Runs before the page is first drawn. */

const KEY = "tandem.theme";
const THEMES = ["system", "light", "dark"];

let theme = kept();
apply();

export function currentTheme() {
  return theme;
}

/** The one after the current one. */
export function nextTheme() {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // It lasts as long as the page.
  }
  apply();
}

function apply() {
  document.documentElement.dataset.theme = theme;
}

function kept() {
  try {
    const name = localStorage.getItem(KEY);
    return THEMES.includes(name) ? name : "system";
  } catch {
    return "system";
  }
}
