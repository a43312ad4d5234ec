import { bytes, count, rate, ratio, share, time } from "./figures.js";

const BYTES_OF_BF16 = 2;

/** The figures beside the chart: { name, value, about }, by what an answer's steps and its model are. */
export function splitFigures(steps, { hidden, split }) {
  const { later } = steps;
  const rows = steps.total("rows");
  const sent = steps.total("sent");
  const drafted = steps.total("drafted");
  const asBf16 = rows * hidden * BYTES_OF_BF16;
  const hasRows = split > 0 && rows > 0;
  return [
    {
      name: "Tokens/s",
      value: orDash(later.seconds, () => ratio(later.tokens / later.seconds)),
      about: "after the first step",
    },
    { name: "First step", value: orDash(steps.count, () => time(steps.prompt.seconds)), about: "the prompt's" },
    {
      name: "Tokens a round trip",
      value: orDash(later.steps, () => ratio(later.tokens / later.steps)),
      about: `${count(steps.count)} round trips`,
    },
    {
      name: "Drafts accepted",
      value: orDash(drafted, () => share(steps.total("accepted"), drafted)),
      about: `${count(steps.total("accepted"))} of ${count(drafted)} sent`,
    },
    {
      name: "Sent up",
      value: bytes(sent),
      about: hasRows ? `${bytes(asBf16)} as bf16 rows, ${ratio(asBf16 / sent)} times as much` : "",
    },
    { name: "Received", value: bytes(steps.total("received")), about: "" },
    {
      name: "Bits a value",
      value: hasRows ? ratio((8 * steps.total("frameBytes")) / (rows * hidden)) : "–",
      about: hasRows ? `rows in ${steps.codec}, bf16: 16` : "",
    },
    { name: "Round trip", value: time(steps.roundTrip), about: steps.rate === null ? "" : `up ${rate(steps.rate)}` },
  ];
}

function orDash(isKnown, figure) {
  return isKnown ? figure() : "–";
}
