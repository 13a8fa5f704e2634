// A visit from the first view to a link that another visitor recomputes.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { close, closePages, command, isEnabled, open, openFixture, part, text, unfold, visit } from './lib.mjs';

let server;
let browsers;

before(async () => {
  ({ server, browsers } = await open());
});

afterEach(() => closePages(browsers));
after(() => close({ server, browsers }));

async function modelIsReady(seen) {
  await part(seen, 'backend').waitFor();
}

async function generate(seen, nTokens) {
  await unfold(seen.page.locator('details.more').first());
  await part(seen, 'max-tokens').fill(String(nTokens));
  await part(seen, 'generate').click();
  await part(seen, 'speed-ablated').filter({ hasNotText: '–' }).waitFor();
  await isEnabled(seen, 'generate');
}

function assertSameNumbers(page, native) {
  const near = (ours, theirs, what) => assert.ok(Math.abs(ours - theirs) <= 1e-3 * Math.max(1, Math.abs(theirs)), `${what}: ${ours} is not ${theirs}`);
  assert.deepEqual(page.model, native.model);
  assert.deepEqual(page.scan.tokens, native.scan.tokens);
  for (const site of ['inputs', 'outputs', 'outputs_after']) {
    page.scan[site].forEach((spike, layer) => near(spike.value, native.scan[site][layer].value, `${site} of layer ${layer}`));
  }
  assert.deepEqual(page.scan.candidates.map(({ at }) => at), native.scan.candidates.map(({ at }) => at));
  assert.deepEqual(page.confirm.arms.map(({ label }) => label), native.confirm.arms.map(({ label }) => label));
  page.confirm.arms.forEach((arm, index) => near(arm.loss_nats, native.confirm.arms[index].loss_nats, arm.label));
}

test('bundled model is scanned, confirmed, pulled, run, shared, reopened and recomputed', async () => {
  const seen = await visit(browsers.cpu, server.url);

  // Before anything runs, the page shows its story, marked as recorded.
  assert.match(await text(seen, 'recorded'), /recorded/i);
  assert.ok((await text(seen, 'recorded-intact')).length > 100);
  assert.ok((await text(seen, 'recorded-ablated')).length > 100);

  // The bundled model loads automatically; the page shows its device and the reason.
  await modelIsReady(seen);
  assert.match(await text(seen, 'backend'), /cpu/);
  assert.match(await text(seen, 'backend'), /WebGPU/);

  // Find.
  await part(seen, 'scan-run').click();
  await part(seen, 'scan-results').waitFor();
  assert.match(await text(seen, 'candidate'), /2.*12.*86/s);

  // Prove.
  await part(seen, 'confirm-run').click();
  await part(seen, 'verdict').first().waitFor();
  assert.equal(await part(seen, 'verdict').first().getAttribute('data-confirmed'), 'true');

  // Pull.
  await part(seen, 'candidate-pull').first().click();
  await part(seen, 'applied').filter({ hasText: 'in place' }).waitFor();
  assert.match(await text(seen, 'applied'), /in [\d.]+ ms/);
  await generate(seen, 40);
  await part(seen, 'evaluate').click();
  await part(seen, 'perplexity-ablated').filter({ hasText: '×' }).waitFor();
  const times = Number(/×([\d.]+)/.exec(await text(seen, 'perplexity-ablated'))[1]);
  assert.ok(times > 5, `perplexity rose by ${times} only`);
  assert.match(await text(seen, 'first-difference'), /differ from new token/);
  const ablated = await text(seen, 'pane-ablated');
  assert.notEqual(ablated, await text(seen, 'pane-intact'));

  await seen.screenshot('story-desktop-light');
  assert.deepEqual(await seen.barriers(), []);

  // The command computes the same numbers.
  const download = seen.page.waitForEvent('download');
  await part(seen, 'export-json').click();
  const exported = JSON.parse(readFileSync(await (await download).path(), 'utf8'));
  assertSameNumbers(exported, command('scan', '--confirm', '--prompt', exported.scan.prompt));

  // Share.
  await part(seen, 'share-copy').click();
  const link = await part(seen, 'share-link').inputValue();
  assert.ok(link.startsWith(server.url) && link.includes('#run=1.'), link);
  assert.deepEqual(seen.problems, []);
  await seen.close();

  // Reopen: nothing is downloaded or run until the reader presses.
  const reader = await visit(browsers.cpu, link, { theme: 'dark' });
  await part(reader, 'link-contents').waitFor();
  assert.deepEqual(await reader.downloads(), []);
  await part(reader, 'link-restore').click();
  await part(reader, 'link-recompute').waitFor();
  assert.equal(await part(reader, 'edit').count(), 1);
  await part(reader, 'link-recompute').click();
  await part(reader, 'link-verdict').waitFor();
  assert.equal(await part(reader, 'link-verdict').getAttribute('data-same'), 'true');
  assert.equal(await text(reader, 'pane-ablated'), ablated);
  await reader.screenshot('story-link-dark');
  assert.deepEqual(reader.problems, []);
  await reader.close();
});

test('twin has the same spike, no super weight and a critical channel', async () => {
  const seen = await visit(browsers.cpu, server.url, { width: 360, height: 780 });
  await modelIsReady(seen);
  await part(seen, 'model-select').selectOption('linchpin-11m-twin');
  await part(seen, 'model-load').click();
  await part(seen, 'model-facts').filter({ hasText: '16 layers' }).waitFor();
  await part(seen, 'scan-run').click();
  await part(seen, 'scan-results').waitFor();
  await part(seen, 'confirm-run').click();
  await part(seen, 'verdict').first().waitFor();
  assert.equal(await part(seen, 'verdict').first().getAttribute('data-confirmed'), 'false');
  assert.match(await text(seen, 'verdicts'), /whole channel is critical/);
  await seen.screenshot('twin-phone-light');
  assert.equal(await seen.overflowPx(), 0);
  assert.deepEqual(seen.problems, []);
  await seen.close();
});

test('visitor\'s own model is scanned, pulled, run, shared and recomputed on WebGPU', async () => {
  const seen = await visit(browsers.gpu, server.url, { theme: 'dark' });
  // The bundled model runs on the CPU, because this browser's only GPU is software.
  await modelIsReady(seen);
  assert.match(await text(seen, 'backend'), /cpu.*software/s);
  await part(seen, 'backend-choice').selectOption('gpu');
  await openFixtureWhenIdle(seen, 'llama');
  await part(seen, 'model-facts').filter({ hasText: '3 layers' }).waitFor();
  assert.match(await text(seen, 'backend'), /webgpu/);
  await part(seen, 'scan-prompt').fill('the old man');
  await part(seen, 'scan-run').click();
  await part(seen, 'candidate').first().waitFor();
  assert.match(await text(seen, 'candidate'), /1.*5.*17/s);
  await part(seen, 'candidate-pull').first().click();
  await part(seen, 'applied').filter({ hasText: 'in place' }).waitFor();
  await part(seen, 'prompt').fill('the old man');
  await generate(seen, 8);
  await seen.screenshot('own-model-webgpu-dark');
  assert.deepEqual(await seen.barriers(), []);
  await part(seen, 'share-copy').click();
  const link = await part(seen, 'share-link').inputValue();
  assert.deepEqual(seen.problems, []);
  await seen.close();

  // The reader must open the same files; the page says so, and then restores the run.
  const reader = await visit(browsers.gpu, link);
  await part(reader, 'link-mismatch').waitFor();
  await part(reader, 'backend-choice').selectOption('gpu');
  await openFixtureWhenIdle(reader, 'llama');
  await part(reader, 'link-recompute').waitFor();
  await part(reader, 'link-recompute').click();
  await part(reader, 'link-verdict').waitFor();
  assert.equal(await part(reader, 'link-verdict').getAttribute('data-same'), 'true');
  assert.deepEqual(reader.problems, []);
  await reader.close();
});

/** Opens a fixture once the previous model is loaded. */
async function openFixtureWhenIdle(seen, name, change) {
  await unfold(seen.page.locator('details.own'));
  await part(seen, 'model-status').filter({ hasText: /ready|No model|Nothing is loaded/ }).waitFor();
  await openFixture(seen, name, change);
}

test('broken file is explained, and the page goes on', async () => {
  const seen = await visit(browsers.cpu, server.url);
  await modelIsReady(seen);
  await openFixtureWhenIdle(seen, 'llama', (file) =>
    file.name === 'model.safetensors' ? { ...file, buffer: file.buffer.subarray(0, 5000) } : file,
  );
  await part(seen, 'failure').waitFor();
  assert.match(await text(seen, 'failure'), /bytes/);
  await seen.screenshot('failure-desktop-light');
  assert.deepEqual(await seen.barriers(), []);
  await part(seen, 'failure-dismiss').click();
  // The previous model still works.
  await part(seen, 'scan-run').click();
  await part(seen, 'scan-results').waitFor();
  await seen.close();
});

test('killed engine can be restarted, and its results stay', async () => {
  const seen = await visit(browsers.cpu, server.url);
  await modelIsReady(seen);
  await part(seen, 'scan-run').click();
  await part(seen, 'scan-results').waitFor();
  const worker = seen.page.workers()[0];
  // The engine dies as if it were out of memory: by an uncaught error.
  await worker.evaluate(() => setTimeout(() => { throw new Error('out of memory'); }, 0)).catch(() => {});
  await part(seen, 'failure-restart').waitFor();
  assert.ok(await part(seen, 'scan-results').isVisible());
  await part(seen, 'failure-restart').click();
  await seen.page.waitForFunction(() => !document.querySelector('[data-testid="scan-run"]').disabled);
  // Another text has another number of tokens.
  const before = await text(seen, 'scan-tokens');
  await part(seen, 'scan-prompt').fill('the old man');
  await part(seen, 'scan-run').click();
  await part(seen, 'scan-tokens').filter({ hasNotText: before }).waitFor();
  assert.equal(await part(seen, 'failure').count(), 0);
  await seen.close();
});

test('engine that ends without an error is noticed within seconds, idle or at work, and what was measured stays', async () => {
  const seen = await visit(browsers.cpu, server.url);
  await modelIsReady(seen);
  await part(seen, 'scan-run').click();
  await part(seen, 'scan-results').waitFor();
  for (const isAtWork of [false, true]) {
    if (isAtWork) {
      await part(seen, 'generate').click();
      await seen.page.waitForFunction(() => !document.querySelector('[data-testid="stop"]').disabled);
    }
    // The worker ends as if the browser had taken its memory: nobody is told.
    await seen.page.workers()[0].evaluate(() => self.close()).catch(() => {});
    await part(seen, 'failure-restart').waitFor({ timeout: 10_000 });
    assert.match(await text(seen, 'failure'), /ended without an error/);
    assert.ok(await part(seen, 'scan-results').isVisible());
    await part(seen, 'failure-restart').click();
    await seen.page.waitForFunction(() => !document.querySelector('[data-testid="scan-run"]').disabled);
    // The end of the old worker is not taken for one of the new.
    await sleep(1500);
    assert.equal(await part(seen, 'failure').count(), 0);
  }
  await seen.close();
});

test('address holds one link: the panel of an earlier one goes', async () => {
  const seen = await visit(browsers.cpu, `${server.url}#run=1.e30`);
  await part(seen, 'link-panel').waitFor();
  await seen.page.evaluate(() => (location.hash = '#try=1.e30'));
  await part(seen, 'try-panel').waitFor();
  assert.equal(await part(seen, 'link-panel').count(), 0);
  await seen.page.evaluate(() => (location.hash = '#run=1.e30'));
  await part(seen, 'link-panel').waitFor();
  assert.equal(await part(seen, 'try-panel').count(), 0);
  // An anchor of the page is no link, and the panel stays.
  await seen.page.evaluate(() => (location.hash = '#scan'));
  await seen.quiet();
  assert.equal(await part(seen, 'link-panel').count(), 1);
  await seen.close();
});

test('hostile and old links are refused in words', async () => {
  for (const fragment of ['#run=1.!!!', '#run=+1.e30', '#run=99.e30', '#run=1.e30', `#run=1.${'A'.repeat(9000)}`]) {
    const seen = await visit(browsers.cpu, server.url + fragment);
    await part(seen, 'link-error').waitFor();
    assert.ok((await text(seen, 'link-error')).length > 20);
    await part(seen, 'link-dismiss').click();
    await modelIsReady(seen);
    await seen.close();
  }
});
