// A checkpoint that others trained, SmolLM2-135M-Instruct, in the browser: the figures of tests/real/golden.py (float64),
// and the costs of tests/golden/costs.rs. `cargo xtask test` makes the model's folder before it runs this.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { startHub } from './hub.mjs';
import { close, open, root } from './lib.mjs';
import { engineOn, last } from './worker.mjs';

const NAME = 'SmolLM2-135M-Instruct';
const folder = path.join(path.resolve(root, process.env.CARGO_TARGET_DIR ?? 'target'), 'real-model', NAME);
const read = (name) => readFileSync(path.join(root, name));
const golden = JSON.parse(read('tests/real/golden.json'));
/** Bytes of the held-out text that tests/real/golden.py scores. */
const SCORED_BYTES = Number(/BYTES = .*, (\d+)$/m.exec(read('tests/real/golden.py'))[1]);

let server;
let browsers;
let hub;
let seen;

before(async () => {
  assert.ok(existsSync(path.join(folder, 'model.safetensors')), `there is no ${folder}: run \`cargo xtask real-model\``);
  ({ server, browsers } = await open());
  hub = await startHub({ models: { 'org/real': { folder } } });
});

after(async () => {
  await hub?.stop();
  await close({ server, browsers });
});

/** Asks the engine with the model loaded, on the CPU: where WebGPU is emulated, 24 tokens take more than five minutes. */
async function ask(request) {
  if (!seen) {
    seen = await engineOn(browsers.cpu, server);
    const source = { hub: { endpoint: hub.url, repo: 'org/real', revision: 'main' } };
    await send({ type: 'load', id: NAME, source, backend: 'cpu' });
  }
  return send(request);
}

async function send(request) {
  const events = await seen.page.evaluate((request) => window.engine.ask(request), request);
  assert.equal(last(events).type, 'done', JSON.stringify(last(events)));
  return events;
}

const named = (events, type) => events.find((event) => event.type === type);

function near(got, expected, tolerance, what) {
  assert.ok(Math.abs(got - expected) <= tolerance, `${what}: ${got} is not ${expected}`);
}

test('real model has the spikes of float64, and what costs is found', async () => {
  const scan = named(await ask({ type: 'scan', prompt: golden.prompt }), 'scanned');
  for (const site of ['inputs', 'outputs']) {
    assert.equal(scan[site].length, golden.spikes[site].length);
    for (const [layer, { token, channel, value }] of golden.spikes[site].entries()) {
      const got = scan[site][layer];
      assert.deepEqual([got.token, got.channel], [token, channel], `${site}, layer ${layer}`);
      near(got.value / value, 1, 1e-4, `${site}, layer ${layer}`);
    }
  }
  const found = scan.candidates.map(({ at: { layer, row, col } }) => `${layer},${row},${col}`);
  const costs = JSON.parse(read('tests/golden/costs.json')).models[NAME];
  const costly = costs.filter(([, , , nats]) => nats > 0.05).map(([layer, row, col]) => `${layer},${row},${col}`);
  assert.deepEqual(costly.filter((at) => !found.includes(at)), [], `found: ${found.join(' ')}`);
  assert.ok(found.length <= costly.length + 2, `found: ${found.join(' ')}`);
});

test('real model writes the text of float64', async () => {
  const sampling = { temperature: 0, top_k: 0, top_p: 1, seed: 1, max_new_tokens: golden.greedy_ids.length };
  const { intact } = named(await ask({ type: 'generate', prompt: golden.prompt, sampling }), 'generated');
  assert.deepEqual(intact.token_ids, golden.greedy_ids);
});

test('real model has the losses of float64, intact and without its super weight', async () => {
  const [{ layer, row, col, loss_nats }] = golden.zeroed;
  const weight_edits = [{ unit: 'scalar', layer, row, col, scale: 0 }];
  await ask({ type: 'apply', ablation: { weight_edits, interventions: [] } });
  const events = await ask({ type: 'evaluate' });
  const loss = (pane) => events.find((event) => event.type === 'evaluated' && event.pane === pane).evaluation.loss_nats;
  near(loss('intact'), golden.loss_nats, 2e-6, 'intact');
  near(loss('ablated'), loss_nats, 2e-5, 'without the scalar');
});

/** The loss proxies of each layer in tests/real/golden.safetensors. */
function goldenProxies() {
  const file = read('tests/real/golden.safetensors');
  const begin = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, begin));
  return golden.spikes.inputs.map((_, layer) => {
    const [first, end] = header[`loss_proxy.${layer}`].data_offsets;
    return new Float32Array(file.buffer.slice(file.byteOffset + begin + first, file.byteOffset + begin + end));
  });
}

/** The channels of the largest scores: one in a hundred. */
function core(scores) {
  const ranked = [...scores.keys()].sort((a, b) => scores[b] - scores[a] || a - b);
  return ranked.slice(0, Math.floor(scores.length / 100)).sort((a, b) => a - b);
}

test('real model\'s loss proxies are those of float64', async () => {
  const whole = read('public/held-out.txt').subarray(0, SCORED_BYTES);
  const text = { name: 'held-out', text: new TextDecoder().decode(whole).trim() };
  const asked = { type: 'score', text, sequences: 1, length: 512, super_weights: [], resume: false };
  const { channels } = named(await ask(asked), 'scored');
  for (const [layer, expected] of goldenProxies().entries()) {
    const got = channels[layer].loss_proxy;
    assert.equal(got.length, expected.length);
    const rms = Math.sqrt(expected.reduce((sum, value) => sum + value * value, 0) / expected.length);
    got.forEach((value, channel) => near(value / rms, expected[channel] / rms, 1e-3, `layer ${layer}, channel ${channel}`));
    assert.deepEqual(core(got), core([...expected]), `the core of layer ${layer}`);
  }
});
