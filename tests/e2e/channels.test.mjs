// Channels: scored, inspected, removed by rules, compared, and shared in a link.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { close, closePages, command, commandOn, open, part, root, text, unfold, visit } from './lib.mjs';

let server;
let browsers;

before(async () => {
  ({ server, browsers } = await open());
});

afterEach(() => closePages(browsers));
after(() => close({ server, browsers }));

const SEQUENCES = 4;
const LENGTH = 64;

async function ready(browser, address, options) {
  const seen = await visit(browser, address, options);
  await part(seen, 'backend').waitFor();
  return seen;
}

/** Types a number and leaves its field. */
async function put(seen, id, value) {
  await part(seen, id).fill(String(value));
  await part(seen, id).blur();
}

async function score(seen, sequences = SEQUENCES) {
  await put(seen, 'score-sequences', sequences);
  await put(seen, 'score-length', LENGTH);
  await part(seen, 'score-run').click();
  await part(seen, 'score-findings').waitFor();
}

async function write(seen, nTokens) {
  await unfold(seen.page.locator('details.more').first());
  await put(seen, 'max-tokens', nTokens);
  await part(seen, 'generate').click();
  await part(seen, 'speed-ablated').filter({ hasNotText: '–' }).waitFor();
  await part(seen, 'perplexity-ablated').filter({ hasText: '×' }).waitFor();
}

/** The document saved by "Save JSON". */
async function saved(seen) {
  const [download] = await Promise.all([seen.page.waitForEvent('download'), part(seen, 'export-json').click()]);
  const chunks = [];
  for await (const chunk of await download.createReadStream()) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString());
}

test('channels are weighed, looked around, removed, shared and recomputed', async () => {
  const seen = await ready(browsers.cpu, server.url);
  await part(seen, 'scan-run').click();
  await part(seen, 'scan-results').waitFor();
  await score(seen);
  assert.match(await text(seen, 'score-status'), /4 sequences, 256 tokens: calibration excerpts 1, cut into sequences of 64 tokens/);
  const findings = await text(seen, 'score-findings');
  assert.match(findings, /top 1 % of a layer's channels hold \d+ %/);
  assert.match(findings, /layer 2, \[12, 86\] is in channel 86, number 1 of its layer by loss proxy.*a supernode/s);
  for (const chart of ['lp-share', 'lp-mass', 'lp-agreement']) await part(seen, chart).waitFor();
  // The most concentrated layer is described at first.
  await part(seen, 'lp-share-readout').filter({ hasText: /layer 2: \d+ % in 4 of 448 channels: 86/ }).waitFor();
  // Arrow keys move over the layers, and the core's channels are named.
  await part(seen, 'lp-share').press('Home');
  await part(seen, 'lp-share').press('ArrowRight');
  await part(seen, 'lp-share').press('ArrowRight');
  assert.match(await text(seen, 'lp-share-readout'), /layer 2: \d+ % in 4 of 448 channels: 86/);
  await part(seen, 'score-rho').selectOption('3');
  assert.match(await text(seen, 'score-findings'), /top 5 %/);
  await part(seen, 'score-rho').selectOption('1');
  await part(seen, 'score-layer').selectOption('2');

  // A number out of its range is told at its field, and nothing is sent.
  await part(seen, 'halo-eta').fill('101');
  await part(seen, 'halo-eta-error').filter({ hasText: 'at most 100 percent' }).waitFor();
  assert.ok(await part(seen, 'halo-run').isDisabled());
  await part(seen, 'halo-eta').fill('');
  await put(seen, 'score-sequences', 0);
  await part(seen, 'score-sequences-error').filter({ hasText: 'from 1 to 100000; 0 is not' }).waitFor();
  await put(seen, 'score-sequences', SEQUENCES);
  assert.equal(await text(seen, 'score-sequences-error'), '');

  // The halo.
  await part(seen, 'halo-redundancy').check();
  await part(seen, 'halo-run').click();
  await part(seen, 'halo-line').filter({ hasText: 'Layer 2' }).waitFor();
  assert.match(await text(seen, 'halo-line'), /4 in the core, 44 in the halo.*16 of 256 residual channels.*Redundancy/s);
  await part(seen, 'halo-plane').waitFor();

  // Without the core, the text falls apart.
  await part(seen, 'prune-switch').check();
  await part(seen, 'prune-status').filter({ hasText: '80 channels are removed' }).waitFor();
  await write(seen, 24);
  assert.match(await text(seen, 'first-difference'), /differ from new token/);
  const times = Number(/×([\d.]+)/.exec(await text(seen, 'perplexity-ablated'))[1]);
  assert.ok(times > 3, `perplexity rose by ${times} only`);
  await seen.screenshot('channels-desktop-light');
  assert.deepEqual(await seen.barriers(), []);

  // The command picks the same channels, and measures the same figures.
  const page = await saved(seen);
  const native = command('prune', '--group', 'core', '--sequences', String(SEQUENCES), '--length', String(LENGTH));
  assert.equal(page.pruned.digest, native.pruned.digest);
  const ablated = ({ evaluations }) => evaluations.find(([pane]) => pane === 'ablated')[1].loss_nats;
  assert.ok(Math.abs(ablated(page) - ablated(native)) < 1e-3, `${ablated(page)} is not ${ablated(native)}`);
  assert.equal(page.scores.channels.length, 20);
  assert.equal(page.surroundings.layers[0].halo.length, 44);
  assert.equal(page.run.pruned.digest, page.pruned.digest);

  // A link has the rule; opening it scores the channels again.
  await part(seen, 'share-copy').click();
  const link = await part(seen, 'share-link').inputValue();
  assert.match(link, /#run=2\./);
  assert.deepEqual(seen.problems, []);
  await seen.close();

  const reader = await visit(browsers.cpu, link, { theme: 'dark' });
  assert.match(await text(reader, 'link-contents'), /the supernodes/);
  await part(reader, 'link-restore').click();
  await part(reader, 'link-recompute').waitFor();
  await part(reader, 'link-recompute').click();
  await part(reader, 'link-verdict').waitFor();
  assert.equal(await part(reader, 'link-verdict').getAttribute('data-same'), 'true');
  assert.ok(await part(reader, 'prune-switch').isChecked());
  await reader.screenshot('channels-link-dark');
  assert.deepEqual(await reader.barriers(), []);
  assert.deepEqual(reader.problems, []);
  await reader.close();
});

test('stopped scoring keeps its sequences and goes on; a visitor\'s own text is scored', async () => {
  const seen = await ready(browsers.cpu, server.url);
  await put(seen, 'score-sequences', 200);
  await put(seen, 'score-length', LENGTH);
  await part(seen, 'score-run').click();
  await part(seen, 'score-status').filter({ hasText: /([2-9]|\d\d+) of 200 sequences/ }).waitFor();
  // Charts stay while more results arrive.
  await part(seen, 'lp-share').waitFor();
  await part(seen, 'score-stop').click();
  await part(seen, 'score-resume').waitFor();
  const done = Number(/over (\d+) of 200/.exec(await text(seen, 'score-status'))[1]);
  await put(seen, 'score-sequences', done + 2);
  await part(seen, 'score-resume').click();
  await part(seen, 'score-status').filter({ hasText: `${done + 2} sequences, ${(done + 2) * LENGTH} tokens` }).waitFor();

  await unfold(seen.page.locator('details.fold').first());
  const words = Array.from({ length: 600 }, (_, i) => ['the', 'old', 'man', 'and', 'sea'][(i * i) % 5]).join(' ');
  await part(seen, 'score-text').setInputFiles({ name: 'mine.txt', mimeType: 'text/plain', buffer: Buffer.from(words) });
  await seen.page.getByText('Text: mine.txt').waitFor();
  await put(seen, 'score-sequences', 2);
  await part(seen, 'score-run').click();
  await part(seen, 'score-status').filter({ hasText: 'mine.txt' }).waitFor();
  await part(seen, 'score-text').setInputFiles({ name: 'empty.txt', mimeType: 'text/plain', buffer: Buffer.from('  \n') });
  await part(seen, 'score-text-error').filter({ hasText: 'empty.txt is empty' }).waitFor();
  assert.deepEqual(seen.problems, []);
  await seen.close();
});

test('comparison of rules can be stopped and goes on from there', async () => {
  const seen = await ready(browsers.cpu, server.url, { width: 390, height: 800 });
  await score(seen, 2);
  await part(seen, 'compare-removal').click();
  await part(seen, 'compare-removal').filter({ hasText: /\(([3-9]|\d\d) of 63\)/ }).waitFor();
  await part(seen, 'compare-stop').click();
  await part(seen, 'removal-chart').waitFor();
  await seen.page.waitForFunction(() => !document.querySelector('[data-testid="compare-removal"]').disabled);
  const known = Number(/\((\d+) of/.exec(await text(seen, 'compare-removal'))[1]);
  await part(seen, 'compare-removal').click();
  // Several may arrive between two checks.
  await seen.page.waitForFunction((known) => {
    const [, n] = /\((\d+) of 63\)/.exec(document.querySelector('[data-testid="compare-removal"]').textContent) ?? [];
    return Number(n) > known;
  }, known);
  await part(seen, 'compare-stop').click();
  await seen.page.waitForFunction(() => !document.querySelector('[data-testid="deletions-run"]').disabled);

  await put(seen, 'deletions-per-layer', 1);
  await part(seen, 'deletions-run').click();
  await part(seen, 'deletions-line').filter({ hasText: 'Over 20 removals' }).waitFor();
  await part(seen, 'deletions-chart').waitFor();
  await seen.screenshot('channels-phone-light');
  assert.equal(await seen.overflowPx(), 0);
  assert.deepEqual(await seen.barriers(), []);
  assert.deepEqual(seen.problems, []);
  await seen.close();
});

test('channels are weighed and removed on WebGPU as the command does it', async () => {
  const seen = await ready(browsers.gpu, server.url);
  await part(seen, 'backend-choice').selectOption('gpu');
  await unfold(seen.page.locator('details.own'));
  const folder = path.join(root, 'tests/fixtures/llama');
  const files = ['config.json', 'tokenizer.json', 'model.safetensors'];
  await part(seen, 'open-files').setInputFiles(files.map((name) => path.join(folder, name)));
  await part(seen, 'model-facts').filter({ hasText: '3 layers' }).waitFor();
  assert.match(await text(seen, 'backend'), /webgpu/);
  await score(seen, 1);
  await part(seen, 'prune-pick').selectOption('halo');
  await part(seen, 'prune-layer').selectOption('1');
  await part(seen, 'prune-switch').check();
  await part(seen, 'prune-status').filter({ hasText: '6 channels are removed' }).waitFor();
  const native = commandOn(folder, 'prune', '--group', 'halo', '--layer', '1', '--sequences', '1', '--length', String(LENGTH));
  assert.match(await text(seen, 'prune-status'), new RegExp(native.pruned.digest));
  assert.deepEqual(seen.problems, []);
  await seen.close();
});
