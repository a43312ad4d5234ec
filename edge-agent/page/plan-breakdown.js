import { element } from "./element.js";
import { divergence, memory, share, time } from "./figures.js";

/** Where the chosen plan's token time, memory and divergence go. */

const TOKEN = [
  { name: "edge_fixed", label: "Embedding, hand-over", part: "edge" },
  { name: "edge_layers", label: "Edge: matrices", part: "edge" },
  { name: "edge_attention", label: "Edge: attention", part: "edge" },
  { name: "encode", label: "Encoding the row", part: "encode" },
  { name: "up", label: "Sending the row up", part: "link" },
  { name: "round_trip", label: "Round trip", part: "link" },
  { name: "down", label: "Sending the token down", part: "link" },
  { name: "queue", label: "Waiting in the cloud", part: "queue" },
  { name: "decode", label: "Decoding the row", part: "cloud" },
  { name: "cloud_fixed", label: "Cloud: hand-over", part: "cloud" },
  { name: "cloud_layers", label: "Cloud: matrices", part: "cloud" },
  { name: "cloud_attention", label: "Cloud: attention", part: "cloud" },
  { name: "head", label: "Head, sampling", part: "cloud" },
];
const MEMORY = [
  { name: "base", label: "Before a layer is loaded" },
  { name: "chunk", label: "A chunk of the prompt" },
  { name: "weights", label: "Weights" },
  { name: "kv", label: "Keys and values of sessions" },
];
const KL = [
  { name: "weights", label: "Weights" },
  { name: "kv", label: "Keys and values" },
  { name: "codec", label: "Codec" },
];

export function planBreakdown({ token_seconds: token, memory_bytes: bytes, kl }) {
  return [
    terms("A token's time", TOKEN, token, time),
    terms("The edge's memory", MEMORY, bytes, memory),
    terms("Divergence, in nats", KL, kl, (nats) => divergence(nats, false)),
  ];
}

function terms(title, names, values, figure) {
  const all = names.reduce((sum, { name }) => sum + values[name], 0);
  const row = ({ name, label, part = "plain" }) => {
    const length = element("span", { class: `length colour-${part}` });
    length.style.width = `${(100 * values[name]) / all}%`;
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, label),
      element("td", {}, figure(values[name])),
      element("td", {}, share(values[name], all)),
      element("td", { class: "lengths", "aria-hidden": "true" }, length),
    );
  };
  return element(
    "table",
    { class: "terms" },
    element("caption", {}, `${title}: ${figure(all)}`),
    element("tbody", {}, ...names.filter(({ name }) => values[name] > 0).map(row)),
  );
}
