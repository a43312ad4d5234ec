import { ask } from "./dialogs.js";
import { apiToken, setApiToken } from "./edge.js";
import { element } from "./element.js";
import { SAMPLING, sampling, setSampling } from "./sampling.js";

/** The dialog with a conversation's system prompt, the sampling settings and the token. */

const dialog = document.getElementById("settings-dialog");
const system = document.getElementById("system");
const token = document.getElementById("settings-token");
const fields = new Map(SAMPLING.map((setting) => [setting.name, field(setting)]));

for (const { name, label } of SAMPLING) {
  document.getElementById("sampling").append(element("label", {}, label, fields.get(name)));
}
document.getElementById("clear-sampling").addEventListener("click", () => {
  fields.forEach((input) => (input.value = ""));
});

/** What the model does where a field is empty. */
export function showDefaults(defaults) {
  for (const { name, otherwise } of SAMPLING) {
    fields.get(name).placeholder = otherwise ?? inDigits(defaults?.[name]);
  }
}

/** Shows the settings; resolves to the conversation's system prompt. */
export async function askForSettings(currentSystem) {
  system.value = currentSystem;
  token.value = apiToken();
  const chosen = sampling();
  fields.forEach((input, name) => (input.value = chosen[name] ?? ""));
  if ((await ask(dialog)) !== "save") return currentSystem;
  const filled = [...fields].filter(([, input]) => input.value !== "");
  setSampling(Object.fromEntries(filled.map(([name, input]) => [name, input.valueAsNumber])));
  setApiToken(token.value.trim());
  return system.value;
}

/** Without what single precision adds to a number such as 0.8. */
function inDigits(value) {
  return typeof value === "number" ? String(Number(value.toPrecision(4))) : "the model's";
}

function field({ name, min, max, step }) {
  return element("input", { type: "number", name, min, max, step, inputmode: "decimal", autocomplete: "off" });
}
