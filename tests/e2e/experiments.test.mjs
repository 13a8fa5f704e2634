// The super-weight paper's experiments on the page: measured, shown, saved, shared in a link and measured again.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { close, closePages, open, part, text, unfold, visit } from './lib.mjs';

let server;
let browsers;

before(async () => {
  ({ server, browsers } = await open());
});

afterEach(() => closePages(browsers));
after(() => close({ server, browsers }));

async function scanned(browser, address, options) {
  const seen = await visit(browser, address, options);
  await part(seen, 'backend').waitFor();
  await part(seen, 'scan-run').click();
  await part(seen, 'scan-results').waitFor();
  return seen;
}

/** Types a setting and leaves its field. */
async function put(seen, id, value) {
  await part(seen, id).fill(String(value));
  await part(seen, id).blur();
}

/** Chooses a kind and runs it to its end. */
async function measure(seen, kind, settings = {}) {
  await part(seen, `experiment-${kind}`).check();
  for (const [field, value] of Object.entries(settings)) await put(seen, `setting-${field}`, value);
  await part(seen, 'experiment-run').click();
  await seen.page.locator('[data-testid="experiment-link"]:not([disabled])').waitFor();
}

/** Few arms over little text. */
const SMALL = { factors: '0, 0.5, 1', block: 256, n_blocks: 2 };

async function downloaded(seen, id) {
  const [download] = await Promise.all([seen.page.waitForEvent('download'), part(seen, id).click()]);
  const chunks = [];
  for await (const chunk of await download.createReadStream()) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** A link with any JSON, as from a hostile author. */
const linkOf = (json) => `${server.url}#try=1.${Buffer.from(json).toString('base64url')}`;

/** The JSON of a link. */
const contentsOf = (link) => JSON.parse(Buffer.from(link.split('#try=2.')[1], 'base64url').toString());

test('scaling is set, stopped, measured, saved, shared and recomputed', async () => {
  const seen = await scanned(browsers.cpu, server.url);
  await part(seen, 'experiment-scaling').check();
  assert.match(await text(seen, 'experiment-named'), /layer 2, \[12, 86\]/);
  assert.match(await part(seen, 'setting-factors').inputValue(), /^0, 0\.1, 0\.2/);
  assert.equal(await part(seen, 'experiment-scan').count(), 0);
  assert.ok(await part(seen, 'experiment-run').isEnabled());

  // An impossible value is refused at its field.
  await put(seen, 'setting-factors', '0, much');
  await part(seen, 'experiment-error').filter({ hasText: '“much” is not a number' }).waitFor();
  assert.ok(await part(seen, 'experiment-run').isDisabled());
  await put(seen, 'setting-factors', '0, 4');
  await part(seen, 'experiment-error').filter({ hasText: 'is not a number from -3 to 3' }).waitFor();
  await part(seen, 'setting-factors-error').filter({ hasText: 'is not a number from -3 to 3' }).waitFor();

  // A stop keeps the partial result.
  await put(seen, 'setting-factors', Array.from({ length: 30 }, (_, i) => i / 10).join(', '));
  await put(seen, 'setting-block', 256);
  await part(seen, 'experiment-run').click();
  await part(seen, 'experiment-result').waitFor();
  // When a partial outcome arrives, folds, typed text and focus stay.
  const growing = part(seen, 'experiment-table-0');
  await growing.locator('summary').click();
  const rows = await growing.locator('tbody tr').count();
  await part(seen, 'setting-n_blocks').fill('7');
  await growing.locator('tbody tr').nth(rows).waitFor();
  assert.equal(await part(seen, 'setting-n_blocks').inputValue(), '7');
  assert.ok(await part(seen, 'setting-n_blocks').evaluate((field) => field === document.activeElement));
  await growing.locator('summary').focus();
  await growing.locator('tbody tr').nth(rows + 1).waitFor();
  assert.ok(await growing.locator('summary').evaluate((summary) => summary === document.activeElement));
  await part(seen, 'experiment-stop').click();
  await part(seen, 'experiment-status').filter({ hasText: 'Stopped early' }).waitFor();
  assert.ok(await part(seen, 'experiment-link').isDisabled());

  await measure(seen, 'scaling', SMALL);
  assert.match(await text(seen, 'experiment-findings'), /collapse/);
  assert.match(await text(seen, 'experiment-figures'), /loss at factor 0: /);
  assert.match(await text(seen, 'experiment-status'), /concat-/);
  assert.equal(await part(seen, 'experiment-plot-0').locator('svg').count(), 1);
  const details = part(seen, 'experiment-table-0');
  assert.equal(await details.locator('tbody tr').count(), 3);
  const csv = await downloaded(seen, 'experiment-table-0-csv');
  assert.match(csv, /^factor,loss,perplexity,/);
  assert.equal(csv.trim().split('\n').length, 4);
  const svg = await downloaded(seen, 'experiment-plot-0-svg');
  assert.ok(svg.startsWith('<svg') && !svg.includes('var('), 'a picture stands alone');

  await part(seen, 'experiment-link').click();
  const link = await part(seen, 'experiment-made').inputValue();
  const { e: experiment, h: headline } = contentsOf(link);
  assert.equal(experiment.kind, 'scaling');
  assert.deepEqual(experiment.factors, [0, 0.5, 1]);
  assert.ok(headline.length >= 2 && headline.length <= 16);
  assert.deepEqual(await seen.barriers(), []);
  await seen.screenshot('experiments-desktop-light');

  // The saved file has all of it.
  const saved = JSON.parse(await downloaded(seen, 'export-json'));
  const outcome = saved.outcomes.find(({ experiment: { kind } }) => kind === 'scaling');
  assert.equal(outcome.tables[0].rows.length, 3);
  assert.deepEqual(seen.problems, []);
  await seen.close();

  // Opening a link fills in the settings, and starts nothing.
  const reader = await visit(browsers.cpu, link, { theme: 'dark' });
  await part(reader, 'try-panel').waitFor();
  assert.match(await text(reader, 'try-contents'), /Scaling on linchpin-13m .*layer 2, \[12, 86\].*0, 0\.5, 1/);
  assert.ok(await part(reader, 'experiment-scaling').isChecked());
  assert.equal(await part(reader, 'setting-n_blocks').inputValue(), '2');
  assert.ok(await part(reader, 'experiment-recompute').isDisabled());
  assert.deepEqual(await reader.downloads(), []);
  assert.equal(await part(reader, 'backend').count(), 0, 'no model is loaded');
  await part(reader, 'experiment-load').click();
  await part(reader, 'backend').waitFor();
  await part(reader, 'experiment-recompute').click();
  await reader.page.locator('[data-testid="try-figure"][data-agrees="agrees"]').first().waitFor();
  assert.equal(await reader.page.locator('[data-testid="try-figure"]:not([data-agrees="agrees"])').count(), 0);
  assert.equal(await part(reader, 'try-note').count(), 0);
  assert.deepEqual(await reader.barriers(), []);
  await reader.screenshot('experiments-link-dark');
  assert.deepEqual(reader.problems, []);
  await reader.close();

  // Forged figures and other weights are reported.
  const forged = contentsOf(link);
  forged.h[0].value += 1;
  forged.r = 'ffffffffffffffff';
  const doubter = await visit(browsers.cpu, linkOf(JSON.stringify(forged)));
  await part(doubter, 'experiment-load').click();
  await part(doubter, 'backend').waitFor();
  await part(doubter, 'try-note').filter({ hasText: 'another model' }).waitFor();
  await part(doubter, 'experiment-recompute').click();
  await doubter.page.locator('[data-testid="try-figure"][data-agrees="differs"]').waitFor();
  assert.deepEqual(doubter.problems, []);
  await doubter.close();
});

test('weights-only search and attention sinks fit on a phone', async () => {
  const seen = await scanned(browsers.cpu, server.url, { width: 360, height: 780 });
  assert.match(await text(seen, 'cold-candidates'), /layer 2, \[12, 86\].*one of them/s);
  await measure(seen, 'weights_only');
  assert.match(await text(seen, 'experiment-findings'), /weights alone/);
  await measure(seen, 'sinks');
  assert.ok((await seen.page.locator('[data-testid^="experiment-plot-"] svg').count()) >= 2);
  // Earlier results are still there.
  await part(seen, 'experiment-weights_only').check();
  assert.match(await text(seen, 'experiment-findings'), /weights alone/);
  assert.equal(await seen.overflowPx(), 0);
  assert.deepEqual(await seen.barriers(), []);
  await seen.screenshot('experiments-phone-light');
  const saved = JSON.parse(await downloaded(seen, 'export-json'));
  assert.deepEqual(saved.outcomes.map(({ experiment: { kind } }) => kind).sort(), ['sinks', 'weights_only']);
  assert.deepEqual(seen.problems, []);
  await seen.close();
});

test('visitor\'s own text is used, and whoever opens its link needs it', async () => {
  // Markup in a file's name is always shown as text.
  const name = '<img src=x onerror="document.title=1">mine.txt';
  const seen = await scanned(browsers.cpu, server.url);
  await part(seen, 'experiment-scaling').check();
  await unfold(part(seen, 'experiment-text-fold'));
  const words = Array.from({ length: 900 }, (_, i) => ['the', 'old', 'man', 'and', 'sea'][(i * i) % 5]).join(' ');
  const file = { name, mimeType: 'text/plain', buffer: Buffer.from(words) };
  await part(seen, 'experiment-text').setInputFiles(file);
  await seen.page.getByText(`Text: ${name}`).waitFor();
  await measure(seen, 'scaling', { factors: '0, 1', block: 128, n_blocks: 1 });
  assert.match(await text(seen, 'experiment-status'), /<img.*mine\.txt/);
  assert.equal(await seen.page.locator('img').count(), 0);
  await part(seen, 'experiment-link').click();
  const link = await part(seen, 'experiment-made').inputValue();
  assert.ok(!Buffer.from(link.split('#try=2.')[1], 'base64url').toString().includes(words.slice(0, 40)));
  assert.deepEqual(seen.problems, []);
  await seen.close();

  const reader = await visit(browsers.cpu, link);
  assert.match(await text(reader, 'try-needs'), /mine\.txt \(digest [0-9a-f]{16}\)/);
  await part(reader, 'experiment-load').click();
  await part(reader, 'backend').waitFor();
  // The engine refuses to measure on another text instead.
  await part(reader, 'experiment-recompute').click();
  await part(reader, 'failure').filter({ hasText: 'mine.txt' }).waitFor();
  await part(reader, 'failure-dismiss').click();
  await unfold(part(reader, 'experiment-text-fold'));
  await part(reader, 'experiment-text').setInputFiles(file);
  await reader.page.getByText(`Text: ${name}`).waitFor();
  await part(reader, 'experiment-recompute').click();
  await reader.page.locator('[data-testid="try-figure"][data-agrees="agrees"]').first().waitFor();
  assert.equal(await reader.page.locator('img').count(), 0);
  await reader.close();
});

test('hostile links are refused in words, and run nothing', async () => {
  const experiment = { kind: 'scaling', factors: [0, 1], seed: 1 };
  const wire = (over) => JSON.stringify({ m: 'linchpin-13m', r: '0123456789abcdef', e: experiment, h: [], ...over });
  const refused = [
    `${server.url}#try=2.e30`,
    `${server.url}#try=1.***`,
    linkOf('['.repeat(5000)),
    linkOf(wire({ m: 'https://example.org/m' })),
    linkOf(wire({ e: { ...experiment, kind: 'everything' } })),
    linkOf(wire({ e: { ...experiment, factors: Array(65).fill(1) } })),
    linkOf(wire({ e: { ...experiment, super_weights: Array(65).fill({ layer: 0, row: 0, col: 0 }) } })),
    linkOf(wire({ h: Array(17).fill({ name: 'a', value: 1 }) })),
    linkOf(wire({ h: [{ name: 'a', value: null }] })),
    linkOf(wire({ e: { ...experiment, text: { name: 'a', digest: 'x' } } })),
  ];
  for (const link of refused) {
    const seen = await visit(browsers.cpu, link);
    await part(seen, 'try-error').waitFor();
    assert.equal(await part(seen, 'experiment-recompute').count(), 0, link);
    assert.deepEqual(seen.problems, []);
    await seen.close();
  }
  // Markup in a link is shown as text.
  const name = '<img src=x onerror="document.title=1">';
  const seen = await visit(browsers.cpu, linkOf(wire({ h: [{ name, value: 1 }], e: { kind: 'sinks', prompt: name, seed: 1 } })));
  await part(seen, 'try-figure').waitFor();
  assert.match(await text(seen, 'try-figure'), /<img src=x/);
  assert.equal(await seen.page.locator('img').count(), 0);
  await part(seen, 'experiment-close').click();
  await part(seen, 'backend').waitFor();
  assert.equal(await part(seen, 'try-panel').count(), 0);
  assert.deepEqual(seen.problems, []);
  await seen.close();
});
