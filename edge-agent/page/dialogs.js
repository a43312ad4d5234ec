/** The dialogs of index.html. */

// No submit button, or Enter in a field would press it.
for (const cancel of document.querySelectorAll("dialog .cancel")) {
  cancel.addEventListener("click", () => cancel.closest("dialog").close(""));
}

/** Shows one, and resolves to the value of the button that closed it; empty when it was dismissed. */
export function ask(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}

/** Asks for an API token because of what the edge says; empty when none is given. */
export async function askForToken(message) {
  const input = document.getElementById("token");
  document.getElementById("token-message").textContent = `It says: ${message}`;
  input.value = "";
  const isGiven = (await ask(document.getElementById("token-dialog"))) === "save";
  const token = input.value.trim();
  input.value = "";
  return isGiven ? token : "";
}

/** Asks for another title; null for no change. */
export async function askForTitle(title) {
  const input = document.getElementById("new-title");
  input.value = title;
  const isGiven = (await ask(document.getElementById("rename-dialog"))) === "save";
  return isGiven ? input.value.trim() || null : null;
}

/** Whether a conversation is to be deleted. */
export async function askToDelete(title) {
  document.getElementById("delete-name").textContent = title;
  return (await ask(document.getElementById("delete-dialog"))) === "delete";
}
