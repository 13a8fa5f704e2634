// Models from a server: the engine's worker in a real browser with a local Hub that fails in every possible way.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { OUTSIDER, TOKEN, startHub } from './hub.mjs';
import { close, closePages, launch, open, root } from './lib.mjs';
import { writeHuge } from './synthetic.mjs';
import { engineOn, last, start } from './worker.mjs';

const folder = path.join(root, 'public/models/linchpin-13m');
const llama = path.join(root, 'tests/fixtures/llama');
const WEIGHTS = 'model.safetensors';
const SIZE = statSync(path.join(folder, WEIGHTS)).size;
const SHA256 = /^[0-9a-f]{64}$/;
const MIB = 1 << 20;
/** The engine gives up a connection after this much silence; a stop must be obeyed sooner. */
const LOOKS_UP_MS = 20_000;

let server;
let browsers;
let hub;
let scratch;

before(async () => {
  ({ server, browsers } = await open());
  scratch = mkdtempSync(path.join(tmpdir(), 'linchpin-loading-'));
  const shards = path.join(root, 'tests/fixtures/mistral');
  hub = await startHub({
    models: {
      'org/model': { folder },
      'org/gated': { folder: llama, gated: 'manual' },
      'org/shards': { folder: shards },
      // It is never read to its end.
      'org/huge': { files: writeHuge(scratch), sha256: { [WEIGHTS]: '0'.repeat(64) } },
    },
    folders: { plain: { folder }, 'no-ranges': { folder, ranges: false } },
  });
});

after(async () => {
  await hub?.stop();
  await close({ server, browsers });
  rmSync(scratch, { recursive: true, force: true });
});

beforeEach(async () => {
  await hub.clear();
  await hub.forget();
});

afterEach(() => closePages(browsers));

/** A page requests a model by GET only; preflights are the browser's own. */
afterEach(async () => {
  const methods = new Set((await hub.requests()).map(({ method }) => method));
  assert.deepEqual([...methods].filter((method) => method !== 'GET' && method !== 'OPTIONS'), []);
});

const repository = (repo, more = {}) => ({ hub: { endpoint: hub.url, repo, revision: 'main', ...more } });

const request = (source, type = 'load', backend = 'cpu') => ({ type, id: 'model', source, backend });

function ask(seen, asked) {
  return seen.page.evaluate((asked) => window.engine.ask(asked), asked);
}

/** Sends a request, and stops it once this many bytes have arrived. */
function askAndStopAt(seen, asked, bytes) {
  return seen.page.evaluate(
    async ([asked, bytes]) => {
      const begunMs = performance.now();
      const done = window.engine.ask(asked);
      const watch = setInterval(() => {
        if (window.engine.latest?.type !== 'progress' || window.engine.latest.done < bytes) return;
        clearInterval(watch);
        window.engine.stop();
      }, 5);
      const events = await done;
      clearInterval(watch);
      return { events, begunMs };
    },
    [asked, bytes],
  );
}

const find = (events, type) => events.find((event) => event.type === type);

function expectLoaded(events) {
  assert.equal(last(events).type, 'done', JSON.stringify(last(events)));
  return find(events, 'loaded');
}

function expectFailed(events, problem, detail = /./) {
  assert.equal(last(events).type, 'failed', JSON.stringify(last(events)));
  assert.equal(last(events).problem, problem, JSON.stringify(last(events)));
  assert.match(last(events).detail, detail);
}

/** Bytes of the weights that were sent. */
const weightsSent = () => hub.bytesSent(WEIGHTS);

async function stored(seen) {
  return find(await ask(seen, { type: 'stored' }), 'stored').models;
}

test('model is fetched once, verified, and read from the store after that', async () => {
  const seen = await engineOn(browsers.cpu, server);
  const first = await ask(seen, request(repository('org/model')));
  const { provenance, model } = expectLoaded(first);
  const [file] = provenance.files;
  assert.match(file.sha256, SHA256);
  assert.deepEqual(
    { verified: file.verified, size: file.size, stored: provenance.stored, notes: provenance.notes ?? [] },
    { verified: true, size: SIZE, stored: true, notes: [] },
  );
  assert.equal(model.revision, file.sha256.slice(0, 16));
  assert.match(provenance.commit, /^[0-9a-f]{40}$/);
  assert.ok(await weightsSent() < SIZE + 100_000, `${await weightsSent()} bytes sent for ${SIZE}`);
  const ranges = (await hub.requests()).filter(({ file, range }) => file.endsWith(WEIGHTS) && range);
  assert.ok(ranges.length >= SIZE / (8 * MIB) && ranges.every(({ range }) => /^bytes=\d+-\d+$/.test(range)));

  const listed = await stored(seen);
  assert.equal(listed.length, 1);
  assert.ok(listed[0].bytes > SIZE && listed[0].bytes === listed[0].total, JSON.stringify(listed));
  assert.ok(listed[0].origin.endsWith('/org/model'));

  await hub.forget();
  const pinned = await ask(seen, request(repository('org/model', { revision: provenance.commit })));
  const again = expectLoaded(pinned);
  assert.deepEqual(await hub.requests(), [], 'a pinned model that is stored asks nobody');
  assert.deepEqual(again.provenance.files, provenance.files);

  // Without a network the newest stored revision is used.
  await hub.fail({ kind: 'drop', times: 1000 });
  const offline = expectLoaded(await ask(seen, request(repository('org/model'))));
  assert.match(offline.provenance.notes.join(), /stored here is used/);

  assert.equal(find(await ask(seen, { type: 'forget', key: listed[0].key }), 'stored').models.length, 0);
  expectFailed(await ask(seen, request(repository('org/model'))), 'server_silent');
  await seen.close();
});

/** Changes some bytes of the model's stored weights. */
function damage(seen, position) {
  return seen.page.evaluate(async ([name, position]) => {
    let folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('linchpin-models');
    for await (const entry of folder.values()) folder = entry;
    const writable = await (await folder.getFileHandle(name)).createWritable({ keepExistingData: true });
    await writable.write({ type: 'write', position, data: new Uint8Array([255, 255, 255, 255]) });
    await writable.close();
  }, [WEIGHTS, position]);
}

test('stored bytes that were damaged since are fetched again', async () => {
  const seen = await engineOn(browsers.cpu, server);
  expectLoaded(await ask(seen, request(repository('org/model'))));
  await damage(seen, 9 * MIB);
  await hub.forget();
  const { provenance } = expectLoaded(await ask(seen, request(repository('org/model'))));
  assert.ok(provenance.files[0].verified);
  const sent = await weightsSent();
  assert.ok(sent >= 8 * MIB && sent < 9 * MIB, `${sent} bytes`);

  // The replacement of damaged bytes is also compared with the published digest.
  await damage(seen, 20 * MIB);
  await hub.fail({ kind: 'flip', on: 'cdn', path: WEIGHTS, at: 21 * MIB, times: 1000 });
  expectFailed(await ask(seen, request(repository('org/model'))), 'file_corrupt');
  await hub.clear();
  assert.ok(expectLoaded(await ask(seen, request(repository('org/model')))).provenance.files[0].verified);
  await seen.close();
});

test('stored bytes that were damaged since are fetched again for a save, too', async () => {
  const seen = await engineOn(browsers.cpu, server);
  const source = repository('org/model');
  const ablation = { weight_edits: [{ unit: 'scalar', layer: 2, row: 12, col: 86, scale: 0 }] };
  const saved = async () => {
    const events = await ask(seen, { type: 'save', source, ablation });
    assert.equal(last(events).type, 'done', JSON.stringify(last(events)));
    return find(events, 'saved');
  };
  expectLoaded(await ask(seen, request(source)));
  const whole = await saved();
  await damage(seen, 9 * MIB);
  await hub.forget();
  const again = await saved();
  const sent = await weightsSent();
  assert.ok(sent >= 8 * MIB && sent < 9 * MIB, `${sent} bytes`);
  assert.deepEqual([again.base_revision, again.revision, again.tensors], [whole.base_revision, whole.revision, whole.tensors]);
  await seen.close();
});

test('folder whose files have changed since is not mixed with what is stored of it', async () => {
  const seen = await engineOn(browsers.cpu, server);
  const files = Object.fromEntries(readdirSync(llama).map((name) => [name, readFileSync(path.join(llama, name))]));
  const source = { folder: { url: `${hub.url}/folder/changing` } };
  const publish = async (content, date) => {
    await hub.clear();
    await hub.addFolder('changing', { files: content });
    await hub.fail({ kind: 'headers', on: 'folder', headers: { 'Last-Modified': date }, times: 1000 });
    await hub.forget();
  };
  await publish(files, 'Mon, 02 Nov 2026 08:00:00 GMT');
  const first = expectLoaded(await ask(seen, request(source)));
  await hub.forget();
  expectLoaded(await ask(seen, request(source)));
  // Without the header that gives other origins a range's size, the second request is for the whole file, and is aborted once it is answered.
  const asked = (await hub.requests()).filter(({ file }) => file.endsWith(WEIGHTS)).map(({ range }) => range);
  assert.deepEqual(asked, ['bytes=0-7', 'bytes=0-'], 'nothing has changed, and nothing is fetched');

  const retrained = Buffer.from(files[WEIGHTS]);
  retrained[retrained.length - 4] ^= 1;
  await publish({ ...files, [WEIGHTS]: retrained }, 'Tue, 03 Nov 2026 08:00:00 GMT');
  const second = expectLoaded(await ask(seen, request(source)));
  assert.notEqual(second.model.revision, first.model.revision);

  await hub.fail({ kind: 'drop', times: 1000 });
  const offline = expectLoaded(await ask(seen, request(source)));
  assert.equal(offline.model.revision, second.model.revision);
  assert.match(offline.provenance.notes.join(), /what is stored here is used/);
  await seen.close();
});

test('stop while the engine waits for a server lets go of the file', async () => {
  const seen = await engineOn(browsers.cpu, server);
  await hub.fail({ kind: 'status', on: 'cdn', path: WEIGHTS, status: 503, after: 4, times: 1000 });
  const { events } = await askAndStopAt(seen, request(repository('org/model')), 8 * MIB);
  assert.equal(last(events).type, 'stopped');
  await hub.clear();
  assert.ok(expectLoaded(await ask(seen, request(repository('org/model')))).provenance.stored);
  await seen.close();
});

for (const at of [1, 5 * MIB, 8 * MIB, Math.floor(SIZE * 0.99), SIZE - 1]) {
  test(`download whose connection breaks at byte ${at} goes on there`, async () => {
    const seen = await engineOn(browsers.cpu, server);
    await hub.fail({ kind: 'cut', on: 'cdn', path: WEIGHTS, at, afterMs: 300, times: 2 });
    const { provenance } = expectLoaded(await ask(seen, request(repository('org/model'))));
    assert.ok(provenance.files[0].verified);
    assert.ok((await hub.requests()).some(({ ended }) => ended === 'cut'));
    // When a connection breaks, a browser drops the bytes that it has not passed on yet: up to 1 MB each time.
    assert.ok(await weightsSent() < SIZE + 2.2 * MIB, `${await weightsSent()} bytes sent for ${SIZE}`);
    await seen.close();
  });
}

test('network that is gone at 99 % leaves the bytes that have come, also to the next visit', async () => {
  const seen = await engineOn(browsers.cpu, server);
  const at = Math.floor(SIZE * 0.99);
  await hub.fail({ kind: 'cut', on: 'cdn', path: WEIGHTS, at, afterMs: 500, times: 1000 });
  expectFailed(await ask(seen, request(repository('org/model'))), 'download_cut');
  const [part] = await stored(seen);
  assert.ok(part.bytes >= at && part.bytes < part.total, JSON.stringify(part));

  await seen.page.evaluate(() => window.engine.worker.terminate());
  await hub.clear();
  await hub.forget();
  await start(seen);
  const { provenance } = expectLoaded(await ask(seen, request(repository('org/model'))));
  assert.ok(provenance.files[0].verified && provenance.stored);
  assert.ok(await weightsSent() <= SIZE - at + 1000, `${await weightsSent()} of ${SIZE - at} bytes`);
  await seen.close();
});

test('stop is heard in the middle of a slab, and the next load goes on from there', async () => {
  const seen = await engineOn(browsers.cpu, server);
  // Three connections make 0.75 MiB/s: their slabs are complete after 32 seconds, and half of the file after 17.
  await hub.fail({ kind: 'slow', on: 'cdn', path: WEIGHTS, bytesPerSecond: MIB / 4, times: 1000 });
  const { events, begunMs } = await askAndStopAt(seen, request(repository('org/model')), 6 * MIB);
  assert.equal(last(events).type, 'stopped');
  const bytes = events.filter(({ type, unit }) => type === 'progress' && unit === 'bytes');
  assert.ok(bytes.length >= 3, 'progress is told while a slab is on its way');
  assert.ok(bytes.at(-1).done < SIZE / 2, `${bytes.at(-1).done} bytes came before the stop was heard`);
  // Counted from the request: a busy page may receive several updates at once, but none before it was sent.
  const seconds = (bytes.at(-1).atMs - begunMs) / 1000;
  assert.ok(bytes.length <= 10 * seconds + 1, `${bytes.length} updates in ${seconds} s`);
  assert.ok(bytes.every(({ total }) => total === SIZE));

  await hub.clear();
  await hub.forget();
  expectLoaded(await ask(seen, request(repository('org/model'))));
  assert.ok(await weightsSent() < SIZE - 5 * MIB, `${await weightsSent()} bytes were sent again`);
  await seen.close();
});

test('stop is heard while a server says nothing', async () => {
  const seen = await engineOn(browsers.cpu, server);
  for (const [asked, fault] of [['load', { on: 'api' }], ['load', { path: '/config.json' }], ['inspect', { path: WEIGHTS }]]) {
    await hub.clear();
    await hub.fail({ kind: 'silence', times: 1000, ...fault });
    await hub.forget();
    const answer = ask(seen, request(repository('org/model'), asked));
    while (!(await hub.requests()).some(({ ended }) => ended === 'silent')) await sleep(10);
    const stoppedAt = performance.now();
    await seen.page.evaluate(() => window.engine.stop());
    const events = await answer;
    const stopMs = performance.now() - stoppedAt;
    assert.equal(last(events).type, 'stopped');
    assert.ok(stopMs < LOOKS_UP_MS, `${stopMs} ms`);
    await ask(seen, { type: 'forget', key: null });
  }
  await seen.close();
});

test('server that asks to wait is asked again later', async () => {
  const seen = await engineOn(browsers.cpu, server);
  await hub.fail({ kind: 'status', on: 'cdn', path: WEIGHTS, status: 503, retryAfter: 1, after: 1, times: 1 });
  await hub.fail({ kind: 'status', on: 'resolve', path: '/config.json', status: 429, times: 1 });
  const events = await ask(seen, request(repository('org/model')));
  expectLoaded(events);
  await seen.close();
});

test('file that changes under way is not mixed', async () => {
  for (const fault of [{ kind: 'etag', after: 1, times: 1000 }, { kind: 'wrong-total', by: 1000, after: 1, times: 1000 }]) {
    const seen = await engineOn(browsers.cpu, server);
    await hub.clear();
    await hub.fail({ on: 'cdn', path: WEIGHTS, ...fault });
    expectFailed(await ask(seen, request(repository('org/model'))), 'file_changed');
    await hub.clear();
    expectLoaded(await ask(seen, request(repository('org/model'))));
    await seen.close();
  }
});

test('answers that are too short or too long do not matter', async () => {
  const seen = await engineOn(browsers.cpu, server);
  await hub.fail({ kind: 'short', on: 'cdn', path: WEIGHTS, bytes: 1000, after: 1, times: 1 });
  await hub.fail({ kind: 'long', on: 'cdn', path: WEIGHTS, bytes: 1000, after: 2, times: 1 });
  assert.ok(expectLoaded(await ask(seen, request(repository('org/model')))).provenance.files[0].verified);
  await seen.close();
});

test('answers that a page may not read or cannot use fail a load, and the next one succeeds', async () => {
  const seen = await engineOn(browsers.cpu, server);
  for (const [fault, problem, detail] of [
    [{ kind: 'no-cors', on: 'cdn', path: WEIGHTS }, 'server_silent', /model\.safetensors: no answer/],
    [{ kind: 'redirect-loop', on: 'resolve', path: '/config.json' }, 'server_silent', /\bconfig\.json: no answer/],
    [{ kind: 'wrong-start', on: 'cdn', path: WEIGHTS }, 'download_cut', /another part than was asked for/],
  ]) {
    await hub.clear();
    await hub.fail({ times: 1000, ...fault });
    expectFailed(await ask(seen, request(repository('org/model'))), problem, detail);
    await ask(seen, { type: 'forget', key: null });
  }
  await hub.clear();
  expectLoaded(await ask(seen, request(repository('org/model'))));
  await seen.close();
});

test('damaged bytes are found, and nothing of the file is kept', async () => {
  const seen = await engineOn(browsers.cpu, server);
  await hub.fail({ kind: 'flip', on: 'cdn', path: WEIGHTS, at: 20 * MIB, times: 1000 });
  expectFailed(await ask(seen, request(repository('org/model'))), 'file_corrupt', /SHA-256/);
  await hub.clear();
  await hub.forget();
  assert.ok(expectLoaded(await ask(seen, request(repository('org/model')))).provenance.files[0].verified);
  assert.ok(await weightsSent() >= SIZE, 'all of it is fetched again');
  await seen.close();
});

test('gated model wants a token, which is sent to its server only and is not repeated', async () => {
  const seen = await engineOn(browsers.cpu, server);
  expectFailed(await ask(seen, request(repository('org/gated'))), 'access_denied');
  expectFailed(await ask(seen, request(repository('org/gated', { token: OUTSIDER }))), 'access_denied');
  const events = await ask(seen, request(repository('org/gated', { token: TOKEN })));
  expectLoaded(events);
  assert.ok(!JSON.stringify(events).includes(TOKEN));
  assert.deepEqual((await hub.requests()).filter(({ on, authorization }) => on === 'cdn' && authorization), []);
  await seen.close();
});

test('servers without ranges, without a listing, and plain folders will do', async () => {
  const seen = await engineOn(browsers.cpu, server);
  await hub.fail({ kind: 'cut', on: 'folder', path: WEIGHTS, at: 12 * MIB, times: 1 });
  const plain = expectLoaded(await ask(seen, request({ folder: { url: `${hub.url}/folder/no-ranges` } })));
  assert.deepEqual([plain.provenance.files[0].verified, plain.provenance.stored], [false, true]);
  expectLoaded(await ask(seen, request({ folder: { url: `${hub.url}/folder/plain/` } })));

  await hub.fail({ kind: 'status', on: 'api', status: 500, times: 1000 });
  const unlisted = expectLoaded(await ask(seen, request(repository('org/model'))));
  assert.equal(unlisted.provenance.files[0].verified, false, 'nobody said what its digest should be');
  assert.match(unlisted.provenance.notes.join(), /did not list/);
  await seen.close();
});

test('shards are loaded by their index', async () => {
  const seen = await engineOn(browsers.cpu, server);
  const { provenance } = expectLoaded(await ask(seen, request(repository('org/shards'))));
  assert.equal(provenance.files.length, 2);
  assert.ok(provenance.files.every(({ verified }) => verified));
  await seen.close();
});

test('fit of a model is known without its weights', async () => {
  const seen = await engineOn(browsers.gpu, server);
  const fits = find(await ask(seen, request(repository('org/model'), 'inspect')), 'inspected');
  assert.deepEqual([fits.fits, fits.to_fetch, fits.file_bytes], [true, SIZE, SIZE]);
  assert.ok(await weightsSent() < 100_000, `${await weightsSent()} bytes`);
  assert.deepEqual(await stored(seen).then((models) => models.map(({ bytes }) => bytes < 100_000)), [true]);

  const events = await ask(seen, request(repository('org/huge'), 'load', 'gpu'));
  expectFailed(events, 'gpu_too_small', /largest buffer/);
  const huge = find(events, 'inspected');
  assert.equal(huge.fits, false);
  assert.ok(huge.checks.some(({ ok, needed, limit }) => !ok && needed === 2 ** 32 && limit < needed), JSON.stringify(huge.checks));
  expectFailed(await ask(seen, request(repository('org/huge'), 'load', 'cpu')), 'memory_too_small');
  assert.ok(await weightsSent() < 200_000, `${await weightsSent()} bytes`);
  await seen.close();
});

test('full disk keeps nothing and stops nobody', async () => {
  const seen = await engineOn(browsers.cpu, server);
  const cdp = await seen.page.context().newCDPSession(seen.page);
  const quota = (quotaSize) => cdp.send('Storage.overrideQuotaForOrigin', { origin: new URL(server.url).origin, quotaSize });
  await quota(4 * MIB);
  const { provenance } = expectLoaded(await ask(seen, request(repository('org/model'))));
  assert.equal(provenance.stored, false);
  assert.match(provenance.notes.join(), /the disk is full|not enough room/);
  assert.ok(provenance.files[0].verified);
  await seen.close();
});

test('browser that keeps nothing for a page loads all the same', async () => {
  // Over http and by another name than localhost a page gets no file storage; nor does a page in some private windows.
  browsers.elsewhere = await launch({ args: ['--host-resolver-rules=MAP class.test 127.0.0.1'] });
  const seen = await engineOn(browsers.elsewhere, { url: server.url.replace('127.0.0.1', 'class.test') });
  assert.equal(await seen.page.evaluate(() => navigator.storage?.getDirectory), undefined);
  const { provenance } = expectLoaded(await ask(seen, request(repository('org/model'))));
  assert.deepEqual([provenance.files[0].verified, provenance.stored], [true, false]);
  assert.match(provenance.notes.join(), /stores no files/);
  assert.deepEqual(await stored(seen), []);
  await seen.close();
});

test('addresses that no model can lie at are refused in words', async () => {
  const seen = await engineOn(browsers.cpu, server);
  const wrong = [
    { hub: { endpoint: 'javascript:alert(1)', repo: 'a/b', revision: 'main' } },
    { hub: { endpoint: hub.url, repo: '../../etc', revision: 'main' } },
    { hub: { endpoint: hub.url, repo: 'a/b', revision: 'main?x' } },
    { folder: { url: 'file:///etc' } },
  ];
  for (const source of wrong) expectFailed(await ask(seen, request(source)), 'no_address');
  expectFailed(await ask(seen, request(repository('org/nothing', { token: TOKEN }))), 'no_such_model');
  await hub.fail({ kind: 'html', on: 'resolve', path: '/config.json', times: 1000 });
  expectFailed(await ask(seen, request(repository('org/model'))), 'file_changed', /bytes instead of/);
  await seen.close();
});
