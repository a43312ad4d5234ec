import { ticks } from "./axis.js";
import { element, svg } from "./element.js";
import { time } from "./figures.js";
import { slowestToken } from "./plan-words.js";

/** What a token takes (bars) and what it costs the cloud (line), by the split. The table has the same figures. */

const HEIGHT = 260;
const MOST_WIDE = 720;
const PLOT = { left: 56, right: 72, top: 10, bottom: 40 };
const GRID_LINES = 4;
const LINE_HEIGHT = 15;
const LABEL_WIDTH = 22;

/** A picture that is drawn again as the room for it changes, so that its letters keep their size. */
export function planChart(plan) {
  const frame = element("div");
  new ResizeObserver(() => {
    const width = Math.min(frame.clientWidth, MOST_WIDE);
    if (width > 0) frame.replaceChildren(drawn(plan, width));
  }).observe(frame);
  return frame;
}

function drawn(plan, width) {
  const { by_split: rows, chosen } = plan;
  const bounds = [
    { seconds: plan.constraints.token_deadline, label: "deadline" },
    { seconds: slowestToken(plan), label: "slowest" },
  ].filter(({ seconds }) => seconds !== null);
  const times = rows.flatMap((row) => [row.token_seconds, row.cloud_seconds_per_token]);
  const marked = ticks(Math.max(...times, ...bounds.map(({ seconds }) => seconds)), GRID_LINES);
  const scale = {
    ...places(rows, width),
    right: width - PLOT.right,
    y: (seconds) => HEIGHT - PLOT.bottom - (seconds / marked.at(-1)) * (HEIGHT - PLOT.top - PLOT.bottom),
  };
  return svg(
    "svg",
    { class: "plan-chart", width, height: HEIGHT, role: "img", "aria-label": inWords(rows, chosen) },
    ...grid(scale, marked),
    ...rows.map((row) => bar(scale, row, chosen?.split)),
    ...cloudLine(scale, rows),
    ...boundLines(scale, bounds),
    text("layers on the edge", { x: (PLOT.left + scale.right) / 2, y: HEIGHT - 4, "text-anchor": "middle" }),
  );
}

/** Where each split's bar stands, how wide it is, and every how many splits there is room for a number. */
function places(rows, width) {
  const [first, last] = [rows[0].split, rows.at(-1).split];
  const slot = (width - PLOT.left - PLOT.right) / (last - first + 1);
  return {
    x: (split) => PLOT.left + (split - first + 0.5) * slot,
    barWidth: Math.min(slot * 0.7, 36),
    labelled: Math.ceil(LABEL_WIDTH / slot),
  };
}

function grid(scale, marked) {
  return marked.map((seconds) => {
    const y = scale.y(seconds);
    return svg(
      "g",
      {},
      svg("line", { class: "grid", x1: PLOT.left, x2: scale.right, y1: y, y2: y }),
      text(seconds === 0 ? "0" : time(seconds), { x: PLOT.left - 6, y: y + 4, "text-anchor": "end" }),
    );
  });
}

function bar(scale, row, chosen) {
  const { split, token_seconds: token, cloud_seconds_per_token: cloud } = row;
  const [x, y] = [scale.x(split), scale.y(token)];
  const isChosen = split === chosen;
  // Whatever is too close to the chosen one's number has none.
  const isLabelled = isChosen || (split % scale.labelled === 0 && !(Math.abs(split - chosen) < scale.labelled));
  return svg(
    "g",
    { class: isChosen ? "bar chosen" : "bar" },
    svg("title", {}, `split ${split}: ${time(token)} a token, ${time(cloud)} of the cloud`),
    svg("rect", { x: x - scale.barWidth / 2, y, width: scale.barWidth, height: scale.y(0) - y, rx: 2 }),
    ...(isLabelled ? [text(String(split), { x, y: scale.y(0) + 16, "text-anchor": "middle" })] : []),
  );
}

function cloudLine(scale, rows) {
  const points = rows.map((row) => [scale.x(row.split), scale.y(row.cloud_seconds_per_token)]);
  return [
    svg("polyline", { class: "cloud-line", points: points.map((point) => point.join(",")).join(" ") }),
    ...points.map(([cx, cy]) => svg("circle", { class: "cloud-point", cx, cy, r: 3 })),
  ];
}

/** A line for each bound, and its name and value at the line's end, where they keep apart. */
function boundLines(scale, bounds) {
  let lowest = -Infinity;
  return bounds
    .toSorted((a, b) => b.seconds - a.seconds)
    .map(({ seconds, label }) => {
      const y = scale.y(seconds);
      const x = scale.right + 6;
      lowest = Math.max(y + 4, lowest + 2 * LINE_HEIGHT);
      return svg(
        "g",
        { class: "bound" },
        svg("line", { x1: PLOT.left, x2: scale.right, y1: y, y2: y }),
        text(label, { x, y: lowest }),
        text(time(seconds), { x, y: lowest + LINE_HEIGHT }),
      );
    });
}

function text(content, attributes) {
  return svg("text", attributes, content);
}

function inWords(rows, chosen) {
  const range = `A token's time and the cloud's compute for splits from ${rows[0].split} to ${rows.at(-1).split}.`;
  return chosen ? `${range} Chosen: split ${chosen.split}.` : range;
}
