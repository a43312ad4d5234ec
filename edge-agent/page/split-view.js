import { announce } from "./announce.js";
import { AnswerSteps, PARTS } from "./answer-steps.js";
import { patchChildren } from "./dom-patch.js";
import { element } from "./element.js";
import { milliseconds, share } from "./figures.js";
import { oncePerFrame } from "./frame.js";
import { layerStrip } from "./layer-strip.js";
import { splitFigures } from "./split-figures.js";
import { StepChart } from "./step-chart.js";

// Figures that change faster cannot be read.
const FIGURES_EVERY = 250;

/** The split as it works: where the layers run, and what each step of the newest answer takes. */
export class SplitView {
  #model = null;
  #steps = new AnswerSteps();
  #chart = new StepChart();
  #layers = element("div", { class: "layers" });
  #totals = element("tbody");
  #figures = element("dl", { class: "tiles" });
  #events = element("ol", { class: "events" });
  #draw = oncePerFrame(() => this.#show(), FIGURES_EVERY);

  constructor(section) {
    section.append(
      this.#layers,
      element(
        "div",
        { class: "answer-figures" },
        element("h3", {}, "Steps of the newest answer"),
        element("div", { class: "chart" }, this.#chart.canvas),
        element(
          "table",
          { class: "totals" },
          element("caption", { class: "unseen" }, "What a step takes"),
          head(),
          this.#totals,
        ),
      ),
      element(
        "div",
        { class: "answer-totals" },
        element("h3", {}, "What the answer takes"),
        this.#figures,
        this.#events,
      ),
    );
    this.#show();
  }

  showModel(model) {
    this.#model = model;
    this.#layers.replaceChildren(...layerStrip(model));
    this.#show();
  }

  /** Another answer begins. */
  begin() {
    this.#steps = new AnswerSteps();
    this.#show();
  }

  step(report) {
    const known = this.#steps.events.length;
    this.#steps.add(report);
    this.#steps.events.slice(known).forEach(({ number, text }) => announce(`Step ${number}: ${text}.`));
    this.#draw();
  }

  /** The answer has ended. */
  end() {
    this.#show();
  }

  recolour() {
    this.#chart.recolour();
  }

  #show() {
    this.#chart.show(this.#steps.newest);
    patchChildren(this.#totals, rows(this.#steps));
    patchChildren(this.#figures, splitFigures(this.#steps, this.#model ?? { hidden: 0, split: 0 }).map(tile));
    patchChildren(this.#events, this.#steps.events.map(event));
  }
}

function head() {
  const names = ["ms a step", "Prompt", "Mean", "Newest", "Share"];
  return element("thead", {}, element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name))));
}

function rows(steps) {
  const { prompt, later, newest } = steps;
  const mean = (sum) => (later.steps ? sum / later.steps : null);
  const all = PARTS.reduce((sum, _, part) => sum + prompt.parts[part] + later.parts[part], 0);
  const first = steps.count > 0;
  const parts = PARTS.map(({ name, label }, part) =>
    row(
      [element("span", { class: `swatch colour-${name}` }), label],
      first ? prompt.parts[part] : null,
      mean(later.parts[part]),
      newest.at(-1)?.parts[part],
      share(prompt.parts[part] + later.parts[part], all),
    ),
  );
  const line = element("span", { class: "swatch line colour-ink" });
  return [
    ...parts,
    row([line, "Step to step"], first ? prompt.seconds : null, mean(later.seconds), newest.at(-1)?.seconds, ""),
  ];
}

function row(name, prompt, mean, newest, part) {
  const cell = (text) => element("td", {}, text);
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, ...name),
    cell(milliseconds(prompt)),
    cell(milliseconds(mean)),
    cell(milliseconds(newest)),
    cell(part),
  );
}

function tile({ name, value, about }) {
  return element(
    "div",
    {},
    element("dt", {}, name),
    element("dd", {}, value),
    element("dd", { class: "about" }, about),
  );
}

function event({ number, text }) {
  return element("li", {}, `Step ${number}: ${text}`);
}
