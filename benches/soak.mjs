// A long visit: the page is used for hours, and its memory is measured after each round.
//
//     node benches/soak.mjs [--minutes 120] [--settle 10] [--webgpu]
//
// One round, on the bundled models: scan, confirm, pull the candidate, write a text beside the intact one, measure, put it back, load the
// other model and write there, and come back. It needs a built page (LINCHPIN_DIST if it is not in dist/) and the end-to-end tests' npm
// packages. Without `--webgpu` the model runs on the CPU; with it on Chromium's software GPU, whose process then holds the device memory.
//
// It prints a line of JSON for each round (proportional set sizes of Chromium's processes in bytes, after a garbage collection; the
// page's JavaScript heap, nodes and listeners), and at the end the growth between the median of the three rounds after `--settle` minutes
// and the median of the last three.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { isEnabled, launch, part, serve, text, unfold, visit } from '../tests/e2e/lib.mjs';

const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '120' }, settle: { type: 'string', default: '10' }, webgpu: { type: 'boolean', default: false } },
});
const [minutes, settle] = [Number(values.minutes), Number(values.settle)];

const server = await serve();
const browser = await launch({ webgpu: values.webgpu ? 'swiftshader' : 'none' });
const began = performance.now();
const elapsed = () => (performance.now() - began) / 60_000;

/** The proportional set size of a process: its own memory, and its share of what it has in common with others. */
const pss = (pid) => Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))[1]) * 1024;

async function memory(system, cdp) {
  for (let i = 0; i < 3; i += 1) await cdp.send('HeapProfiler.collectGarbage');
  const { processInfo } = await system.send('SystemInfo.getProcessInfo');
  const of = (type) => processInfo.filter((process) => process.type === type).reduce((sum, { id }) => sum + pss(id), 0);
  const { metrics } = await cdp.send('Performance.getMetrics');
  const metric = (name) => metrics.find((metric) => metric.name === name).value;
  return { page: of('renderer'), gpu: of('GPU'), browser: of('browser'), heap: metric('JSHeapUsedSize'), nodes: metric('Nodes'), listeners: metric('JSEventListeners') };
}

async function generate(seen) {
  await isEnabled(seen, 'generate');
  await part(seen, 'generate').click();
  await part(seen, 'speed-ablated').filter({ hasNotText: '–' }).waitFor();
  await isEnabled(seen, 'generate');
}

async function load(seen, id) {
  await part(seen, 'model-select').selectOption(id);
  await part(seen, 'model-load').click();
  await seen.page.waitForFunction((id) => document.querySelector('[data-testid="model-facts"]')?.textContent.includes(id), id);
  await isEnabled(seen, 'scan-run');
}

async function round(seen) {
  await part(seen, 'scan-run').click();
  await isEnabled(seen, 'scan-run');
  await part(seen, 'confirm-run').click();
  await isEnabled(seen, 'confirm-run');
  await part(seen, 'verdict').first().waitFor();
  await part(seen, 'candidate-pull').first().click();
  await part(seen, 'applied').filter({ hasText: 'in place' }).waitFor();
  await generate(seen);
  await part(seen, 'evaluate').click();
  await part(seen, 'perplexity-ablated').filter({ hasText: '×' }).waitFor();
  await part(seen, 'edit-reset').click();
  await load(seen, 'linchpin-11m-twin');
  await generate(seen);
  await load(seen, 'linchpin-13m');
}

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

try {
  const seen = await visit(browser, server.url);
  const cdp = await seen.page.context().newCDPSession(seen.page);
  await cdp.send('Performance.enable');
  const system = await browser.newBrowserCDPSession();
  await part(seen, 'backend').waitFor();
  if (values.webgpu) {
    await part(seen, 'backend-choice').selectOption('gpu');
    await load(seen, 'linchpin-13m');
    assert.match(await text(seen, 'backend'), /webgpu/);
  }
  await unfold(seen.page.locator('details.more').first());
  await part(seen, 'max-tokens').fill('24');
  const rounds = [];
  while (elapsed() < minutes) {
    await round(seen);
    const measured = { minutes: Number(elapsed().toFixed(2)), ...(await memory(system, cdp)) };
    rounds.push(measured);
    console.log(JSON.stringify(measured));
  }
  assert.deepEqual(seen.problems, []);
  assert.equal(await part(seen, 'failure').count(), 0, await text(seen, 'failure').catch(() => ''));
  const early = rounds.filter(({ minutes }) => minutes >= settle).slice(0, 3);
  const late = rounds.slice(-3);
  const growth = Object.fromEntries(
    ['page', 'gpu', 'browser', 'heap', 'nodes', 'listeners'].map((what) => {
      const [then, now] = [early, late].map((some) => median(some.map((one) => one[what])));
      return [what, { then, now, share: Number((now / then - 1).toFixed(4)) }];
    }),
  );
  console.log(JSON.stringify({ rounds: rounds.length, minutes: Number(elapsed().toFixed(1)), growth }, null, 2));
} finally {
  await browser.close();
  await server.stop();
}
