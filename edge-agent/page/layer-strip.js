import { element } from "./element.js";
import { memory } from "./figures.js";

/** The model's layers in their order, by where they run, and what each side and the link between them are like. */
export function layerStrip(model) {
  const { layers, split } = model;
  const cells = Array.from({ length: layers }, (_, layer) =>
    element("span", { class: layer < split ? "colour-edge" : "colour-cloud" }),
  );
  cells.splice(split, 0, element("span", { class: "cut" }));
  return [
    element("div", { class: "strip", role: "img", "aria-label": inWords(model) }, ...cells),
    element(
      "div",
      { class: "sides" },
      side("edge", model.edge, 0, split),
      link(model),
      side("cloud", model.cloud, split, layers),
    ),
  ];
}

function inWords({ layers, split }) {
  if (split === 0) return `All ${layers} layers run in the cloud.`;
  return `Layers 0 to ${split - 1} of ${layers} run on the edge, layers ${split} to ${layers - 1} in the cloud.`;
}

/** A side and the layers that it runs, from `first` to the one before `end`; null about a side that is not known. */
function side(name, about, first, end) {
  const title = name === "edge" ? "Edge" : "Cloud";
  return element(
    "div",
    { class: `side of-${name}` },
    element("h3", {}, element("span", { class: `swatch colour-${name}` }), title),
    element("p", {}, range(first, end)),
    ...(about && end > first ? [facts(about, first, end)] : []),
  );
}

function range(first, end) {
  return end > first ? `Layers ${first} to ${end - 1}` : "No layers";
}

function facts({ first_layer: holdsFrom, end_layer: holdsTo, weights, kv, backend, weight_bytes: size }, first, end) {
  const holdsOthers = holdsFrom !== first || holdsTo !== end;
  return element(
    "dl",
    {},
    ...fact("Weights", weights),
    ...fact("Keys, values", kv),
    ...fact("Holds", size && `${memory(size)}${holdsOthers ? `, layers ${holdsFrom} to ${holdsTo - 1}` : ""}`),
    ...fact("Runs on", backend),
  );
}

function fact(name, value) {
  return value ? [element("dt", {}, name), element("dd", {}, String(value))] : [];
}

function link({ split, codec, cloud_reachable: isReachable }) {
  return element(
    "div",
    { class: "side of-link" },
    element("h3", {}, element("span", { class: "swatch colour-link" }), "Link"),
    element("p", {}, split > 0 ? `Rows in ${codec}` : "Token ids"),
    element("p", { class: isReachable ? "" : "failure" }, isReachable ? "Cloud reachable" : "Cloud not reachable"),
  );
}
