// Models from a server: the engine's worker in a real browser against a local Hub that fails in every way there is.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { OUTSIDER, TOKEN, startHub } from './hub.mjs';
import { close, launch, open, root } from './lib.mjs';
import { writeHuge } from './synthetic.mjs';
import { engineOn, last, start } from './worker.mjs';

const folder = path.join(root, 'public/models/linchpin-13m');
const llama = path.join(root, 'tests/fixtures/llama');
const WEIGHTS = 'model.safetensors';
const SIZE = statSync(path.join(folder, WEIGHTS)).size;
const SHA256 = /^[0-9a-f]{64}$/;
const MIB = 1 << 20;

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
      // Nobody reads it to its end.
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

beforeEach(() => {
  hub.clear();
  hub.requests.length = 0;
});

const repository = (repo, more = {}) => ({ hub: { endpoint: hub.url, repo, revision: 'main', ...more } });

const request = (source, type = 'load', backend = 'cpu') => ({ type, id: 'model', source, backend });

function ask(seen, asked) {
  return seen.page.evaluate((asked) => window.engine.ask(asked), asked);
}

/** Asks, and has it stopped once so many bytes have arrived. */
function askAndStopAt(seen, asked, bytes) {
  return seen.page.evaluate(
    async ([asked, bytes]) => {
      const begunMs = performance.now();
      const done = window.engine.ask(asked);
      let stoppedAt;
      const watch = setInterval(() => {
        if (window.engine.latest?.type !== 'progress' || window.engine.latest.done < bytes || stoppedAt) return;
        stoppedAt = performance.now();
        window.engine.stop();
      }, 5);
      const events = await done;
      clearInterval(watch);
      return { events, begunMs, stopMs: performance.now() - stoppedAt };
    },
    [asked, bytes],
  );
}

const find = (events, type) => events.find((event) => event.type === type);

function expectLoaded(events) {
  assert.equal(last(events).type, 'done', JSON.stringify(last(events)));
  return find(events, 'loaded');
}

function expectFailed(events, kind, words) {
  assert.equal(last(events).type, 'failed', JSON.stringify(last(events)));
  assert.equal(last(events).kind, kind, JSON.stringify(last(events)));
  assert.match(`${last(events).what}; ${last(events).why}`, words);
}

/** Bytes of the weights that went out. */
const weightsSent = () => hub.requests.filter(({ file }) => file.endsWith(WEIGHTS)).reduce((sum, { bytesSent }) => sum + bytesSent, 0);

/** A model is on its way only when it is asked for by GET; a preflight is the browser's own. */
function expectOnlyGets() {
  const others = hub.requests.filter(({ method }) => method !== 'GET' && method !== 'OPTIONS');
  assert.deepEqual(others, []);
}

async function stored(seen) {
  return find(await ask(seen, { type: 'stored' }), 'stored').models;
}

test('a model is fetched once, verified, and read from the store after that', async () => {
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
  assert.ok(weightsSent() < SIZE + 100_000, `${weightsSent()} bytes sent for ${SIZE}`);
  const ranges = hub.requests.filter(({ file, range }) => file.endsWith(WEIGHTS) && range);
  assert.ok(ranges.length >= SIZE / (8 * MIB) && ranges.every(({ range }) => /^bytes=\d+-\d+$/.test(range)));
  expectOnlyGets();

  const listed = await stored(seen);
  assert.equal(listed.length, 1);
  assert.ok(listed[0].bytes > SIZE && listed[0].bytes === listed[0].total, JSON.stringify(listed));
  assert.ok(listed[0].origin.endsWith('/org/model'));

  hub.requests.length = 0;
  const pinned = await ask(seen, request(repository('org/model', { revision: provenance.commit })));
  const again = expectLoaded(pinned);
  assert.deepEqual(hub.requests, [], 'a pinned model that is stored asks nobody');
  assert.deepEqual(again.provenance.files, provenance.files);

  // Without a network the newest revision is the one that is there.
  hub.fail({ kind: 'drop', path: /./, times: 1000 });
  const offline = expectLoaded(await ask(seen, request(repository('org/model'))));
  assert.match(offline.provenance.notes.join(), /stored here is used/);

  assert.equal(find(await ask(seen, { type: 'forget', key: listed[0].key }), 'stored').models.length, 0);
  expectFailed(await ask(seen, request(repository('org/model'))), 'transport', /does not answer/);
  await seen.close();
});

/** Changes some bytes of the one model's stored weights. */
function damage(seen, position) {
  return seen.page.evaluate(async ([name, position]) => {
    let folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('linchpin-models');
    for await (const entry of folder.values()) folder = entry;
    const writable = await (await folder.getFileHandle(name)).createWritable({ keepExistingData: true });
    await writable.write({ type: 'write', position, data: new Uint8Array([255, 255, 255, 255]) });
    await writable.close();
  }, [WEIGHTS, position]);
}

test('what is stored and was damaged since is fetched again', async () => {
  const seen = await engineOn(browsers.cpu, server);
  expectLoaded(await ask(seen, request(repository('org/model'))));
  await damage(seen, 9 * MIB);
  hub.requests.length = 0;
  const { provenance } = expectLoaded(await ask(seen, request(repository('org/model'))));
  assert.ok(provenance.files[0].verified);
  assert.ok(weightsSent() >= 8 * MIB && weightsSent() < 9 * MIB, `${weightsSent()} bytes`);

  // What takes the place of damaged bytes is held against the published digest, too.
  await damage(seen, 20 * MIB);
  hub.fail({ kind: 'flip', on: 'cdn', path: WEIGHTS, at: 21 * MIB, times: 1000 });
  expectFailed(await ask(seen, request(repository('org/model'))), 'model', /not what was published/);
  hub.clear();
  assert.ok(expectLoaded(await ask(seen, request(repository('org/model')))).provenance.files[0].verified);
  await seen.close();
});

test('a folder whose files have changed since is not mixed with what is stored of it', async () => {
  const seen = await engineOn(browsers.cpu, server);
  const files = Object.fromEntries(readdirSync(llama).map((name) => [name, readFileSync(path.join(llama, name))]));
  const source = { folder: { url: `${hub.url}/folder/changing` } };
  const publish = (content, date) => {
    hub.clear();
    hub.addFolder('changing', { files: content });
    hub.fail({ kind: 'headers', on: 'folder', headers: { 'Last-Modified': date }, times: 1000 });
    hub.requests.length = 0;
  };
  publish(files, 'Mon, 02 Nov 2026 08:00:00 GMT');
  const first = expectLoaded(await ask(seen, request(source)));
  hub.requests.length = 0;
  expectLoaded(await ask(seen, request(source)));
  // Without the header that tells a range's size to other origins, the second question is for all, and left once it is answered.
  const asked = hub.requests.filter(({ file }) => file.endsWith(WEIGHTS)).map(({ range }) => range);
  assert.deepEqual(asked, ['bytes=0-7', 'bytes=0-'], 'nothing has changed, and nothing is fetched');

  const retrained = Buffer.from(files[WEIGHTS]);
  retrained[retrained.length - 4] ^= 1;
  publish({ ...files, [WEIGHTS]: retrained }, 'Tue, 03 Nov 2026 08:00:00 GMT');
  const second = expectLoaded(await ask(seen, request(source)));
  assert.notEqual(second.model.revision, first.model.revision);

  hub.fail({ kind: 'drop', path: /./, times: 1000 });
  const offline = expectLoaded(await ask(seen, request(source)));
  assert.equal(offline.model.revision, second.model.revision);
  assert.match(offline.provenance.notes.join(), /what is stored here is used/);
  await seen.close();
});

test('a stop while a server is waited for lets go of the file', async () => {
  const seen = await engineOn(browsers.cpu, server);
  hub.fail({ kind: 'status', on: 'cdn', path: WEIGHTS, status: 503, after: 4, times: 1000 });
  const { events } = await askAndStopAt(seen, request(repository('org/model')), 8 * MIB);
  assert.equal(last(events).type, 'stopped');
  hub.clear();
  assert.ok(expectLoaded(await ask(seen, request(repository('org/model')))).provenance.stored);
  await seen.close();
});

for (const at of [1, 5 * MIB, 8 * MIB, Math.floor(SIZE * 0.99), SIZE - 1]) {
  test(`a connection that breaks at byte ${at} is taken up there`, async () => {
    const seen = await engineOn(browsers.cpu, server);
    const fault = hub.fail({ kind: 'cut', on: 'cdn', path: WEIGHTS, at, afterMs: 300, times: 2 });
    const { provenance } = expectLoaded(await ask(seen, request(repository('org/model'))));
    assert.ok(provenance.files[0].verified && fault.hits >= 1);
    // What a browser has of a connection that breaks, but has not handed out yet, it drops: up to 1 MB each time.
    assert.ok(weightsSent() < SIZE + 2.2 * MIB, `${weightsSent()} bytes sent for ${SIZE}`);
    await seen.close();
  });
}

test('a network that is gone at 99 % leaves what has come, also to the next visit', async () => {
  const seen = await engineOn(browsers.cpu, server);
  const at = Math.floor(SIZE * 0.99);
  hub.fail({ kind: 'cut', on: 'cdn', path: WEIGHTS, at, afterMs: 500, times: 1000 });
  expectFailed(await ask(seen, request(repository('org/model'))), 'transport', /cut/);
  const [part] = await stored(seen);
  assert.ok(part.bytes >= at && part.bytes < part.total, JSON.stringify(part));

  await seen.page.evaluate(() => window.engine.worker.terminate());
  hub.clear();
  hub.requests.length = 0;
  await start(seen);
  const { provenance } = expectLoaded(await ask(seen, request(repository('org/model'))));
  assert.ok(provenance.files[0].verified && provenance.stored);
  assert.ok(weightsSent() <= SIZE - at + 1000, `${weightsSent()} of ${SIZE - at} bytes`);
  await seen.close();
});

test('a stop is heard in the middle of a slab, and the next load goes on from there', async (t) => {
  const seen = await engineOn(browsers.cpu, server);
  // Three connections come to 1.5 MiB/s: their slabs are whole after 16 seconds, and half of the file after 8.
  hub.fail({ kind: 'slow', on: 'cdn', path: WEIGHTS, bytesPerSecond: MIB / 2, times: 1000 });
  const { events, begunMs, stopMs } = await askAndStopAt(seen, request(repository('org/model')), 6 * MIB);
  assert.equal(last(events).type, 'stopped');
  t.diagnostic(`the stop was heard after ${stopMs} ms`);
  const bytes = events.filter(({ type, unit }) => type === 'progress' && unit === 'bytes');
  assert.ok(bytes.length >= 3, 'progress is told while a slab is on its way');
  assert.ok(bytes.at(-1).done < SIZE / 2, `${bytes.at(-1).done} bytes came before the stop was heard`);
  // From the question on: a busy page may hear of several updates at once, but never of one before it was sent.
  const seconds = (bytes.at(-1).atMs - begunMs) / 1000;
  assert.ok(bytes.length <= 10 * seconds + 1, `${bytes.length} updates in ${seconds} s`);
  assert.ok(bytes.every(({ total }) => total === SIZE));

  hub.clear();
  hub.requests.length = 0;
  expectLoaded(await ask(seen, request(repository('org/model'))));
  assert.ok(weightsSent() < SIZE - 5 * MIB, `${weightsSent()} bytes were sent again`);
  await seen.close();
});

test('a stop is heard while a server says nothing', async (t) => {
  const seen = await engineOn(browsers.cpu, server);
  for (const [asked, fault] of [['load', { on: 'api' }], ['load', { path: 'config.json' }], ['inspect', { path: WEIGHTS }]]) {
    hub.clear();
    hub.fail({ kind: 'silence', times: 1000, ...fault });
    hub.requests.length = 0;
    const answer = ask(seen, request(repository('org/model'), asked));
    while (!hub.requests.some(({ ended }) => ended === 'silent')) await sleep(10);
    const stoppedAt = performance.now();
    await seen.page.evaluate(() => window.engine.stop());
    const events = await answer;
    const stopMs = performance.now() - stoppedAt;
    assert.equal(last(events).type, 'stopped');
    t.diagnostic(`${asked}: the stop was heard after ${stopMs} ms`);
    // By itself the engine looks up after 20 seconds of silence.
    assert.ok(stopMs < 15_000, `${stopMs} ms`);
    await ask(seen, { type: 'forget', key: null });
  }
  await seen.close();
});

test('a server that asks to wait is waited for', async () => {
  const seen = await engineOn(browsers.cpu, server);
  hub.fail({ kind: 'status', on: 'cdn', path: WEIGHTS, status: 503, after: 1, times: 1, headers: { 'Retry-After': '1' } });
  hub.fail({ kind: 'status', on: 'resolve', path: 'config.json', status: 429, times: 1 });
  const events = await ask(seen, request(repository('org/model')));
  expectLoaded(events);
  await seen.close();
});

test('a file that changes under way is not mixed', async () => {
  for (const fault of [{ kind: 'etag', after: 1, times: 1000 }, { kind: 'wrong-total', by: 1000, after: 1, times: 1000 }]) {
    const seen = await engineOn(browsers.cpu, server);
    hub.clear();
    hub.fail({ on: 'cdn', path: WEIGHTS, ...fault });
    expectFailed(await ask(seen, request(repository('org/model'))), 'transport', /changed/);
    hub.clear();
    expectLoaded(await ask(seen, request(repository('org/model'))));
    await seen.close();
  }
});

test('answers that are too short or too long do not matter', async () => {
  const seen = await engineOn(browsers.cpu, server);
  hub.fail({ kind: 'short', on: 'cdn', path: WEIGHTS, bytes: 1000, after: 1, times: 1 });
  hub.fail({ kind: 'long', on: 'cdn', path: WEIGHTS, bytes: 1000, after: 2, times: 1 });
  assert.ok(expectLoaded(await ask(seen, request(repository('org/model')))).provenance.files[0].verified);
  await seen.close();
});

test('damaged bytes are found, and nothing of the file is kept', async () => {
  const seen = await engineOn(browsers.cpu, server);
  hub.fail({ kind: 'flip', on: 'cdn', path: WEIGHTS, at: 20 * MIB, times: 1000 });
  expectFailed(await ask(seen, request(repository('org/model'))), 'model', /not what was published.*SHA-256/);
  hub.clear();
  hub.requests.length = 0;
  assert.ok(expectLoaded(await ask(seen, request(repository('org/model')))).provenance.files[0].verified);
  assert.ok(weightsSent() >= SIZE, 'all of it is fetched again');
  await seen.close();
});

test('a gated model wants a token, which is sent to its server only and is not repeated', async () => {
  const seen = await engineOn(browsers.cpu, server);
  expectFailed(await ask(seen, request(repository('org/gated'))), 'input', /permission/);
  expectFailed(await ask(seen, request(repository('org/gated', { token: OUTSIDER }))), 'input', /permission/);
  const events = await ask(seen, request(repository('org/gated', { token: TOKEN })));
  expectLoaded(events);
  assert.ok(!JSON.stringify(events).includes(TOKEN));
  assert.deepEqual(hub.requests.filter(({ on, authorization }) => on === 'cdn' && authorization), []);
  await seen.close();
});

test('servers without ranges, without a listing, and plain folders will do', async () => {
  const seen = await engineOn(browsers.cpu, server);
  hub.fail({ kind: 'cut', on: 'folder', path: WEIGHTS, at: 12 * MIB, times: 1 });
  const plain = expectLoaded(await ask(seen, request({ folder: { url: `${hub.url}/folder/no-ranges` } })));
  assert.deepEqual([plain.provenance.files[0].verified, plain.provenance.stored], [false, true]);
  expectLoaded(await ask(seen, request({ folder: { url: `${hub.url}/folder/plain/` } })));

  hub.fail({ kind: 'status', on: 'api', status: 500, times: 1000 });
  const unlisted = expectLoaded(await ask(seen, request(repository('org/model'))));
  assert.equal(unlisted.provenance.files[0].verified, false, 'nobody said what its digest should be');
  assert.match(unlisted.provenance.notes.join(), /did not list/);
  expectOnlyGets();
  await seen.close();
});

test('shards and their index', async () => {
  const seen = await engineOn(browsers.cpu, server);
  const { provenance } = expectLoaded(await ask(seen, request(repository('org/shards'))));
  assert.equal(provenance.files.length, 2);
  assert.ok(provenance.files.every(({ verified }) => verified));
  await seen.close();
});

test('whether a model fits is known without its weights', async () => {
  const seen = await engineOn(browsers.gpu, server);
  const fits = find(await ask(seen, request(repository('org/model'), 'inspect')), 'inspected');
  assert.deepEqual([fits.fits, fits.to_fetch, fits.file_bytes], [true, SIZE, SIZE]);
  assert.ok(weightsSent() < 100_000, `${weightsSent()} bytes`);
  assert.deepEqual(await stored(seen).then((models) => models.map(({ bytes }) => bytes < 100_000)), [true]);

  const events = await ask(seen, request(repository('org/huge'), 'load', 'gpu'));
  expectFailed(events, 'device', /largest buffer/);
  const huge = find(events, 'inspected');
  assert.equal(huge.fits, false);
  assert.ok(huge.checks.some(({ ok, needed, limit }) => !ok && needed === 2 ** 32 && limit < needed), JSON.stringify(huge.checks));
  expectFailed(await ask(seen, request(repository('org/huge'), 'load', 'cpu')), 'device', /page's memory/);
  assert.ok(weightsSent() < 200_000, `${weightsSent()} bytes`);
  await seen.close();
});

test('a full disk keeps nothing and stops nobody', async () => {
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

test('a browser that keeps nothing for a page loads all the same', async () => {
  // Over http and by another name than localhost a page gets no files of its own; nor do some private windows.
  const browser = await launch({ args: ['--host-resolver-rules=MAP class.test 127.0.0.1'] });
  const seen = await engineOn(browser, { url: server.url.replace('127.0.0.1', 'class.test') });
  assert.equal(await seen.page.evaluate(() => navigator.storage?.getDirectory), undefined);
  const { provenance } = expectLoaded(await ask(seen, request(repository('org/model'))));
  assert.deepEqual([provenance.files[0].verified, provenance.stored], [true, false]);
  assert.match(provenance.notes.join(), /keeps no files/);
  assert.deepEqual(await stored(seen), []);
  await browser.close();
});

test('places that are none are refused in words', async () => {
  const seen = await engineOn(browsers.cpu, server);
  const wrong = [
    { hub: { endpoint: 'javascript:alert(1)', repo: 'a/b', revision: 'main' } },
    { hub: { endpoint: hub.url, repo: '../../etc', revision: 'main' } },
    { hub: { endpoint: hub.url, repo: 'a/b', revision: 'main?x' } },
    { folder: { url: 'file:///etc' } },
  ];
  for (const source of wrong) expectFailed(await ask(seen, request(source)), 'input', /no place to load/);
  expectFailed(await ask(seen, request(repository('org/nothing', { token: TOKEN }))), 'input', /no such model/);
  hub.fail({ kind: 'html', on: 'resolve', path: 'config.json', times: 1000 });
  expectFailed(await ask(seen, request(repository('org/model'))), 'transport', /bytes instead of/);
  await seen.close();
});
