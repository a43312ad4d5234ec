/** The figures of an answer's steps, each of which is one round trip between edge and cloud. */

/** What a step's time is spent on, in the order in which a row of hidden state comes by. */
export const PARTS = [
  { name: "edge", label: "Edge" },
  { name: "encode", label: "Encoding" },
  { name: "link", label: "Link" },
  { name: "queue", label: "Queue" },
  { name: "cloud", label: "Cloud" },
];

/** Steps that are kept one by one. */
const MOST_KEPT = 240;

export class AnswerSteps {
  /** The newest steps, each with its `number`, `seconds`, `parts` and, where something happened, `mark`. */
  newest = [];
  /** What happened: { number, text }. */
  events = [];
  prompt = emptySum();
  later = emptySum();
  codec = null;
  replays = 0;
  roundTrip = null;
  rate = null;

  get count() {
    return this.prompt.steps + this.later.steps;
  }

  /** A figure of all steps. */
  total(name) {
    return this.prompt[name] + this.later[name];
  }

  /** Takes the edge's report of a step; figures that it lacks count as zero. */
  add(report) {
    const number = this.count + 1;
    const step = {
      number,
      seconds: figure(report.seconds),
      parts: PARTS.map(({ name }) => figure(report[`${name}_seconds`])),
      mark: this.#event(report, number),
    };
    addTo(number === 1 ? this.prompt : this.later, step, report);
    this.newest.push(step);
    if (this.newest.length > MOST_KEPT) this.newest.shift();
    this.roundTrip = report.round_trip_seconds ?? this.roundTrip;
    this.rate = report.up_bytes_per_second ?? this.rate;
  }

  /** Notes what the step tells besides figures, and says which of it the chart marks. */
  #event(report, number) {
    // A step without rows has no codec.
    const codec = report.codec ?? this.codec;
    const replays = figure(report.replays);
    const isReplay = replays > this.replays;
    const isChange = this.codec !== null && codec !== this.codec;
    if (isReplay) this.events.push({ number, text: "went on in another cloud session" });
    if (isChange) this.events.push({ number, text: `rows in ${codec} from here, in ${this.codec} before` });
    this.codec = codec;
    this.replays = replays;
    return isReplay ? "replay" : isChange ? "codec" : null;
  }
}

function emptySum() {
  const figures = {
    steps: 0,
    tokens: 0,
    seconds: 0,
    rows: 0,
    frameBytes: 0,
    sent: 0,
    received: 0,
    drafted: 0,
    accepted: 0,
  };
  return { ...figures, parts: PARTS.map(() => 0) };
}

function addTo(sum, step, report) {
  sum.steps += 1;
  sum.seconds += step.seconds;
  sum.tokens += figure(report.tokens);
  sum.rows += figure(report.rows);
  sum.frameBytes += figure(report.frame_bytes);
  sum.sent += figure(report.up_bytes);
  sum.received += figure(report.down_bytes);
  sum.drafted += figure(report.drafted);
  sum.accepted += figure(report.accepted);
  step.parts.forEach((seconds, part) => (sum.parts[part] += seconds));
}

function figure(value) {
  return Number.isFinite(value) && value > 0 ? value : 0;
}
