// The engine's worker alone, in the browser: golden values of every family on WebGPU and on the CPU.

import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { close, closePages, open, root } from './lib.mjs';
import { bareOn, engineOn as startOn, fixtureFiles, last, outcomeOf, start } from './worker.mjs';

const fixtures = path.join(root, 'tests/fixtures');
const FIXTURES = readdirSync(fixtures).filter((name) => existsSync(path.join(fixtures, name, 'golden.safetensors')));
assert.ok(FIXTURES.length >= 14, `fixtures are missing: ${FIXTURES}`);
// f32 against f32 (tests/fixtures/README.md).
const TOLERANCE = 1e-4;

let server;
let browsers;

before(async () => {
  ({ server, browsers } = await open());
});

afterEach(() => closePages(browsers));
after(() => close({ server, browsers }));

const engineOn = (kind) => startOn(browsers[kind], server);

/** Loads a fixture, and returns all events of the answer. */
function load(seen, name, backend) {
  return seen.page.evaluate(
    ([id, files, backend]) => {
      const urls = window.toUrls(files);
      window.golden = urls.find((file) => file.name === 'golden.safetensors');
      return window.engine.ask({ type: 'load', id, source: { files: urls }, backend });
    },
    [name, fixtureFiles(name), backend],
  );
}

for (const backend of ['cpu', 'gpu']) {
  for (const name of FIXTURES) {
    test(`${name} computes what transformers computes: ${backend}`, async () => {
      const seen = await engineOn(backend);
      const loaded = await load(seen, name, backend);
      assert.equal(last(loaded).type, 'done', JSON.stringify(last(loaded)));
      const info = loaded.find((event) => event.type === 'loaded');
      assert.equal(info.backend.kind, backend === 'gpu' ? 'webgpu' : 'cpu');
      const events = await seen.page.evaluate(() => window.engine.ask({ type: 'verify', golden: window.golden }));
      assert.equal(last(events).type, 'done', JSON.stringify(last(events)));
      const { compared } = events.find((event) => event.type === 'verified');
      assert.ok(compared.length >= 14, `only ${compared.length} tensors were compared`);
      assert.deepEqual(compared.filter(({ relative }) => !(relative <= TOLERANCE)), []);
      // This page is bare data, without an icon.
      assert.deepEqual(seen.problems.filter((problem) => !problem.includes('favicon')), []);
      await seen.close();
    });
  }
}

/** Does the same work with a loaded fixture on both backends, and returns the results by backend. */
async function onBoth(name, work) {
  const found = {};
  for (const backend of ['cpu', 'gpu']) {
    const seen = await engineOn(backend);
    assert.equal(last(await load(seen, name, backend)).type, 'done');
    const ask = async (request) => {
      const events = await seen.page.evaluate((request) => window.engine.ask(request), request);
      assert.equal(last(events).type, 'done', JSON.stringify(last(events)));
      return events;
    };
    found[backend] = await work(ask);
    await seen.close();
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

test('experiments of the paper come to the same figures on WebGPU and on the CPU', async () => {
  const super_weights = [{ layer: 1, row: 5, col: 17 }];
  const text = { block: 32, n_blocks: 2 };
  const kinds = {
    importance: { ...text, n_calibration: 1, tasks: [{ name: 'lambada_openai' }] },
    propagation: { prompt: 'the old man' },
    scaling: { ...text, factors: [0, 0.5, 1] },
    token_shift: { n_prompts: 3 },
    activation_quantisation: { ...text, bits: [8], alpha: 0.85, n_calibration: 1 },
    weight_quantisation: { ...text, bits: [4], block_sizes: [64, 0], clips: [9] },
    weights_only: {},
    sinks: { prompt: 'the old man' },
  };
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
});

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

test('engine without WebGPU takes the CPU and says why', async () => {
  const seen = await engineOn('cpu');
  const events = await load(seen, 'llama', 'auto');
  const info = events.find((event) => event.type === 'loaded');
  assert.equal(info.backend.kind, 'cpu');
  assert.match(info.backend.reason, /no GPU: .*WebGPU/);
  const refused = last(await load(seen, 'llama', 'gpu'));
  assert.equal(refused.type, 'failed');
  assert.equal(refused.problem, 'no_gpu');
  // The previous model still answers.
  const scanned = await seen.page.evaluate(() => window.engine.ask({ type: 'scan', prompt: 'the old man' }));
  assert.equal(last(scanned).type, 'done');
  await seen.close();
});

test('stop is heard in the middle of a run', async () => {
  const seen = await engineOn('cpu');
  await load(seen, 'gpt2', 'cpu');
  const events = await seen.page.evaluate(async () => {
    const sampling = { temperature: 1, top_k: 0, top_p: 1, seed: 1, max_new_tokens: 100 };
    const asked = window.engine.ask({ type: 'generate', prompt: 'the old man', sampling });
    window.engine.stop();
    return asked;
  });
  const { intact } = events.find((event) => event.type === 'generated');
  assert.equal(intact.finish, 'stopped');
  assert.ok(intact.token_ids.length < 100, `${intact.token_ids.length} tokens`);
  await seen.close();
});

/** A page with an engine whose WebGPU devices the test can reach. */
async function engineWithReachableGpu() {
  const seen = await bareOn(browsers.gpu, server);
  await seen.page.evaluate((base) => {
    const source = `
      const devices = [];
      const requestDevice = GPUAdapter.prototype.requestDevice;
      GPUAdapter.prototype.requestDevice = async function (...args) {
        const device = await requestDevice.apply(this, args);
        devices.push(device);
        return device;
      };
      const faults = {
        'lose the device': (device) => device.destroy(),
        'run out of memory': (device) => {
          const error = new GPUOutOfMemoryError('no memory is left');
          device.dispatchEvent(new GPUUncapturedErrorEvent('uncapturederror', { error }));
        },
      };
      self.addEventListener('message', (event) => {
        if (!(event.data in faults)) return;
        // The engine would reject this event.
        event.stopImmediatePropagation();
        devices.forEach(faults[event.data]);
      });
      import('${base}engine_loader.js');`;
    window.engineSource = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  }, server.url);
  await start(seen, 'window.engineSource');
  return seen;
}

const LONG_WORK = {
  'a run': { type: 'generate', prompt: 'the old man', sampling: { temperature: 1, top_k: 0, top_p: 1, seed: 1, max_new_tokens: 60 } },
  'an experiment': { type: 'experiment', kind: 'scaling', super_weights: [{ layer: 1, row: 5, col: 17 }], factors: [0, 0.5, 1, 1.5, 2], block: 32, n_blocks: 6 },
};

for (const [work, request] of Object.entries(LONG_WORK)) {
  for (const fault of ['lose the device', 'run out of memory']) {
    test(`GPU failure in the middle of ${work} is never a finding: ${fault}`, async () => {
      const seen = await engineWithReachableGpu();
      assert.equal(last(await load(seen, 'llama', 'gpu')).type, 'done');
      const events = await seen.page.evaluate(async ([request, fault]) => {
        const asked = window.engine.ask(request);
        window.engine.worker.postMessage(fault);
        return asked;
      }, [request, fault]);
      assert.equal(last(events).type, 'failed', JSON.stringify(last(events)));
      assert.equal(last(events).problem, 'device_failed', JSON.stringify(last(events)));
      const isFinding = ({ type, is_partial }) => type === 'generated' || (type.startsWith('outcome') && !is_partial);
      assert.ok(!events.some(isFinding), 'a record of work on a broken device');
      await seen.close();
    });
  }
}

test('weights that break off fail the load, and leave the engine usable', async () => {
  const seen = await engineOn('cpu');
  const cut = fixtureFiles('llama').map((file) => {
    if (file.name !== 'model.safetensors') return file;
    const bytes = Buffer.from(file.base64, 'base64');
    return { ...file, base64: bytes.subarray(0, Math.floor(bytes.length * 0.99)).toString('base64') };
  });
  const events = await seen.page.evaluate(
    ([files]) => window.engine.ask({ type: 'load', id: 'cut', source: { files: window.toUrls(files) }, backend: 'cpu' }),
    [cut],
  );
  assert.equal(last(events).type, 'failed');
  assert.equal(last(events).problem, 'weights_damaged', JSON.stringify(last(events)));
  assert.equal(last(await load(seen, 'llama', 'cpu')).type, 'done');
  await seen.close();
});

test('static constructors run once, however often the engine is called', async () => {
  const seen = await bareOn(browsers.cpu, server);
  const runs = await seen.page.evaluate(async (base) => {
    const engine = await import(`${base}engine.js`);
    await engine.default();
    const counts = [];
    for (let i = 0; i < 5; i += 1) counts.push(engine.constructor_runs());
    return counts;
  }, server.url);
  assert.deepEqual(runs, [1, 1, 1, 1, 1]);
  await seen.close();
});
