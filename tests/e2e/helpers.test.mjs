// Workers that share the arms of a measurement on the CPU: the same numbers with any number of them, whatever happens to them.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { close, closePages, launch, part, serve, text, visit } from './lib.mjs';
import { bareOn, last, start } from './worker.mjs';

const PROMPT = 'It was a dark evening, and the old man';

let server;
let browsers;

before(async () => {
  server = await serve();
  browsers = { cpu: await launch() };
});

afterEach(() => closePages(browsers));
after(() => close({ server, browsers }));

/**
 * A page with an engine that has the bundled model, and whose helpers the test can count and end: `window.helpers(order)` does what
 * it is told and resolves with their number and the number of their answers.
 * @param {string} [script] the script of helpers, if not the engine's own
 */
async function engineWithReachableHelpers(script) {
  const seen = await bareOn(browsers.cpu, server);
  await seen.page.evaluate(
    ([base, script]) => {
      const source = `
        if (self.name !== 'helper') {
          const made = [];
          let helped = 0;
          const Real = self.Worker;
          self.Worker = class extends Real {
            constructor(address, options) {
              super(${JSON.stringify(script ?? null)} ?? address, { ...options, name: 'helper' });
              this.addEventListener('message', ({ data }) => (helped += data.event?.helped ? 1 : 0));
              made.push(this);
            }
          };
          const channel = new BroadcastChannel('helpers');
          channel.onmessage = ({ data }) => {
            if (data === 'terminate') made.forEach((worker) => worker.terminate());
            channel.postMessage({ made: made.length, helped });
          };
        }
        import('${base}engine_loader.js');`;
      window.engineSource = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
      window.helpers = (order) => {
        const channel = new BroadcastChannel('helpers');
        return new Promise((resolve) => {
          channel.onmessage = ({ data }) => {
            channel.close();
            resolve(data);
          };
          channel.postMessage(order);
        });
      };
    },
    [server.url, script],
  );
  await start(seen, 'window.engineSource');
  const loaded = await seen.page.evaluate(() => {
    const names = ['config.json', 'generation_config.json', 'tokenizer.json', 'model.safetensors'];
    const files = names.map((name) => ({ name, url: new URL(`models/linchpin-13m/${name}`, document.baseURI).href }));
    return window.engine.ask({ type: 'load', id: 'linchpin-13m', source: { files }, backend: 'cpu' });
  });
  assert.equal(last(loaded).type, 'done', JSON.stringify(last(loaded)));
  const sharing = loaded.find(({ type }) => type === 'sharing');
  assert.ok(sharing.most >= 2, `the test needs two processors, and the browser offers ${sharing.most}`);
  const scanned = await seen.page.evaluate((prompt) => window.engine.ask({ type: 'scan', prompt }), PROMPT);
  const candidates = scanned.find(({ type }) => type === 'scanned').candidates.map(({ at }) => at);
  assert.ok(candidates.length > 0);
  return { seen, candidates };
}

/** The arms of a confirmation with so many workers, and the other events; `during` runs in the page after the first arm. */
async function confirm({ seen, candidates }, workers, during = '() => {}') {
  const events = await seen.page.evaluate(
    async ([candidates, workers, during]) => {
      const chosen = await window.engine.ask({ type: 'use_workers', workers });
      // The client keeps the last event of any answer.
      window.engine.latest = undefined;
      const asked = window.engine.ask({ type: 'confirm', candidates, seed: 1 });
      while (!['arm', 'done', 'failed'].includes(window.engine.latest?.type)) await new Promise((resolve) => setTimeout(resolve, 5));
      await eval(during)();
      return [...chosen, ...(await asked)];
    },
    [candidates, workers, during],
  );
  const [told, report] = [events.filter(({ type }) => type === 'arm').map(({ arm }) => arm), events.find(({ type }) => type === 'confirmed')];
  return { events, told, report };
}

test('two workers measure the arms of one, to the bit and in its order', async () => {
  const engine = await engineWithReachableHelpers();
  const alone = await confirm(engine, 1);
  assert.deepEqual(await engine.seen.page.evaluate(() => window.helpers('count')), { made: 0, helped: 0 });
  assert.ok(alone.report.arms.length > 5 && alone.report.verdicts.some(({ confirmed }) => confirmed), JSON.stringify(alone.report.verdicts));
  const together = await confirm(engine, 2);
  assert.deepEqual(together.told, alone.told);
  assert.deepEqual(together.report.arms, together.told);
  assert.deepEqual(together.report.verdicts, alone.report.verdicts);
  const { made, helped } = await engine.seen.page.evaluate(() => window.helpers('count'));
  assert.equal(made, 1);
  assert.ok(helped > 10, `the helper answered ${helped} times`);
  // This page is bare data, without an icon.
  assert.deepEqual(engine.seen.problems.filter((problem) => !problem.includes('favicon')), []);
  await engine.seen.close();
});

test('stop is heard by all, and the same workers go on', async () => {
  const engine = await engineWithReachableHelpers();
  const stopped = await confirm(engine, 2, '() => window.engine.stop()');
  assert.equal(last(stopped.events).type, 'stopped');
  assert.equal(stopped.report, undefined);
  const again = await confirm(engine, 2);
  assert.deepEqual(again.told.slice(0, stopped.told.length), stopped.told);
  assert.equal((await engine.seen.page.evaluate(() => window.helpers('count'))).made, 1);
  await engine.seen.close();
});

test('worker that is ended in the middle costs only time', async () => {
  const engine = await engineWithReachableHelpers();
  const alone = await confirm(engine, 1);
  const ended = await confirm(engine, 2, "() => window.helpers('terminate')");
  assert.deepEqual(ended.told, alone.told);
  assert.deepEqual(ended.report.verdicts, alone.report.verdicts);
  await engine.seen.close();
});

test('worker whose script is missing costs only time, and the page is told', async () => {
  const engine = await engineWithReachableHelpers(new URL('missing.js', server.url).href);
  const alone = await confirm(engine, 1);
  const without = await confirm(engine, 2);
  assert.deepEqual(without.told, alone.told);
  assert.deepEqual(without.events.filter(({ type }) => type === 'sharing').map(({ lost }) => lost), [0, 1]);
  await engine.seen.close();
});

test('visitor chooses the number of workers, and reads what each takes', async () => {
  const seen = await visit(browsers.cpu, server.url);
  // The bundled model loads by itself.
  await part(seen, 'workers').waitFor();
  assert.match(await text(seen, 'workers-help'), /takes up to \d+ MB of memory[^:]*: its own copy of the weights/);
  await part(seen, 'workers').selectOption('1');
  await seen.page.waitForFunction(() => /would take up to/.test(document.querySelector('[data-testid="workers-help"]').textContent));
  assert.deepEqual(await seen.barriers(), []);
  assert.deepEqual(seen.problems, []);
  await seen.close();
});
