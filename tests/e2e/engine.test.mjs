// The engine's worker alone, in the browser: stops, faults, and a browser without WebGPU.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { close, closePages, open } from './lib.mjs';
import { bareOn, engineOn as startOn, fixtureFiles, last, load, start } from './worker.mjs';

let server;
let browsers;

before(async () => {
  ({ server, browsers } = await open());
});

afterEach(() => closePages(browsers));
after(() => close({ server, browsers }));

const engineOn = (kind) => startOn(browsers[kind], server);

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
