// The edited model, saved by the page: the same bytes as the native command's.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { close, closePages, command, open, part, root, text, visit } from './lib.mjs';

let server;
let browsers;

before(async () => {
  ({ server, browsers } = await open());
});

afterEach(() => closePages(browsers));
after(() => close({ server, browsers }));

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** The bytes that a click downloads. */
async function downloaded(seen, locator) {
  const [download] = await Promise.all([seen.page.waitForEvent('download'), locator.click()]);
  const chunks = [];
  for await (const chunk of await download.createReadStream()) chunks.push(chunk);
  return { name: download.suggestedFilename(), bytes: Buffer.concat(chunks) };
}

test('edited model is saved as downloads with the bytes of the native command', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'linchpin-save-'));
  try {
    const native = command('save', '--scalar', '2,12,86', '--out', path.join(folder, 'out')).saved;
    const seen = await visit(browsers.cpu, server.url);
    await part(seen, 'backend').waitFor();
    assert.ok(await part(seen, 'save-model').isDisabled(), 'there is no edit yet');
    await part(seen, 'scan-run').click();
    await part(seen, 'candidate-pull').first().click();
    await part(seen, 'applied').filter({ hasText: 'in place' }).waitFor();

    // Not every layer loses a channel, so nothing can be cut; the page says so and goes on.
    await part(seen, 'save-cut').check();
    await part(seen, 'save-model').click();
    await part(seen, 'failure').filter({ hasText: 'Nothing can be cut out' }).waitFor();
    await part(seen, 'failure-dismiss').click();
    await part(seen, 'save-cut').uncheck();

    await part(seen, 'save-model').click();
    await part(seen, 'saved-file').waitFor();
    assert.equal(await part(seen, 'saved-file').count(), 1, 'only the weights have changed');
    const weights = await downloaded(seen, part(seen, 'saved-file'));
    const [its] = native.files.filter((file) => file.name === 'model.safetensors');
    assert.deepEqual([weights.name, sha256(weights.bytes)], ['model.safetensors', its.sha256]);
    const card = await downloaded(seen, part(seen, 'saved-text').nth(0));
    assert.match(card.bytes.toString(), /`--scalar 2,12,86=0`/);
    const sums = await downloaded(seen, part(seen, 'saved-text').nth(1));
    const listed = Object.fromEntries(sums.bytes.toString().trim().split('\n').map((line) => line.split('  ').reverse()));
    const original = (name) => sha256(readFileSync(path.join(root, 'public/models/linchpin-13m', name)));
    assert.deepEqual([card.name, sums.name], ['README.md', 'SHA256SUMS']);
    assert.equal(listed['README.md'], sha256(card.bytes));
    assert.equal(listed['model.safetensors'], its.sha256);
    for (const name of ['config.json', 'tokenizer.json', 'generation_config.json']) assert.equal(listed[name], original(name), name);
    assert.match(await text(seen, 'saved-take'), /config\.json, .*tokenizer\.json/);
    assert.deepEqual(await seen.barriers(), []);
    assert.deepEqual(seen.problems, []);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
