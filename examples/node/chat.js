// Streams a chat answer from an edge-agent.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const USAGE = `usage: node chat.js [option...] PROMPT
  --edge HOST:PORT   default: 127.0.0.1:50050
  --max-tokens N     the most tokens of the answer
  --temperature T    0 is greedy; without it the model's own
  --top-p P          keep the most likely tokens up to this probability
  --answers N        how many answers, each printed when it has ended; default: 1
  --json-schema FILE the JSON schema of the answer, which is nothing but such JSON
  --timeout SECONDS  how long the whole answer may take; default: 120
  --ca FILE          use TLS, and trust servers of this PEM file's authorities
  --cert FILE        with --ca and --key: the client's own certificate, PEM
  --key FILE         its private key, PEM
  --token-file FILE  the token to show an edge that asks for one`;

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

// A library that is not installed yet is told with the command that installs it.
const library = async (name) => {
  try {
    return (await import(name)).default;
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
    console.error(`${name} is not installed. In ${here('.')} run\n    npm ci --ignore-scripts`);
    process.exit(1);
  }
};
const grpc = await library('@grpc/grpc-js');
const protoLoader = await library('@grpc/proto-loader');

const definitions = protoLoader.loadSync(['tandem/v1/generation.proto', 'status.proto'], {
  includeDirs: [here('../../proto'), here('.')],
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
  json: true, // Unpacks google.protobuf.Any, in which error details travel.
});
const { GenerationService } = grpc.loadPackageDefinition(definitions).tandem.v1;

function options() {
  const string = { type: 'string' };
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      edge: { ...string, default: '127.0.0.1:50050' },
      timeout: { ...string, default: '120' },
      'max-tokens': string,
      answers: string,
      temperature: string,
      'top-p': string,
      'json-schema': string,
      ca: string,
      cert: string,
      key: string,
      'token-file': string,
    },
  });
  if (positionals.length !== 1) {
    throw new TypeError('one PROMPT is needed');
  }
  if (Boolean(values.cert) !== Boolean(values.key) || (values.cert && !values.ca)) {
    throw new TypeError('--cert and --key belong together, and to --ca');
  }
  const number = (name) => {
    const value = values[name] === undefined ? undefined : Number(values[name]);
    if (Number.isNaN(value)) {
      throw new TypeError(`--${name} is no number: ${values[name]}`);
    }
    return value;
  };
  const wholeNumber = (name) => {
    const value = number(name);
    if (value !== undefined && !(Number.isInteger(value) && value >= 1)) {
      throw new TypeError(`--${name} must be a whole number from 1 on`);
    }
    return value;
  };
  return {
    ...values,
    prompt: positionals[0],
    timeout: number('timeout'),
    maxTokens: number('max-tokens'),
    answers: wholeNumber('answers') ?? 1,
    temperature: number('temperature'),
    topP: number('top-p'),
    jsonSchema: values['json-schema'],
    tokenFile: values['token-file'],
  };
}

function credentials({ ca, cert, key }) {
  if (!ca) {
    return grpc.credentials.createInsecure();
  }
  const read = (file) => (file ? readFileSync(file) : null);
  return grpc.credentials.createSsl(read(ca), read(key), read(cert));
}

// What goes along with a call: the token, where the edge asks for one.
function metadata({ tokenFile }) {
  const sent = new grpc.Metadata();
  if (tokenFile) {
    sent.set('authorization', `Bearer ${readFileSync(tokenFile, 'utf8').trim()}`);
  }
  return sent;
}

// The answer's events. Aborting the signal cancels the call, which frees its session on edge and
// cloud. The deadline travels with the call: the edge stops computing when it passes.
function chat(client, given, signal) {
  const request = {
    // For the next turn, send all messages so far.
    messages: [{ role: 'user', content: given.prompt }],
    sampling: { temperature: given.temperature, topP: given.topP },
    constraint: given.jsonSchema && { jsonSchema: readFileSync(given.jsonSchema, 'utf8') },
    maxTokens: given.maxTokens,
    answers: given.answers,
  };
  const call = client.chat(request, metadata(given), { deadline: Date.now() + given.timeout * 1000 });
  signal.addEventListener('abort', () => call.cancel(), { once: true });
  return call;
}

// A status with what its google.rpc details say: reason, fields, when to try again.
function describe(error) {
  const lines = [`${grpc.status[error.code]}: ${error.details}`];
  // None when gRPC itself made the status, as for a server that cannot be reached.
  const [trailer] = error.metadata.get('grpc-status-details-bin');
  const details = trailer ? definitions['google.rpc.Status'].deserialize(trailer).details : [];
  for (const detail of details) {
    const type = detail['@type'].split('/').pop();
    if (type === 'google.rpc.ErrorInfo') {
      lines.push(`  reason: ${detail.reason}`);
    } else if (type === 'google.rpc.BadRequest') {
      lines.push(...detail.fieldViolations.map((v) => `  field ${v.field}: ${v.description}`));
    } else if (type === 'google.rpc.RetryInfo') {
      const { seconds, nanos } = detail.retryDelay;
      lines.push(`  retry after: ${seconds + nanos / 1e9} s`);
    }
  }
  return lines.join('\n');
}

async function main() {
  let given;
  try {
    given = options();
  } catch (error) {
    console.error(`${error.message}\n${USAGE}`);
    return 2;
  }
  const controller = new AbortController();
  process.once('SIGINT', () => controller.abort());
  const client = new GenerationService(given.edge, credentials(given));
  try {
    // Several answers come together, each event with its answer's number: they are kept until they end.
    const texts = Array(given.answers).fill('');
    for await (const event of chat(client, given, controller.signal)) {
      if (event.delta && given.answers > 1) {
        texts[event.answer] += event.delta.text;
      } else if (event.delta) {
        process.stdout.write(event.delta.text);
      } else if (event.finished) {
        const { completionTokens, timings, finishReason } = event.finished;
        const speed = timings.tokensPerSecond.toFixed(1);
        process.stdout.write(`${texts[event.answer]}\n`);
        console.error(`${completionTokens} tokens, ${speed} a second, ${finishReason}`);
      }
    }
    return 0;
  } catch (error) {
    if (!(error.metadata instanceof grpc.Metadata)) {
      throw error;
    }
    if (controller.signal.aborted) {
      console.error('\ncancelled');
      return 130;
    }
    console.error(`\n${describe(error)}`);
    return 1;
  } finally {
    client.close();
  }
}

process.exitCode = await main();
