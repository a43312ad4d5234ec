import { count, counted, divergence, memory, rate, time } from "./figures.js";

/** A plan in sentences. */

const LIMITS = {
  memory: { name: "memory", value: memory },
  "token-deadline": { name: "time of a token", value: time },
  "first-token": { name: "time to the first token", value: time },
  context: { name: "length of a session", value: (positions) => counted(positions, "token") },
  quality: { name: "KL divergence", value: (nats) => divergence(nats, false) },
};

const OBJECTIVES = {
  "cloud-seconds": "the least compute of the cloud for a token",
  latency: "the fastest request",
  "edge-memory": "the least memory on the edge",
  quality: "the least divergence",
};

/** Where the layers of a row run, and in what. */
function layersOf({ split, weights, kv, codec }, layers) {
  if (split === 0) return `all ${count(layers)} layers in the cloud`;
  const types = `weights in ${weights}, keys and values in ${kv}, rows in ${codec}`;
  return `${count(split)} of ${count(layers)} layers on the edge, ${types}`;
}

/** The chosen plan. */
export function chosenInWords({ chosen, considered, layers }) {
  if (!chosen) return "No plan holds all limits.";
  const { token_seconds: token, cloud_seconds_per_token: cloud, memory_bytes: bytes } = chosen;
  return [
    `The best of ${counted(considered, "candidate")}: ${layersOf(chosen, layers)}.`,
    `A token takes ${time(token)} and costs the cloud ${time(cloud)} of compute.`,
    `The edge takes ${memory(bytes)} of memory.`,
  ].join(" ");
}

/** The limits that cannot be held, those that bind, and advice. */
export function remarks({ shortfalls, binding, advice, layers }) {
  return [
    ...shortfalls.map(shortfall),
    ...binding.map((bound) => bindingLimit(bound, layers)),
    ...(advice ? [advice] : []),
  ];
}

/** What was asked and measured: { name, value }. */
export function question(plan) {
  const { workload, link, outage_link: outage, constraints, took } = plan;
  return [
    { name: "Objective", value: objective(plan) },
    { name: "Limits", value: limits(constraints) },
    { name: "Load", value: load(workload) },
    { name: "Link", value: `${linkInWords(link)}, down ${rate(link.down)}` },
    {
      name: "Link when bad",
      value: `${linkInWords(outage)}, once in ${count(1 / Math.max(constraints.outage, 1e-3))} times`,
    },
    { name: "Took", value: `${time(took.measuring_seconds)} to measure, ${time(took.planning_seconds)} to search` },
  ];
}

/** The longest that a token may take by the objective; null where that sets no bound. */
export function slowestToken({ objective: name, fastest_token_seconds: fastest, slowdown }) {
  return name === "balanced" && fastest !== null ? fastest * slowdown : null;
}

function objective(plan) {
  if (plan.objective !== "balanced") return OBJECTIVES[plan.objective] ?? plan.objective;
  const slowest = slowestToken(plan);
  const most = `${plan.slowdown} times as long as the fastest${slowest === null ? "" : `, ${time(slowest)}`}`;
  return `the least compute of the cloud while a token takes at most ${most}`;
}

function load({ prompt_tokens: prompt, output_tokens: output, sessions }) {
  return `prompts of ${counted(prompt, "token")}, answers of ${count(output)}, ${counted(sessions, "session")} at once`;
}

function linkInWords({ round_trip: roundTrip, up }) {
  return `round trip ${time(roundTrip)}, up ${rate(up)}`;
}

function limits({ memory: most, token_deadline: deadline, first_token: first, min_context: context, max_kl: kl }) {
  return [
    most !== null && `${memory(most)} of memory`,
    `sessions of ${counted(context, "token")}`,
    deadline !== null && `${time(deadline)} a token`,
    first !== null && `${time(first)} to the first token`,
    kl !== null && `KL divergence of ${kl} nats`,
  ]
    .filter(Boolean)
    .join(", ");
}

function shortfall({ constraint, limit, nearest, alone }) {
  const { name, value } = limitOf(constraint);
  const extreme = constraint === "context" ? "most" : "least";
  return [
    `The limit on ${name} is ${value(limit)}.`,
    `The candidate that comes nearest to holding all limits has ${value(nearest)},`,
    `and the ${extreme} of any candidate is ${value(alone)}.`,
  ].join(" ");
}

function bindingLimit({ constraint, without }, layers) {
  const { name } = limitOf(constraint);
  const { token_seconds: token, cloud_seconds_per_token: cloud, memory_bytes: bytes } = without;
  return [
    `The limit on ${name} binds: without it the plan would be ${layersOf(without, layers)},`,
    `with ${time(token)} a token, ${time(cloud)} of the cloud and ${memory(bytes)} on the edge.`,
  ].join(" ");
}

function limitOf(constraint) {
  return LIMITS[constraint] ?? { name: constraint, value: count };
}
