import { element } from "./element.js";
import { count, difference, divergence, memory, time } from "./figures.js";

/** The best plan of each split as a table, with what it costs against the chosen one. */

const COLUMNS = [
  { head: "Split", about: "layers on the edge", cell: (row) => count(row.split) },
  { head: "Token", about: "time of a token in the middle of the answer", cell: (row) => time(row.token_seconds) },
  { head: "± token", about: "against the chosen plan", cell: (row, chosen) => against(row, chosen, "token_seconds") },
  {
    head: "Cloud",
    about: "compute of the cloud for each token of the answer",
    cell: (row) => time(row.cloud_seconds_per_token),
  },
  {
    head: "± cloud",
    about: "against the chosen plan",
    cell: (row, chosen) => against(row, chosen, "cloud_seconds_per_token"),
  },
  { head: "First token", about: "time to the first token of the answer", cell: (row) => time(row.first_token_seconds) },
  { head: "Request", about: "time of the whole answer", cell: (row) => time(row.request_seconds) },
  { head: "Memory", about: "of the edge's process", cell: (row) => memory(row.memory_bytes) },
  { head: "Session", about: "tokens of a session, at most", cell: (row) => count(row.context) },
  { head: "Devices", about: "such edges that the cloud carries at once", cell: (row) => count(row.devices) },
  {
    head: "KL",
    about: "divergence from the model in f32, in nats; ≤ marks a bound that was not measured",
    cell: (row) => divergence(row.kl, row.kl_is_bound),
  },
  { head: "Rows", about: "codec of the rows", cell: (row) => row.codec ?? "–", isText: true },
  { head: "KV", about: "type of keys and values", cell: (row) => row.kv ?? "–", isText: true },
  { head: "Weights", about: "types of the weights", cell: (row) => row.weights ?? "–", isText: true },
];

export function planTable({ by_split: rows, chosen, edge_only: whole }) {
  const body = [...rows.map((row) => tableRow(row, chosen)), ...(whole ? [wholeRow(whole, chosen)] : [])];
  return element(
    "div",
    { class: "scroller", tabindex: 0, role: "group", "aria-label": "Plans by split" },
    element(
      "table",
      { class: "plans" },
      element("caption", {}, "The best plan of each split"),
      element("thead", {}, element("tr", {}, ...COLUMNS.map(columnHead))),
      element("tbody", {}, ...body),
    ),
  );
}

/** What the columns are. */
export function planLegend() {
  const lines = [...COLUMNS, { head: "all", about: "the whole model on the edge, which Tandem does not serve" }];
  const parts = lines.flatMap(({ head, about }) => [element("dt", {}, head), element("dd", {}, about)]);
  return element("dl", { class: "legend" }, ...parts);
}

function columnHead({ head, about, isText }) {
  return element("th", { scope: "col", title: about, class: isText && "text" }, head);
}

function tableRow(row, chosen) {
  const isChosen = chosen !== null && row.split === chosen.split;
  return cellsOf(
    COLUMNS.map(({ cell }) => cell(row, chosen)),
    isChosen && "chosen",
    isChosen ? " (chosen)" : "",
  );
}

/** The whole model on the edge, which has no figures of a cloud. */
function wholeRow(whole, chosen) {
  const figures = {
    Token: time(whole.token_seconds),
    "± token": against(whole, chosen, "token_seconds"),
    Cloud: "0",
    Request: time(whole.request_seconds),
    Memory: memory(whole.memory_bytes),
    KL: divergence(whole.kl, whole.kl_is_bound),
    Weights: `${whole.weights}, ${whole.fits ? "holds all limits" : "breaks a limit"}`,
  };
  return cellsOf(["all", ...COLUMNS.slice(1).map(({ head }) => figures[head] ?? "")], "whole", "");
}

function cellsOf([split, ...others], className, remark) {
  const cell = (text, index) => element("td", { class: COLUMNS[index + 1].isText && "text" }, text);
  const first = element(
    "th",
    { scope: "row" },
    split,
    ...(remark ? [element("span", { class: "unseen" }, remark)] : []),
  );
  return element("tr", { class: className }, first, ...others.map(cell));
}

function against(row, chosen, name) {
  return chosen ? difference(row[name], chosen[name]) : "–";
}
