// See engine.html.

import { startEngine } from './engine-client.mjs';
import { list, machine, report } from './report.js';

const PROMPT = 'It was a dark evening, and the old man';
const NAMES = ['config.json', 'generation_config.json', 'tokenizer.json', 'reference.json'];

const query = new URLSearchParams(location.search);
// With ?only=load, only loading is measured.
const nTokens = Number(query.get('tokens') ?? 64);
const greedy = (n) => ({ temperature: 0, top_k: 0, top_p: 1, seed: 1, max_new_tokens: n });
const find = (events, wanted) => events.find(({ type }) => type === wanted);

/** A worker, and a function that sends it a request and resolves with the events of the answer; a failure is thrown. */
async function engine() {
  const { worker, ask } = await startEngine();
  const answer = async (request) => {
    const events = await ask(request);
    const { type, problem, detail } = events.at(-1);
    if (type === 'failed') throw new Error(`${problem}: ${detail}`);
    return events;
  };
  return { ask: answer, end: () => worker.terminate() };
}

const at = (folder, name) => ({ name, url: new URL(`${folder}/${name}`, location.href).href });

/** The files of a model's folder, with one file of weights, or with those in its index. */
async function files(folder) {
  const index = await fetch(`${folder}/model.safetensors.index.json`);
  const shards = index.ok ? ['model.safetensors.index.json', ...new Set(Object.values((await index.json()).weight_map))] : ['model.safetensors'];
  return [...NAMES, ...shards].map((name) => at(folder, name));
}

/** A folder on this server, which is stored in the browser. */
const kept = (folder) => ({ folder: { url: new URL(folder, location.href).href } });

/** A fresh worker with a model, and the times for loading it and for the first token. */
async function start(folder, backend, source) {
  source ??= { files: await files(folder) };
  const began = performance.now();
  const { ask, end } = await engine();
  try {
    const ready = performance.now();
    const loading = await ask({ type: 'load', id: folder.split('/').pop(), source, backend });
    const info = find(loading, 'loaded');
    const loadMs = performance.now() - ready;
    // From the first bytes of the weights to the last, excluding the time before and after.
    const bytes = loading.filter(({ type, unit }) => type === 'progress' && unit === 'bytes');
    const weightsMs = bytes.at(-1).atMs - bytes[0].atMs;
    const megabytes = bytes.at(-1).total / 1e6;
    const events = await ask({ type: 'generate', prompt: PROMPT, sampling: greedy(4) });
    return { ask, end, info, loadMs, weightsMs, megabytes, readyMs: ready - began, firstTokenMs: find(events, 'token').atMs - began };
  } catch (error) {
    end();
    throw error;
  }
}

/** All figures of one model on one backend; `tell` is called with each. */
async function measure(folder, backend, tell) {
  const measured = [];
  const result = { backend, model: folder, measured };
  const add = (name, unit, of, value) => measured.push({ name, value, unit, of });
  /** One figure, or the reason why there is none. */
  const step = async (name, unit, of, work) => {
    try {
      add(name, unit, of, await work());
    } catch (error) {
      measured.push({ name, unit, of, missing: String(error) });
    }
    await tell(result);
  };
  const timed = (request) => async () => {
    const began = performance.now();
    await ask(request);
    return performance.now() - began;
  };
  const cold = await start(folder, backend);
  cold.end();
  const fetched = await start(folder, backend, kept(folder));
  fetched.end();
  const { ask, end, info, loadMs, weightsMs, megabytes, readyMs, firstTokenMs } = await start(folder, backend, kept(folder));
  result.info = info;
  const addLoad = (name, of, ms, rateMs) => {
    add(name, 'ms', `${of}, checked and compiled`, ms);
    add(`${name}_rate`, 'MB/s', `${megabytes.toFixed(0)} MB of weights, from their first bytes to their last`, megabytes / rateMs * 1e3);
  };
  addLoad('load_fetched', 'from a server of this machine, hashed and stored', fetched.loadMs, fetched.weightsMs);
  addLoad('load_stored', "from the browser's store", loadMs, weightsMs);
  add('first_token_cold', 'ms', "from a new visitor's worker on, nothing stored", cold.firstTokenMs);
  add('first_token', 'ms', 'from the worker on, the model stored', firstTokenMs);
  add('worker', 'ms', 'until it listens, of those', readyMs);
  await tell(result);
  if (query.get('only') === 'load') {
    end();
    return result;
  }
  await step('first_scan', 'ms', 'of a short prompt, iterated', timed({ type: 'scan', prompt: PROMPT }));
  await step('scan', 'ms', 'the same again', timed({ type: 'scan', prompt: PROMPT }));
  await step('evaluate', 'ms', 'held-out text', timed({ type: 'evaluate' }));
  const score = { type: 'score', text: null, sequences: 64, length: 512, super_weights: [], resume: false };
  await step('score', 'ms', '64 sequences of 512 tokens, all scores read', timed(score));
  const generate = { type: 'generate', prompt: PROMPT, sampling: greedy(nTokens) };
  await step('generate', 'tokens/s', `${nTokens} new tokens, events sent`, async () => find(await ask(generate), 'generated').intact.tokens_per_sec);
  const edit = { unit: 'scalar', layer: 0, row: 0, col: 0, scale: 0 };
  await step('apply', 'ms', "one scalar, the engine's own time", async () => find(await ask({ type: 'apply', ablation: { weight_edits: [edit] } }), 'applied').took_ms);
  const rateOfBoth = async () => {
    const { intact, ablated } = find(await ask(generate), 'generated');
    // Each pane's tokens, and the half of the time that it is charged with.
    const seconds = [intact, ablated].reduce((sum, pane) => sum + (pane.token_ids.length - 1) / pane.tokens_per_sec, 0);
    return (intact.token_ids.length + ablated.token_ids.length - 2) / seconds;
  };
  await step('generate_both', 'tokens/s', `${nTokens} new tokens in each pane, both counted`, rateOfBoth);
  try {
    measured.push(...find(await ask({ type: 'measure' }), 'measured').figures);
  } catch (error) {
    result.error = String(error);
  }
  end();
  return result;
}

/** The largest distance of a fixture's tensors from their golden values. */
async function verify(fixture, backend) {
  const { ask, end } = await engine();
  try {
    await ask({ type: 'load', id: fixture, source: { files: await files(fixture) }, backend });
    const { compared } = find(await ask({ type: 'verify', golden: at(fixture, 'golden.safetensors') }), 'verified');
    return Math.max(...compared.map(({ relative }) => relative ?? Infinity));
  } catch (error) {
    return String(error);
  } finally {
    end();
  }
}

const result = { machine: await machine(), results: [], golden: {} };
for (const backend of list(query.get('backends') ?? 'gpu,cpu')) {
  for (const fixture of list(query.get('fixtures') ?? '')) {
    result.golden[`${fixture}, ${backend}`] = await verify(fixture, backend);
  }
  for (const model of list(query.get('models') ?? 'models/linchpin-13m')) {
    const before = result.results;
    const tell = (partial) => report('engine', { ...result, results: [...before, partial] });
    try {
      result.results = [...before, await measure(model, backend, tell)];
    } catch (error) {
      result.results = [...before, { backend, model, measured: [], error: String(error) }];
    }
    await report('engine', result);
  }
}
await report('engine', result, { done: true });
