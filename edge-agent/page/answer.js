import { Refusal, Unreachable, refusal, request } from "./edge.js";
import { eventData } from "./event-stream.js";

/**
 * One answer as it comes, in pieces that have one of: `text`, `thoughts`, `step` (the figures of a round trip),
 * `usage`, `finish` (why it ended). Throws what `request` throws, also in the middle of the answer.
 */
export async function* answer(fields, signal) {
  const response = await request("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({
      ...fields,
      stream: true,
      stream_options: { include_usage: true, include_split: true },
    }),
    signal,
  });
  try {
    for await (const data of eventData(response.body)) {
      if (data === "[DONE]") return;
      yield* pieces(chunkOf(data));
    }
  } catch (error) {
    throw error instanceof TypeError ? new Unreachable("The connection to the edge broke.") : error;
  }
  throw new Unreachable("The answer broke off.");
}

function chunkOf(data) {
  let chunk = null;
  try {
    chunk = JSON.parse(data);
  } catch {
    // As bad as what is no object.
  }
  if (chunk === null || typeof chunk !== "object") throw new Refusal("The edge sent what cannot be read.");
  return chunk;
}

function* pieces(chunk) {
  if (chunk.error) throw refusal(chunk.error);
  const choice = chunk.choices?.[0];
  const { reasoning_content: thoughts, content: text } = choice?.delta ?? {};
  if (typeof thoughts === "string" && thoughts) yield { thoughts };
  if (typeof text === "string" && text) yield { text };
  if (chunk.split) yield { step: chunk.split };
  if (chunk.usage) yield { usage: chunk.usage };
  if (choice?.finish_reason) yield { finish: choice.finish_reason };
}
