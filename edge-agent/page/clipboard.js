import { announce } from "./announce.js";

/** Puts a text on the clipboard, and says so on the button that was pressed. */
export async function copy(text, button) {
  const isCopied = await navigator.clipboard?.writeText(text).then(
    () => true,
    () => false,
  );
  const outcome = isCopied || copiedByCommand(text, button) ? "Copied" : "Not copied";
  announce(outcome);
  button.dataset.outcome = outcome;
  setTimeout(() => delete button.dataset.outcome, 1500);
}

/** Without TLS, browsers have no other way on pages that are not from this machine. */
function copiedByCommand(text, button) {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "unseen";
  button.after(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  button.focus();
  return isCopied;
}
