/** The sampling settings, which all conversations share. An empty one leaves the choice to the model. */

const KEY = "tandem.sampling";

/** Fields of a request, in the order of the form: their limits, and what is done without them. */
export const SAMPLING = [
  { name: "temperature", label: "Temperature", min: 0, max: 100, step: "any" },
  { name: "top_p", label: "Top p", min: 0.001, max: 1, step: "any" },
  { name: "top_k", label: "Top k", min: -1, step: 1 },
  { name: "min_p", label: "Min p", min: 0, max: 1, step: "any" },
  { name: "repetition_penalty", label: "Repetition penalty", min: 0.01, max: 10, step: "any" },
  { name: "seed", label: "Seed", step: 1, otherwise: "random" },
  { name: "max_tokens", label: "Maximum tokens", min: 1, step: 1, otherwise: "no limit" },
];

let chosen = kept();

/** The settings that are not empty, as numbers by their name. */
export function sampling() {
  return { ...chosen };
}

/** Replaces all of them. */
export function setSampling(values) {
  chosen = { ...values };
  try {
    localStorage.setItem(KEY, JSON.stringify(chosen));
  } catch {
    // They last as long as the page.
  }
}

function kept() {
  try {
    const values = JSON.parse(localStorage.getItem(KEY)) ?? {};
    const known = SAMPLING.map(({ name }) => [name, values[name]]);
    return Object.fromEntries(known.filter(([, value]) => Number.isFinite(value)));
  } catch {
    return {};
  }
}
