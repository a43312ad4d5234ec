/** Requests to the edge that this page came from. */

const TOKEN = "tandem.token";

/** The edge answered, but not with what was asked for. */
export class Refusal extends Error {
  constructor(message, { status = null, retryAfter = null } = {}) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** No answer came, or it broke off. */
export class Unreachable extends Error {}

let token = keptToken();
let askForToken = async () => false;
let asking = null;

/** The API token, which this tab keeps until it is closed; empty for none. */
export function apiToken() {
  return token;
}

/** Sets it; empty forgets it. */
export function setApiToken(text) {
  token = text;
  try {
    sessionStorage.setItem(TOKEN, text);
  } catch {
    // A browser that keeps nothing asks again after the page is loaded anew.
  }
}

/** `ask(message)` is called when the edge wants another token; it sets one and resolves to true, or to false. */
export function whenTokenIsNeeded(ask) {
  askForToken = ask;
}

/**
 * A response whose status is a success. Asks for a token as often as the edge refuses the one it was shown.
 * Throws a Refusal, Unreachable, or the AbortError of `options.signal`.
 */
export async function request(path, options = {}) {
  for (;;) {
    const shown = token;
    const response = await send(path, options, shown);
    if (response.ok) return response;
    const refusal = await refusalOf(response);
    if (response.status !== 401) throw refusal;
    // Another request may have been given a new token in the meantime.
    if (token === shown && !(await newToken(refusal.message))) throw refusal;
  }
}

/** The JSON of a GET. */
export async function json(path) {
  const response = await request(path);
  try {
    return await response.json();
  } catch {
    throw new Unreachable("The edge's answer broke off.");
  }
}

/** Null when the edge is ready, or why it is not. Throws Unreachable. */
export async function whyNotReady() {
  const response = await send("health", { signal: AbortSignal.timeout(5000) }, "");
  return response.ok ? null : (await refusalOf(response)).message;
}

/** The refusal that an error object of the API describes. */
export function refusal(error, about) {
  const isText = typeof error.message === "string" && error.message !== "";
  return new Refusal(isText ? sentence(error.message) : "The edge reports an error without a message.", about);
}

/** A message that stands alone. */
function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

async function send(path, options, shown) {
  const headers = { ...options.headers, ...(shown && { Authorization: `Bearer ${shown}` }) };
  try {
    return await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (options.signal?.aborted && error.name === "AbortError") throw error;
    throw new Unreachable("The edge cannot be reached.");
  }
}

async function refusalOf(response) {
  const about = { status: response.status, retryAfter: Number(response.headers.get("Retry-After")) || null };
  const body = await response.json().catch(() => null);
  return body?.error
    ? refusal(body.error, about)
    : new Refusal(`The edge answers with status ${response.status}.`, about);
}

/** One question for all requests that wait for a token. */
function newToken(message) {
  asking ??= askForToken(message).finally(() => {
    asking = null;
  });
  return asking;
}

function keptToken() {
  try {
    return sessionStorage.getItem(TOKEN) ?? "";
  } catch {
    return "";
  }
}
