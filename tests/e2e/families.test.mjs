// The engine's worker alone, in the browser: golden values of every family, and the same figures from WebGPU and the CPU.
//
// An engine loads several models one after the other, as a visitor's does: a fresh one would compile every kernel again,
// which takes most of the time where WebGPU is emulated. But the emulator keeps every kernel, and on one machine it crashed
// after about ten models or one long piece of work, so a browser with it serves few of them.

import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { launch, root, serve } from './lib.mjs';
import { engineOn, last, load, outcomeOf } from './worker.mjs';

const fixtures = path.join(root, 'tests/fixtures');
const FIXTURES = readdirSync(fixtures).filter((name) => existsSync(path.join(fixtures, name, 'golden.safetensors')));
assert.ok(FIXTURES.length >= 14, `fixtures are missing: ${FIXTURES}`);
// f32 against f32 (tests/fixtures/README.md).
const TOLERANCE = 1e-4;

/** The most models that one browser loads, by backend. */
const MAX_LOADS = { gpu: 4, cpu: Infinity };

let server;
/** By backend: a browser, the engine in it, and the number of models that it has loaded. */
const running = {};

before(async () => {
  server = await serve();
});

after(async () => {
  for (const { browser } of Object.values(running)) await browser.close();
  await server?.stop();
});

/** An engine of a backend that has loaded fewer models than `MAX_LOADS`; a `fresh` one has loaded none. */
async function engineFor(backend, fresh) {
  if (running[backend] && (fresh || running[backend].n_loads === MAX_LOADS[backend])) await forget(backend);
  if (!running[backend]) {
    const browser = await launch({ webgpu: backend === 'gpu' ? 'swiftshader' : 'none' });
    running[backend] = { browser, n_loads: 0 };
    running[backend].seen = await engineOn(browser, server);
  }
  running[backend].n_loads += 1;
  return running[backend].seen;
}

async function forget(backend) {
  const { browser } = running[backend];
  delete running[backend];
  await browser.close();
}

/** Works with an engine of a backend that has a fixture loaded. A failed test leaves no engine to the next one. */
async function withFixture(name, backend, work, { fresh = false } = {}) {
  const seen = await engineFor(backend, fresh);
  try {
    const loaded = await load(seen, name, backend);
    assert.equal(last(loaded).type, 'done', JSON.stringify(last(loaded)));
    const found = await work(seen, loaded.find((event) => event.type === 'loaded'));
    // This page is bare data, without an icon.
    assert.deepEqual(seen.problems.filter((problem) => !problem.includes('favicon')), []);
    return found;
  } catch (error) {
    await forget(backend);
    throw error;
  }
}

for (const backend of ['cpu', 'gpu']) {
  for (const name of FIXTURES) {
    test(`${name} computes what transformers computes: ${backend}`, () => withFixture(name, backend, async (seen, info) => {
      assert.equal(info.backend.kind, backend === 'gpu' ? 'webgpu' : 'cpu');
      const events = await seen.page.evaluate(() => window.engine.ask({ type: 'verify', golden: window.golden }));
      assert.equal(last(events).type, 'done', JSON.stringify(last(events)));
      const { compared } = events.find((event) => event.type === 'verified');
      assert.ok(compared.length >= 14, `only ${compared.length} tensors were compared`);
      assert.deepEqual(compared.filter(({ relative }) => !(relative <= TOLERANCE)), []);
    }));
  }
}

/** Does the same work with a fixture on both backends, and returns the results by backend. */
async function onBoth(name, work) {
  const found = {};
  for (const backend of ['cpu', 'gpu']) {
    found[backend] = await withFixture(name, backend, (seen) => work(async (request) => {
      const events = await seen.page.evaluate((request) => window.engine.ask(request), request);
      assert.equal(last(events).type, 'done', JSON.stringify(last(events)));
      return events;
    }), { fresh: true });
  }
  return found;
}

test('same seed writes the same texts on WebGPU and on the CPU, with weights and activations changed', async () => {
  // qwen3's matrices are bf16: the first edit leaves one packed, the second turns one into f32.
  const weight_edits = [
    { unit: 'channel', layer: 0, channel: 3, scale: 0 },
    { unit: 'row', layer: 1, row: 5, scale: -2 },
  ];
  const interventions = [{ site: 'resid_pre', layer: 1, token: 8, channel: 2, action: 'set', value: 4 }];
  const texts = await onBoth('qwen3', async (ask) => {
    await ask({ type: 'apply', ablation: { weight_edits, interventions } });
    const written = [];
    for (const top_k of [40, 0]) {
      const sampling = { temperature: 0.9, top_k, top_p: 0.95, seed: 11, max_new_tokens: 24 };
      const events = await ask({ type: 'generate', prompt: 'the old man', sampling });
      const { intact, ablated } = events.find((event) => event.type === 'generated');
      written.push(intact.token_ids, ablated.token_ids);
    }
    return written;
  });
  assert.deepEqual(texts.gpu, texts.cpu);
  assert.deepEqual(texts.cpu.map(({ length }) => length), [24, 24, 24, 24]);
});

test('channels score the same on WebGPU and on the CPU', async () => {
  const reports = await onBoth('llama3', async (ask) => {
    const events = await ask({ type: 'score', text: null, sequences: 2, length: 32, super_weights: [], resume: false });
    return events.find((event) => event.type === 'scored');
  });
  const proxies = ({ channels }) => channels.map((layer) => layer.loss_proxy);
  const [gpu, cpu] = [proxies(reports.gpu), proxies(reports.cpu)];
  assert.ok(cpu.length >= 2);
  cpu.forEach((layer, index) => {
    const rms = Math.sqrt(layer.reduce((sum, value) => sum + value * value, 0) / layer.length);
    assert.ok(rms > 0);
    layer.forEach((value, channel) => assert.ok(Math.abs(value - gpu[index][channel]) <= 1e-3 * rms, `${index}, ${channel}`));
  });
});

test('confirmation comes to the same figures on WebGPU and on the CPU', async () => {
  const request = { type: 'confirm', candidates: [{ layer: 1, row: 5, col: 17 }], rows: [{ layer: 2, row: 3 }], seed: 1 };
  const reports = await onBoth('llama', async (ask) => {
    // An emulated GPU takes a second for a hundred tokens.
    await ask({ type: 'use_text', name: 'short', text: 'the old man and the sea '.repeat(6), max_tokens: 64 });
    const events = await ask(request);
    await ask({ type: 'use_bundled_text' });
    return events.find((event) => event.type === 'confirmed');
  });
  const { cpu, gpu } = reports;
  assert.ok(cpu.arms.length >= 8, `only ${cpu.arms.length} arms`);
  assert.deepEqual(gpu.arms.map(({ kind, at }) => [kind, at]), cpu.arms.map(({ kind, at }) => [kind, at]));
  gpu.arms.forEach(({ loss_nats: nats }, n) => assert.ok(Math.abs(nats - cpu.arms[n].loss_nats) <= 1e-4, `arm ${n}: ${nats}`));
  // The spike is planted in a random model, whose loss near chance hardly changes.
  assert.deepEqual([cpu, gpu].map(({ verdicts }) => verdicts[0].confirmed), [false, false]);
});

const TEXT = { block: 32, n_blocks: 2 };

test('experiments that take super weights away come to the same figures on WebGPU and on the CPU', () =>
  compareExperiments({
    importance: { ...TEXT, n_calibration: 1, tasks: [{ name: 'lambada_openai' }] },
    propagation: { prompt: 'the old man' },
    scaling: { ...TEXT, factors: [0, 0.5, 1] },
    token_shift: { n_prompts: 3 },
  }));

test('experiments that round or look inside come to the same figures on WebGPU and on the CPU', () =>
  compareExperiments({
    activation_quantisation: { ...TEXT, bits: [8], alpha: 0.85, n_calibration: 1 },
    weight_quantisation: { ...TEXT, bits: [4], block_sizes: [64, 0], clips: [9] },
    weights_only: {},
    sinks: { prompt: 'the old man' },
  }));

/** Runs experiments, given as settings by kind, on both backends, and compares their tables. */
async function compareExperiments(kinds) {
  const super_weights = [{ layer: 1, row: 5, col: 17 }];
  const jsonl = JSON.stringify({ context: 'the old', continuation: 'man' });
  // qwen3's matrices are bf16: packed on WebGPU.
  const tables = await onBoth('qwen3', async (ask) => {
    await ask({ type: 'use_tasks', tasks: [{ name: 'lambada_openai', jsonl }] });
    const found = {};
    for (const [kind, settings] of Object.entries(kinds)) {
      const events = await ask({ type: 'experiment', kind, super_weights, ...settings });
      const outcome = outcomeOf(events);
      assert.ok(!outcome.is_partial && outcome.findings.length > 0, kind);
      found[kind] = outcome.tables;
    }
    return found;
  });
  for (const kind of Object.keys(kinds)) {
    // A value between two levels may be rounded either way, which changes later values.
    const tolerance = kind.endsWith('quantisation') ? 0.02 : 1e-3;
    const [cpu, gpu] = [tables.cpu[kind], tables.gpu[kind]];
    assert.deepEqual(gpu.map(({ name, rows }) => [name, rows.length]), cpu.map(({ name, rows }) => [name, rows.length]), kind);
    // The increase by rounding is small, so its shares are not compared.
    for (const [at, table] of cpu.entries()) if (table.name !== 'gap') checkTable(kind, table, gpu[at], tolerance);
  }
}

/** Checks that texts are equal, and that numbers are within a tolerance relative to the largest in their column. */
function checkTable(kind, cpu, gpu, tolerance) {
  assert.ok(cpu.rows.length > 0, `${kind}, ${cpu.name}`);
  cpu.columns.forEach(({ name }, column) => {
    if (name === 'change' && kind.endsWith('quantisation')) return;
    const largest = Math.max(...cpu.rows.map((row) => (typeof row[column] === 'number' ? Math.abs(row[column]) : 0)));
    cpu.rows.forEach((row, at) => {
      const [a, b] = [row[column], gpu.rows[at][column]];
      const what = `${kind}, ${cpu.name}, ${name}, row ${at}: ${a} and ${b}`;
      if (typeof a === 'number' && typeof b === 'number') assert.ok(Math.abs(a - b) <= tolerance * largest, what);
      else assert.equal(b ?? null, a ?? null, what);
    });
  });
}
