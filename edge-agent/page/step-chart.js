import { PARTS } from "./answer-steps.js";
import { ticks } from "./axis.js";
import { time } from "./figures.js";

/**
 * The newest steps as stacked bars on a canvas, and for each a line at the time since the step before, which is
 * shorter than its bar where work overlaps. The steps' table says the same to those who do not see it.
 */

const HEIGHT = 168;
const TOP = 18;
const BOTTOM = 4;
const LEFT = 52;
const SLOT = 4;
const GRID_LINES = 3;
// Longer bars are cut, or the prompt's step would leave no room for the others.
const SHOWN_WHOLE = 0.95;

export class StepChart {
  canvas = document.createElement("canvas");
  #steps = [];
  #colours = null;

  constructor() {
    this.canvas.setAttribute("aria-hidden", "true");
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  show(steps) {
    this.#steps = steps;
    this.draw();
  }

  /** Takes the colours that the page has now. */
  recolour() {
    this.#colours = null;
    this.draw();
  }

  draw() {
    const { clientWidth: width } = this.canvas;
    if (width === 0) return;
    this.#colours ??= coloursOf(this.canvas);
    const context = sized(this.canvas, width);
    const plot = { width: width - LEFT, height: HEIGHT - TOP - BOTTOM };
    const shown = this.#steps.slice(-Math.floor(plot.width / SLOT));
    const marked = ticks(usualLength(shown), GRID_LINES);
    const scale = marked.at(-1);
    this.#grid(context, plot, marked);
    shown.forEach((step, index) => this.#bar(context, plot, scale, step, LEFT + index * SLOT));
  }

  #grid(context, plot, marked) {
    context.font = this.#colours.font;
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (const seconds of marked) {
      const y = TOP + plot.height * (1 - seconds / marked.at(-1));
      context.fillStyle = this.#colours.grid;
      context.fillRect(LEFT, Math.round(y), plot.width, 1);
      context.fillStyle = this.#colours.label;
      if (seconds > 0) context.fillText(time(seconds), LEFT - 6, y);
    }
  }

  #bar(context, plot, scale, step, x) {
    const bottom = TOP + plot.height;
    let y = bottom;
    step.parts.forEach((seconds, part) => {
      const height = Math.min((seconds / scale) * plot.height, y - TOP);
      context.fillStyle = this.#colours.parts[part];
      context.fillRect(x, y - height, SLOT - 1, height);
      y -= height;
    });
    context.fillStyle = this.#colours.ink;
    if (step.seconds <= scale)
      context.fillRect(x, Math.round(bottom - (step.seconds / scale) * plot.height), SLOT - 1, 1);
    if (lengthOf(step) > scale) this.#cut(context, step, x);
    if (step.mark) this.#mark(context, step, x);
  }

  /** A gap below the top of a bar that is longer than the picture is high; the first one's length in figures. */
  #cut(context, step, x) {
    context.fillStyle = this.#colours.paper;
    context.fillRect(x, TOP + 5, SLOT - 1, 2);
    if (step.number > 1) return;
    context.fillStyle = this.#colours.label;
    context.textAlign = "left";
    context.fillText(`prompt: ${time(step.seconds)}`, x, TOP - 9);
  }

  #mark(context, step, x) {
    context.fillStyle = this.#colours.marks[step.mark];
    context.beginPath();
    context.moveTo(x - 3, TOP - 12);
    context.lineTo(x + 6, TOP - 12);
    context.lineTo(x + 1.5, TOP - 4);
    context.fill();
  }
}

function lengthOf({ seconds, parts }) {
  return Math.max(
    seconds,
    parts.reduce((sum, part) => sum + part, 0),
  );
}

/** The length that nearly all bars have at most. */
function usualLength(steps) {
  const lengths = steps.map(lengthOf).sort((a, b) => a - b);
  return lengths[Math.floor((lengths.length - 1) * SHOWN_WHOLE)] ?? 0.1;
}

/** The canvas's context, with as many dots as the screen has. */
function sized(canvas, width) {
  const dots = window.devicePixelRatio;
  const [columns, rows] = [Math.round(width * dots), Math.round(HEIGHT * dots)];
  if (canvas.width !== columns || canvas.height !== rows) Object.assign(canvas, { width: columns, height: rows });
  const context = canvas.getContext("2d");
  context.setTransform(dots, 0, 0, dots, 0, 0);
  context.clearRect(0, 0, width, HEIGHT);
  return context;
}

/** The style sheet's colours, as an element has them that wears each. */
function coloursOf(canvas) {
  const probe = canvas.parentElement.appendChild(document.createElement("span"));
  const colour = (name) => {
    probe.className = `colour-${name}`;
    return getComputedStyle(probe).backgroundColor;
  };
  const colours = {
    parts: PARTS.map(({ name }) => colour(name)),
    marks: { replay: colour("replay"), codec: colour("codec") },
    grid: colour("grid"),
    label: colour("label"),
    ink: colour("ink"),
    paper: colour("paper"),
    font: `11px ${getComputedStyle(canvas).fontFamily}`,
  };
  probe.remove();
  return colours;
}
