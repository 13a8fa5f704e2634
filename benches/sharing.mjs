// The time of a confirmation on the CPU with several workers, of that with one, in the built page's engine with linchpin-13m.
//
//     node benches/sharing.mjs [--workers 2] [--rounds 3]
//
// It needs a built page (`cargo xtask build`; LINCHPIN_DIST if it is elsewhere) and the end-to-end tests' npm packages (which
// `cargo xtask test` installs). It prints JSON: in each round one worker, several of which the others start with the job
// (`cold`), and several that run already (`warm`); `share` is the speed-up divided by the number of workers. Losses must be equal to
// the bit.

import assert from 'node:assert/strict';
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { launch, serve } from '../tests/e2e/lib.mjs';
import { engineOn, last } from '../tests/e2e/worker.mjs';

const PROMPT = 'It was a dark evening, and the old man';
const { values } = parseArgs({ options: { workers: { type: 'string', default: '2' }, rounds: { type: 'string', default: '3' } } });
const [workers, rounds] = [Number(values.workers), Number(values.rounds)];

/** Runs in the page: loads the bundled model, and returns the scan's candidates. */
async function prepare(prompt) {
  const names = ['config.json', 'generation_config.json', 'tokenizer.json', 'reference.json', 'model.safetensors'];
  const files = names.map((name) => ({ name, url: new URL(`models/linchpin-13m/${name}`, document.baseURI).href }));
  const events = await window.engine.ask({ type: 'load', id: 'linchpin-13m', source: { files }, backend: 'cpu' });
  const scanned = await window.engine.ask({ type: 'scan', prompt });
  const find = (events, wanted) => events.find(({ type }) => type === wanted);
  return { sharing: find(events, 'sharing'), candidates: find(scanned, 'scanned').candidates.map(({ at }) => at) };
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

const server = await serve();
const browser = await launch();
try {
  const seen = await engineOn(browser, server);
  const { sharing, candidates } = await seen.page.evaluate(`(${prepare})(${JSON.stringify(PROMPT)})`);
  const use = (n) => seen.page.evaluate((workers) => window.engine.ask({ type: 'use_workers', workers }), n);
  const confirm = async () => {
    const ask = async (candidates) => {
      const began = performance.now();
      const events = await window.engine.ask({ type: 'confirm', candidates, seed: 1 });
      return { ms: performance.now() - began, events };
    };
    const { ms, events } = await seen.page.evaluate(`(${ask})(${JSON.stringify(candidates)})`);
    assert.equal(last(events).type, 'done', JSON.stringify(last(events)));
    return { ms, arms: events.find(({ type }) => type === 'confirmed').arms };
  };
  // The means of channels are computed once.
  await use(1);
  const { arms } = await confirm();
  const measured = { alone: [], cold: [], warm: [] };
  for (let round = 0; round < rounds; round += 1) {
    for (const [kind, n] of [['alone', 1], ['cold', workers], ['warm', workers]]) {
      await use(n);
      const confirmed = await confirm();
      assert.deepEqual(confirmed.arms, arms);
      measured[kind].push(Math.round(confirmed.ms));
    }
  }
  const share = (kind) => Number((median(measured.alone) / median(measured[kind]) / workers).toFixed(3));
  const machine = { processors: cpus().length, model: cpus()[0].model, loadavg: loadavg() };
  const result = { machine, browser: browser.version(), sharing, arms: arms.length, workers, ms: measured, share: { cold: share('cold'), warm: share('warm') } };
  console.log(JSON.stringify(result, null, 2));
} finally {
  await browser.close();
  await server.stop();
}
