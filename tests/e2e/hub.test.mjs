// The local Hub itself: that it answers as the Hub does, and that each failure is what it says. No browser.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, beforeEach, test as plainTest } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { EXPOSED, OUTSIDER, TOKEN, startHub } from './hub.mjs';
import { PATIENCE_MS } from './patience.mjs';

const PAGE = 'http://page.example';
const CONFIG = '{"model_type":"llama"}\n';
const REVISION = '0123456789abcdef0123456789abcdef01234567';
/** Larger than a piece of what is sent at once, and not a multiple of it. */
const WEIGHTS = Buffer.alloc((5 << 18) + 17);
for (let i = 0; i < WEIGHTS.length; i += 1) WEIGHTS[i] = (i * 31 + (i >> 11)) & 255;

/** What hangs fails. */
const test = (name, body) => plainTest(name, { timeout: PATIENCE_MS }, body);
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const files = { 'config.json': CONFIG, 'model.safetensors': WEIGHTS };
let folder;
let hub;

before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'linchpin-hub-'));
  for (const [name, content] of Object.entries(files)) writeFileSync(path.join(folder, name), content);
  hub = await startHub({
    models: {
      'org/open': { folder, revision: REVISION },
      'org/gated': { files, gated: 'manual' },
      'org/hidden-list': { files, gated: 'auto', gatedApi: true },
      'org/private': { files, private: true },
    },
    renamed: { gpt2: 'org/open' },
    folders: { plain: { folder }, 'no-ranges': { folder, ranges: false }, 'no-cors': { folder, cors: null } },
  });
});

after(async () => {
  await hub?.stop();
  rmSync(folder, { recursive: true, force: true });
});

beforeEach(() => {
  hub.clear();
  hub.requests.length = 0;
});

const WEIGHTS_PATH = '/org/open/resolve/main/model.safetensors';
const CONFIG_PATH = '/org/open/resolve/main/config.json';

function get(where, { token, range, ...options } = {}) {
  const headers = { Origin: PAGE, ...(token && { Authorization: `Bearer ${token}` }), ...(range && { Range: range }) };
  return fetch(where.startsWith('http') ? where : hub.url + where, { headers, ...options });
}

const bytesOf = async (response) => Buffer.from(await response.arrayBuffer());

/** As many bytes as come, and the error that ends them. */
async function whatComes(response) {
  const pieces = [];
  try {
    for await (const piece of response.body) pieces.push(piece);
    return { bytes: Buffer.concat(pieces), error: null };
  } catch (error) {
    return { bytes: Buffer.concat(pieces), error };
  }
}

async function same(response, expected, what) {
  assert.ok((await bytesOf(response)).equals(expected), what);
}

test('a model tells what it consists of', async () => {
  const response = await get(`/api/models/org/open/revision/main?blobs=true`);
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('access-control-allow-origin'), PAGE);
  assert.equal(response.headers.get('access-control-expose-headers'), EXPOSED);
  const info = await response.json();
  assert.deepEqual([info.id, info.sha, info.gated, info.private], ['org/open', REVISION, false, false]);
  const [config, weights] = info.siblings;
  // As `git hash-object` says.
  assert.deepEqual(config, { rfilename: 'config.json', blobId: createHash('sha1').update(`blob ${CONFIG.length}\0${CONFIG}`).digest('hex'), size: CONFIG.length });
  assert.deepEqual(weights.lfs, { sha256: sha256(WEIGHTS), size: WEIGHTS.length, pointerSize: 132 });
  assert.deepEqual([weights.rfilename, weights.size], ['model.safetensors', WEIGHTS.length]);
  const byRevision = await (await get(`/api/models/org/open/revision/${REVISION}`)).json();
  assert.deepEqual(byRevision.siblings, [{ rfilename: 'config.json' }, { rfilename: 'model.safetensors' }]);
  assert.equal((await (await get('/api/models/org/open')).json()).sha, REVISION);
});

test('a new commit moves main, and the one before stays', async () => {
  const first = hub.publish('org/moving', { files: { 'config.json': '1' } });
  const second = hub.publish('org/moving', { files: { 'config.json': '2' } });
  assert.match(first, /^[0-9a-f]{40}$/);
  const read = async (revision) => (await get(`/org/moving/resolve/${revision}/config.json`)).text();
  assert.deepEqual([await read('main'), await read(second), await read(first)], ['2', '2', '1']);
});

test('a small file is at a second address of the Hub, a large one elsewhere', async () => {
  const small = await get(CONFIG_PATH, { redirect: 'manual' });
  assert.deepEqual([small.status, small.headers.get('x-repo-commit')], [307, REVISION]);
  assert.match(small.headers.get('location'), new RegExp(`^/api/resolve-cache/models/org/open/${REVISION}/config.json`));
  const followed = await get(CONFIG_PATH);
  assert.equal(followed.headers.get('etag'), `"${createHash('sha1').update(`blob ${CONFIG.length}\0${CONFIG}`).digest('hex')}"`);
  assert.deepEqual([followed.headers.get('content-type'), followed.headers.get('x-repo-commit')], ['application/json', REVISION]);
  assert.equal(await followed.text(), CONFIG);

  const large = await get(WEIGHTS_PATH, { redirect: 'manual' });
  assert.equal(large.status, 302);
  assert.equal(large.headers.get('x-linked-size'), String(WEIGHTS.length));
  assert.equal(large.headers.get('x-linked-etag'), `"${sha256(WEIGHTS)}"`);
  assert.ok(large.headers.get('location').startsWith(`${hub.cdnUrl}/`));
  const again = await get(WEIGHTS_PATH, { redirect: 'manual' });
  assert.notEqual(again.headers.get('location'), large.headers.get('location'), 'each address is signed anew');
  const stored = await get(WEIGHTS_PATH);
  assert.ok(stored.url.startsWith(hub.cdnUrl));
  assert.deepEqual([stored.headers.get('access-control-allow-origin'), stored.headers.get('accept-ranges')], ['*', 'bytes']);
  assert.equal(stored.headers.get('x-repo-commit'), null);
  assert.notEqual(stored.headers.get('etag'), `"${sha256(WEIGHTS)}"`);
  await same(stored, WEIGHTS);
  assert.equal((await get(`${hub.cdnUrl}/xet-bridge-local/unknown`)).status, 403);
});

test('ranges: closed, open, the last bytes, beyond the end', async () => {
  const n = WEIGHTS.length;
  for (const at of [WEIGHTS_PATH, '/folder/plain/model.safetensors']) {
    for (const [range, start, end] of [['bytes=5-9', 5, 10], ['bytes=0-0', 0, 1], [`bytes=${n - 3}-`, n - 3, n], ['bytes=-4', n - 4, n], [`bytes=9-${n + 99}`, 9, n]]) {
      const response = await get(at, { range });
      assert.equal(response.status, 206, range);
      assert.equal(response.headers.get('content-range'), `bytes ${start}-${end - 1}/${n}`);
      assert.equal(response.headers.get('content-length'), String(end - start));
      await same(response, WEIGHTS.subarray(start, end), range);
    }
    const beyond = await get(at, { range: `bytes=${n}-` });
    assert.deepEqual([beyond.status, beyond.headers.get('content-range')], [416, `bytes */${n}`]);
    for (const range of ['bytes=0-1,4-5', 'bytes=9-5', 'lines=1-2']) {
      const whole = await get(at, { range });
      assert.equal(whole.status, 200, range);
      await same(whole, WEIGHTS);
    }
  }
});

test('what is not there, not yours or not anybody’s', async () => {
  const ask = async (where, token) => {
    const response = await get(where, { token });
    const { status, headers } = response;
    return { status, code: headers.get('x-error-code'), message: headers.get('x-error-message'), body: await response.text() };
  };
  const nobody = await ask('/api/models/org/nobody');
  assert.deepEqual([nobody.status, nobody.code, nobody.body], [401, null, '{"error":"Invalid username or password."}']);
  const missing = await ask('/api/models/org/nobody?blobs=true', TOKEN);
  assert.deepEqual([missing.status, missing.code, missing.body], [404, 'RepoNotFound', '{"error":"Repository not found"}']);
  assert.deepEqual((await ask('/api/models/org/open/revision/v9')).code, 'RevisionNotFound');
  assert.deepEqual((await ask('/org/open/resolve/v9/config.json')).code, 'RevisionNotFound');
  const entry = await ask('/org/open/resolve/main/pytorch_model.bin');
  assert.deepEqual([entry.status, entry.code, entry.body], [404, 'EntryNotFound', 'Entry not found']);

  const hidden = [undefined, 'hf_wrong', OUTSIDER, TOKEN].map((token) => ask('/api/models/org/private', token));
  assert.deepEqual((await Promise.all(hidden)).map(({ status }) => status), [401, 401, 404, 200]);
  // A gated model's list is public, its files are not.
  assert.equal((await ask('/api/models/org/gated?blobs=true')).status, 200);
  for (const gated of ['/org/gated/resolve/main/config.json', '/org/gated/resolve/main/model.safetensors', '/api/models/org/hidden-list']) {
    const [anonymous, wrong, outside, inside] = [await ask(gated), await ask(gated, 'hf_wrong'), await ask(gated, OUTSIDER), await ask(gated, TOKEN)];
    assert.deepEqual([anonymous, wrong, outside, inside].map(({ status }) => status), [401, 401, 403, 200], gated);
    assert.deepEqual([anonymous.code, wrong.code, outside.code], ['GatedRepo', 'GatedRepo', 'GatedRepo']);
    assert.match(outside.message, /restricted and you are not in the authorized list/);
  }
  assert.equal((await ask('/api/models/org/open', 'hf_wrong')).status, 200, 'a public model does not mind');

  const moved = await get('/api/models/gpt2?blobs=true', { redirect: 'manual' });
  assert.deepEqual([moved.status, moved.headers.get('location')], [307, '/api/models/org/open?blobs=true']);
  assert.equal(await (await get('/gpt2/resolve/main/config.json')).text(), CONFIG);
});

test('methods: preflights of the Hub are answered, those of the storage and HEAD are not', async () => {
  const asks = { Origin: PAGE, 'Access-Control-Request-Method': 'GET', 'Access-Control-Request-Headers': 'authorization' };
  const allowed = await fetch(hub.url + WEIGHTS_PATH, { method: 'OPTIONS', headers: asks });
  assert.deepEqual([allowed.status, allowed.headers.get('access-control-allow-headers')], [204, 'authorization']);
  assert.equal((await fetch(`${hub.cdnUrl}/x`, { method: 'OPTIONS', headers: asks })).status, 403);
  for (const url of [hub.url + WEIGHTS_PATH, `${hub.url}/folder/plain/config.json`, `${hub.cdnUrl}/x`]) {
    assert.equal((await fetch(url, { method: 'HEAD' })).status, 405);
  }
  assert.deepEqual(hub.requests.map(({ method }) => method), ['OPTIONS', 'OPTIONS', 'HEAD', 'HEAD', 'HEAD']);
});

test('a folder is a plain one', async () => {
  const plain = await get('/folder/plain/model.safetensors');
  assert.deepEqual([plain.headers.get('access-control-allow-origin'), plain.headers.get('access-control-expose-headers')], ['*', null]);
  await same(plain, WEIGHTS);
  const whole = await get('/folder/no-ranges/model.safetensors', { range: 'bytes=5-9' });
  assert.deepEqual([whole.status, whole.headers.get('accept-ranges'), whole.headers.get('content-range')], [200, null, null]);
  await same(whole, WEIGHTS);
  assert.equal((await get('/folder/no-cors/config.json')).headers.get('access-control-allow-origin'), null);
  for (const where of ['/folder/plain/other.json', '/folder/plain/', '/folder/nowhere/config.json']) assert.equal((await get(where)).status, 404, where);
});

test('the log tells who asked for what, and how much was sent', async () => {
  await bytesOf(await get(WEIGHTS_PATH, { token: TOKEN, range: 'bytes=10-' }));
  // The last piece has left before the log is told so.
  while (!hub.requests[1]?.ended) await sleep(1);
  const [first, second] = hub.requests;
  assert.deepEqual([first.on, first.file, first.status, first.authorization, first.origin], ['resolve', '/org/open/model.safetensors', 302, `Bearer ${TOKEN}`, PAGE]);
  // What a browser does as well: a token is for one origin.
  assert.deepEqual([second.on, second.status, second.authorization, second.range], ['cdn', 206, null, 'bytes=10-']);
  assert.deepEqual([second.bytesSent, second.ended], [WEIGHTS.length - 10, 'whole']);
});

test('fault: cut after so many bytes, or at one byte of the file', async () => {
  for (const bytes of [0, 1, 70_000, (1 << 20) + 5]) {
    hub.fail({ kind: 'cut', path: /model\.safetensors/, bytes });
    const response = await get(WEIGHTS_PATH);
    assert.equal(response.headers.get('content-length'), String(WEIGHTS.length));
    const came = await whatComes(response);
    assert.ok(came.error, 'the connection is closed');
    assert.ok(came.bytes.equals(WEIGHTS.subarray(0, bytes)), `${came.bytes.length} instead of ${bytes}`);
    assert.deepEqual([hub.requests.at(-1).bytesSent, hub.requests.at(-1).ended], [bytes, 'cut']);
  }
  const rule = hub.fail({ kind: 'cut', path: 'model.safetensors', at: 1_200_000, times: 2 });
  await same(await get(WEIGHTS_PATH, { range: 'bytes=0-1199999' }), WEIGHTS.subarray(0, 1_200_000));
  await same(await get(WEIGHTS_PATH, { range: 'bytes=1200001-' }), WEIGHTS.subarray(1_200_001));
  assert.equal(rule.hits, 0, 'ranges without that byte are whole');
  for (const [range, start] of [['bytes=700000-', 700_000], ['bytes=1199999-1200009', 1_199_999]]) {
    const { bytes, error } = await whatComes(await get(WEIGHTS_PATH, { range }));
    assert.ok(error && bytes.equals(WEIGHTS.subarray(start, 1_200_000)), `${range}: ${bytes.length}`);
  }
  await same(await get(WEIGHTS_PATH), WEIGHTS, 'twice is over');
});

test('fault: a reset, a closed door, silence', async () => {
  hub.fail({ kind: 'cut', path: /model/, bytes: 1 << 20, reset: true });
  assert.ok((await whatComes(await get(WEIGHTS_PATH))).error);
  hub.fail({ kind: 'drop', path: /config/ });
  await assert.rejects(get(CONFIG_PATH));
  hub.fail({ kind: 'silence', path: /config/ });
  await assert.rejects(get(CONFIG_PATH, { signal: AbortSignal.timeout(50) }), { name: 'TimeoutError' });
});

test('fault: stall, after the headers or later', async () => {
  for (const [stall, n] of [[{}, 0], [{ bytes: 1000 }, 1000], [{ at: 1_100_000 }, 1_100_000]]) {
    hub.fail({ kind: 'stall', on: 'cdn', ...stall });
    const response = await get(WEIGHTS_PATH);
    assert.equal(response.status, 200);
    const reader = response.body.getReader();
    let came = 0;
    while (came < n) came += (await reader.read()).value.length;
    assert.equal(came, n);
    assert.equal(await Promise.race([reader.read(), sleep(50, 'nothing')]), 'nothing');
    await reader.cancel();
  }
});

test('fault: statuses, and when to come back', async () => {
  const later = new Date(Date.now() + 5000);
  hub.fail({ kind: 'status', status: 429, retryAfter: 3, path: /config/ });
  hub.fail({ kind: 'status', retryAfter: later, path: /config/ });
  const limited = await get(CONFIG_PATH);
  assert.deepEqual([limited.status, limited.headers.get('retry-after'), limited.headers.get('ratelimit')], [429, '3', '"resolvers";r=0;t=3']);
  assert.equal(limited.headers.get('access-control-allow-origin'), PAGE);
  assert.ok(!EXPOSED.includes('Retry-After'));
  const busy = await get(CONFIG_PATH);
  assert.deepEqual([busy.status, busy.headers.get('retry-after')], [503, later.toUTCString()]);
  assert.equal((await get(CONFIG_PATH)).status, 200);
  // An address whose signature has run out.
  hub.fail({ kind: 'status', status: 403, on: 'cdn' });
  assert.equal((await get(WEIGHTS_PATH)).status, 403);
  // The API is down, and the files are there.
  hub.fail({ kind: 'status', status: 500, on: 'api', times: Infinity });
  assert.deepEqual([(await get('/api/models/org/open')).status, (await get('/api/models/org/open')).status, (await get(CONFIG_PATH)).status], [500, 500, 200]);
});

test('fault: a page of HTML in the place of JSON', async () => {
  for (const where of ['/api/models/org/open', CONFIG_PATH]) {
    hub.fail({ kind: 'html', path: /org/ });
    const response = await get(where);
    assert.deepEqual([response.status, response.headers.get('content-type')], [200, 'text/html; charset=utf-8']);
    await assert.rejects(response.json(), SyntaxError);
  }
});

test('fault: redirects without end, and no CORS at the storage', async () => {
  hub.fail({ kind: 'redirect-loop', path: /model/, times: Infinity });
  await assert.rejects(get(WEIGHTS_PATH));
  assert.ok(hub.requests.length > 10);
  hub.clear();
  hub.fail({ kind: 'no-cors', on: 'cdn' });
  assert.equal((await get(WEIGHTS_PATH)).headers.get('access-control-allow-origin'), null);
  assert.equal((await get(WEIGHTS_PATH)).headers.get('access-control-allow-origin'), '*');
});

test('fault: headers that lie', async () => {
  const etag = async () => (await get(WEIGHTS_PATH, { range: 'bytes=0-0' })).headers.get('etag');
  const usual = await etag();
  assert.equal(await etag(), usual);
  hub.fail({ kind: 'etag', on: 'cdn', times: 2 });
  assert.equal(new Set([await etag(), await etag(), await etag(), usual]).size, 3);
  hub.fail({ kind: 'etag', on: 'resolve', etag: '"abc"' });
  assert.equal((await get(WEIGHTS_PATH, { redirect: 'manual' })).headers.get('x-linked-etag'), '"abc"');
  hub.fail({ kind: 'headers', on: 'cdn', headers: { ETag: null, 'Cache-Control': 'max-age=60' } });
  const { headers } = await get(WEIGHTS_PATH);
  assert.deepEqual([headers.get('etag'), headers.get('cache-control')], [null, 'max-age=60']);

  const n = WEIGHTS.length;
  const contentRange = async (rule) => {
    hub.fail({ on: 'cdn', ...rule });
    const response = await get(WEIGHTS_PATH, { range: 'bytes=5-9' });
    await same(response, WEIGHTS.subarray(5, 10));
    return response.headers.get('content-range');
  };
  assert.equal(await contentRange({ kind: 'wrong-total', by: -100 }), `bytes 5-9/${n - 100}`);
  assert.equal(await contentRange({ kind: 'wrong-start' }), `bytes 6-10/${n}`);

  hub.fail({ kind: 'wrong-length', on: 'cdn', by: 10 });
  const more = await get(WEIGHTS_PATH);
  assert.equal(more.headers.get('content-length'), String(n + 10));
  const came = await whatComes(more);
  assert.ok(came.error && came.bytes.equals(WEIGHTS));
  hub.fail({ kind: 'wrong-length', on: 'cdn', by: -10 });
  const { bytes } = await whatComes(await get(WEIGHTS_PATH));
  assert.ok(bytes.length <= n - 10 && bytes.equals(WEIGHTS.subarray(0, bytes.length)));
});

test('fault: a body that is shorter, longer, or all there is', async () => {
  const n = WEIGHTS.length;
  hub.fail({ kind: 'short', on: 'cdn', bytes: 3 });
  const short = await get(WEIGHTS_PATH, { range: 'bytes=10-19' });
  assert.deepEqual([short.status, short.headers.get('content-range'), short.headers.get('content-length')], [206, `bytes 10-16/${n}`, '7']);
  await same(short, WEIGHTS.subarray(10, 17));
  hub.fail({ kind: 'short', on: 'cdn' });
  await same(await get(WEIGHTS_PATH), WEIGHTS.subarray(0, n - 1));
  hub.fail({ kind: 'long', on: 'cdn', bytes: 2 });
  const long = await get(WEIGHTS_PATH, { range: 'bytes=10-19' });
  assert.deepEqual([long.headers.get('content-range'), long.headers.get('content-length')], [`bytes 10-19/${n}`, '12']);
  await same(long, Buffer.concat([WEIGHTS.subarray(10, 20), Buffer.alloc(2)]));
  hub.fail({ kind: 'no-range', on: 'cdn' });
  const whole = await get(WEIGHTS_PATH, { range: 'bytes=10-19' });
  assert.deepEqual([whole.status, whole.headers.get('content-range'), whole.headers.get('accept-ranges')], [200, null, null]);
  await same(whole, WEIGHTS);
});

test('fault: a flipped bit, in whatever range has it', async () => {
  const at = (1 << 20) + 3;
  const damaged = Buffer.from(WEIGHTS);
  damaged[at] ^= 1;
  hub.fail({ kind: 'flip', on: 'cdn', at, times: 3 });
  for (const start of [0, at, at - 1]) await same(await get(WEIGHTS_PATH, { range: `bytes=${start}-` }), damaged.subarray(start));
  await same(await get(WEIGHTS_PATH), WEIGHTS, 'what is on the disk is whole');
  assert.notEqual(sha256(damaged), sha256(WEIGHTS));
});

test('fault: slow, and compressed', async () => {
  hub.fail({ kind: 'slow', on: 'cache', bytesPerSecond: 100 });
  const began = performance.now();
  assert.equal(await (await get(CONFIG_PATH)).text(), CONFIG);
  const seconds = (performance.now() - began) / 1000;
  assert.ok(seconds > (CONFIG.length / 100) * 0.8, `${seconds} s`);
  hub.fail({ kind: 'gzip', on: 'cache' });
  const zipped = await get(CONFIG_PATH);
  assert.deepEqual([zipped.headers.get('content-encoding'), zipped.headers.get('content-length')], ['gzip', null]);
  assert.equal(await zipped.text(), CONFIG);
});

test('faults wait for their turn, and several happen at once', async () => {
  const rule = hub.fail({ kind: 'status', status: 503, path: 'config', on: 'resolve', after: 1, when: ({ authorization }) => authorization !== null });
  const ask = async (token) => (await get(CONFIG_PATH, { token })).status;
  assert.deepEqual([await ask(), await ask(TOKEN), await ask(), await ask(TOKEN), await ask(TOKEN)], [200, 200, 200, 503, 200]);
  assert.equal(rule.hits, 1);
  hub.fail({ kind: 'flip', on: 'cdn', at: 0 });
  hub.fail({ kind: 'cut', on: 'cdn', bytes: 4 });
  const { bytes } = await whatComes(await get(WEIGHTS_PATH));
  assert.deepEqual([...bytes], [WEIGHTS[0] ^ 1, ...WEIGHTS.subarray(1, 4)]);
  assert.deepEqual(hub.requests.at(-1).faults, ['flip', 'cut']);
  assert.throws(() => hub.fail({ kind: 'earthquake' }), /there is no fault/);
});

test('somebody who leaves is no trouble', async () => {
  const { port } = new URL(hub.url);
  const socket = connect(Number(port), '127.0.0.1');
  socket.write('GET /folder/plain/model.safetensors HTTP/1.1\r\nHost: here\r\n\r\n');
  await new Promise((resolve) => socket.once('data', resolve));
  socket.destroy();
  while (!hub.requests[0].ended) await sleep(1);
  assert.equal(hub.requests[0].ended, 'client left');
  assert.equal(await (await get(CONFIG_PATH)).text(), CONFIG);
});
