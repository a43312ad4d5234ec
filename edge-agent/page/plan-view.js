import { json } from "./edge.js";
import { element } from "./element.js";
import { planBreakdown } from "./plan-breakdown.js";
import { planChart } from "./plan-chart.js";
import { planLegend, planTable } from "./plan-table.js";
import { chosenInWords, question, remarks } from "./plan-words.js";

const NO_PLAN = "This edge has no plan: its split was given by hand. ";

/** What the edge's planner chose, and what else there was to choose from. */
export class PlanView {
  #content = element("div", { class: "plan" });
  #failed;

  /** `failed(error)` is called when the plan cannot be loaded, which the view says too. */
  constructor(section, failed) {
    this.#failed = failed;
    section.append(this.#content);
  }

  async load() {
    try {
      this.#content.replaceChildren(...sections(await json("tandem/plan")));
    } catch (error) {
      if (error.status === 404) {
        this.#content.replaceChildren(noPlan());
        return;
      }
      const again = element("button", { type: "button", onclick: () => this.load() }, "Try again");
      this.#content.replaceChildren(element("p", { class: "failure" }, error.message), again);
      this.#failed(error);
    }
  }
}

function noPlan() {
  const command = element("code", {}, "edge-agent plan");
  return element(
    "p",
    {},
    NO_PLAN,
    command,
    " makes one, and an edge that is started without a split makes one by itself.",
  );
}

function sections(plan) {
  const hasRows = plan.by_split.length > 0;
  return [
    element("p", { class: plan.chosen ? "lead" : "lead failure" }, chosenInWords(plan)),
    ...remarks(plan).map((remark) => element("p", { class: "remark" }, remark)),
    element("div", { class: "overview" }, ...(hasRows ? [chart(plan)] : []), questionOf(plan)),
    ...(hasRows ? [planTable(plan)] : []),
    ...(hasRows ? [element("details", {}, element("summary", {}, "What the columns are"), planLegend())] : []),
    ...(plan.breakdown ? [element("div", { class: "breakdown" }, ...planBreakdown(plan.breakdown))] : []),
  ];
}

function questionOf(plan) {
  const parts = question(plan).flatMap(({ name, value }) => [element("dt", {}, name), element("dd", {}, value)]);
  return element("dl", { class: "question-of-plan" }, ...parts);
}

function chart(plan) {
  const key = (name, label) => element("span", {}, element("span", { class: `swatch colour-${name}` }), label);
  return element(
    "figure",
    {},
    element(
      "figcaption",
      {},
      key("chosen", "a token, the chosen plan"),
      key("plain", "a token, other splits"),
      key("cloud", "of the cloud for a token"),
    ),
    planChart(plan),
  );
}
