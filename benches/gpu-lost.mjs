// Loses the GPU at random moments of the page's work, as a driver does: Chromium's GPU process is killed.
//
//     node benches/gpu-lost.mjs [--times 50] [--seed 1]
//
// The moments are spread over loading, scanning, writing and scoring a small model on WebGPU (Chromium's software GPU). Each time the page
// must say within seconds that the device failed, show no result of the interrupted work, keep what it had, and do the same work after
// one press of "Restart engine". It needs a built page (LINCHPIN_DIST if it is not in dist/) and the end-to-end tests' npm packages, and
// prints JSON.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { isEnabled, launch, openFixture, part, serve, text, unfold, visit } from '../tests/e2e/lib.mjs';
import { random } from './random.mjs';

const { values } = parseArgs({ options: { times: { type: 'string', default: '50' }, seed: { type: 'string', default: '1' } } });
const times = Number(values.times);
const next = random(Number(values.seed));

/** The work: how to begin it, how to see that it is done, and what of its result is shown. */
const WORK = {
  load: {
    begin: (seen) => openFixture(seen, 'qwen2'),
    done: (seen) => part(seen, 'model-facts').filter({ hasText: 'qwen2' }).waitFor(),
    shown: async (seen) => (await part(seen, 'model-facts').filter({ hasText: 'qwen2' }).count()) > 0,
  },
  scan: {
    begin: (seen) => part(seen, 'scan-run').click(),
    done: (seen) => part(seen, 'scan-results').waitFor(),
    shown: async (seen) => (await part(seen, 'scan-results').count()) > 0,
  },
  generate: {
    begin: (seen) => part(seen, 'generate').click(),
    done: (seen) => part(seen, 'speed-ablated').filter({ hasNotText: '–' }).waitFor(),
    shown: async (seen) => (await part(seen, 'share-link').count()) > 0,
  },
  score: {
    begin: (seen) => part(seen, 'score-run').click(),
    done: (seen) => part(seen, 'score-findings').waitFor(),
    shown: async (seen) => (await part(seen, 'score-findings').count()) > 0,
  },
};

/** A new visit with the model on the GPU. */
async function prepared(browser, server) {
  const seen = await visit(browser, server.url);
  await part(seen, 'backend').waitFor();
  await unfold(seen.page.locator('details.own'));
  await part(seen, 'model-status').filter({ hasText: /ready/ }).waitFor();
  await part(seen, 'backend-choice').selectOption('gpu');
  await openFixture(seen, 'llama');
  await part(seen, 'model-facts').filter({ hasText: '3 layers' }).waitFor();
  assert.match(await text(seen, 'backend'), /webgpu/);
  for (const id of ['scan-prompt', 'prompt']) await part(seen, id).fill('the old man');
  await unfold(seen.page.locator('details.more').first());
  await part(seen, 'max-tokens').fill('60');
  return seen;
}

const server = await serve();
const counts = {};
const told = [];
// Chromium would give up WebGPU after a few crashes.
const browser = await launch({ webgpu: 'swiftshader', args: ['--disable-gpu-process-crash-limit'] });
const system = await browser.newBrowserCDPSession();
try {
  for (const [name, { begin, done, shown }] of Object.entries(WORK)) {
    counts[name] = { lost: 0, already: 0 };
    let seen = await prepared(browser, server);
    let began = performance.now();
    await begin(seen);
    await done(seen);
    const wholeMs = performance.now() - began;
    await seen.close();
    while (counts[name].lost < times / Object.keys(WORK).length) {
      seen = await prepared(browser, server);
      await begin(seen);
      await sleep(next() * wholeMs);
      const wasShown = await shown(seen);
      counts[name].already += wasShown;
      began = performance.now();
      await system.send('Browser.crashGpuProcess').catch(() => {});
      await part(seen, 'failure').waitFor();
      told.push(performance.now() - began);
      assert.equal(await part(seen, 'failure').first().getAttribute('data-kind'), 'device', await text(seen, 'failure'));
      if (!wasShown) assert.equal(await shown(seen), false, `${name}: a result of a lost device is shown`);
      await part(seen, 'failure-restart').click();
      await isEnabled(seen, 'scan-run');
      await begin(seen);
      await done(seen);
      assert.equal(await part(seen, 'failure').count(), 0);
      counts[name].lost += 1;
      await seen.close();
    }
    console.error(name, JSON.stringify(counts[name]));
  }
} finally {
  await browser.close();
  await server.stop();
}
told.sort((a, b) => a - b);
console.log(JSON.stringify({ counts, toldMs: { median: Math.round(told[told.length >> 1]), most: Math.round(told.at(-1)) } }, null, 2));
