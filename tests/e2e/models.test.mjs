// A visitor loads other models through the page's controls: from a local Hub, a server's folder and the visitor's own disk.

import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { OUTSIDER, TOKEN, startHub } from './hub.mjs';
import { close, closePages, open, part, root, screenshots, text, unfold, visit } from './lib.mjs';
import { writeGpt2, writeHuge } from './synthetic.mjs';

const WEIGHTS = 'model.safetensors';
const folder = path.join(root, 'public/models/linchpin-13m');
const small = path.join(root, 'tests/fixtures/llama');
const SIZE = statSync(path.join(folder, WEIGHTS)).size;
const MIB = 1 << 20;
/** A download that is slow enough for a slow machine to see it under way: three connections take more than a minute. */
const SLOW = { kind: 'slow', on: 'cdn', path: WEIGHTS, bytesPerSecond: MIB / 8, times: 1000 };
/** By then more has arrived than a connection may lose. */
const UNDER_WAY = /: (?:[3-9]|\d\d)(?:\.\d+)? MB of 26\.4 MB, [\d.]+ [KM]B\/s, \d+ s left/;
/** Entries of the catalogue, at the commits that it pins. The first has no digest, so any files will do. */
const UNCHECKED = { id: 'smollm2-1.7b', repo: 'HuggingFaceTB/SmolLM2-1.7B', revision: 'effd688a12921b4cc83e3312b6feb579f70f9c71' };
const CHECKED = { id: 'smollm2-135m', repo: 'HuggingFaceTB/SmolLM2-135M', revision: '93efa2f097d58c2a74874c7e644dbc9b0cee75a2' };
const GATED = { id: 'gemma-3-270m', repo: 'google/gemma-3-270m', revision: '9b0cfec892e2bc2afd938c98eabe4e4a7b1e0ca1' };

let server;
let browsers;
let hub;
let scratch;

before(async () => {
  ({ server, browsers } = await open());
  mkdirSync(screenshots, { recursive: true });
  scratch = mkdtempSync(path.join(tmpdir(), 'linchpin-models-'));
  hub = await startHub({
    models: {
      [UNCHECKED.repo]: { folder, revision: UNCHECKED.revision },
      [CHECKED.repo]: { folder, revision: CHECKED.revision },
      [GATED.repo]: { folder: small, revision: GATED.revision, gated: 'manual' },
      'org/small': { folder: small },
      // It is never read to its end.
      'org/huge': { files: writeHuge(scratch), sha256: { [WEIGHTS]: '0'.repeat(64) } },
    },
    folders: { plain: { folder: small }, gpt2: { files: writeGpt2(scratch) }, 'no-bos': { files: withoutBos() } },
  });
});

/** The fixture with a tokenizer that adds no BOS, as some copies of models have it. */
function withoutBos() {
  const files = Object.fromEntries(['config.json', 'generation_config.json', WEIGHTS].map((name) => [name, { path: path.join(small, name) }]));
  const tokenizer = JSON.parse(readFileSync(path.join(small, 'tokenizer.json')));
  return { ...files, 'tokenizer.json': JSON.stringify({ ...tokenizer, post_processor: null }) };
}

after(async () => {
  await hub?.stop();
  await close({ server, browsers });
  rmSync(scratch, { recursive: true, force: true });
});

afterEach(() => closePages(browsers));

beforeEach(async () => {
  await hub.clear();
  await hub.forget();
});

/** Opens the page, and waits for the bundled model. */
async function arrive(options, browser = browsers.cpu) {
  const seen = await visit(browser, server.url, options);
  await part(seen, 'backend').waitFor();
  return seen;
}

/** Chooses a model of the Hub, with the local Hub as its server. */
async function choose(seen, id, { token } = {}) {
  await part(seen, 'model-select').selectOption(id);
  await part(seen, 'server-options').evaluate((details) => (details.open = true));
  await part(seen, 'hub-endpoint').fill(hub.url);
  if (token) await part(seen, 'hub-token').fill(token);
}

async function chooseRepository(seen, name, options) {
  await choose(seen, '*repo', options);
  await part(seen, 'hub-repo').fill(name);
}

const says = (seen, id, words) => part(seen, id).filter({ hasText: words }).first().waitFor();

const weightsSent = () => hub.bytesSent(WEIGHTS);

/** The document saved by "Save JSON", as text. */
async function exported(seen) {
  const [download] = await Promise.all([seen.page.waitForEvent('download'), part(seen, 'export-json').click()]);
  return readFileSync(await download.path(), 'utf8');
}

async function scan(seen, prompt) {
  if (prompt) await part(seen, 'scan-prompt').fill(prompt);
  await part(seen, 'scan-run').click();
  await part(seen, 'scan-results').waitFor();
}

async function write(seen, prompt) {
  await part(seen, 'prompt').fill(prompt);
  await seen.page.locator('details.more').first().evaluate((details) => (details.open = true));
  await part(seen, 'max-tokens').fill('4');
  await part(seen, 'generate').click();
  await part(seen, 'speed-ablated').filter({ hasNotText: '–' }).waitFor();
  await seen.page.waitForFunction(() => !document.querySelector('[data-testid="generate"]').disabled);
}

test('model is described before anybody is asked for it, and its fit is known without its weights', async () => {
  const seen = await arrive();
  const asked = await seen.requestsFromNow();
  await choose(seen, UNCHECKED.id);
  const card = await text(seen, 'model-card');
  for (const words of [UNCHECKED.repo, new URL(hub.url).host, 'Apache-2.0', '1,711,376,384', '3.42 GB', '6.85 GB on the CPU', UNCHECKED.revision]) {
    assert.ok(card.includes(words), `${words} is not in: ${card}`);
  }
  assert.match(await text(seen, 'model-published'), /layer 1, \[749, 4987\].*6\.93 to 9e7.*layer 7, row 161.*\+287 %/s);
  assert.match(await text(seen, 'model-load'), /Download and load, 3\.42 GB/);
  await part(seen, 'model-select').selectOption('olmo-1b-0724');
  assert.match(await text(seen, 'model-published'), /layer 1, \[1764, 8041\].*0\.0018.*Sources disagree/s);
  await part(seen, 'model-select').selectOption(GATED.id);
  assert.match(await text(seen, 'model-card'), /gated.*access token/s);
  assert.deepEqual(await asked(), [], 'nobody was asked before a press');
  assert.deepEqual(await hub.requests(), []);

  await part(seen, 'model-select').selectOption(UNCHECKED.id);
  await part(seen, 'model-fit').click();
  await part(seen, 'fit').waitFor();
  assert.equal(await part(seen, 'fit').getAttribute('data-fits'), 'true');
  assert.match(await text(seen, 'fit'), /26\.4 MB to download/);
  assert.match(await text(seen, 'model-load'), /Download and load, 26\.4 MB/);
  assert.ok(await weightsSent() < 100_000, `${await weightsSent()} bytes`);

  await chooseRepository(seen, 'org/huge');
  await part(seen, 'model-fit').click();
  await part(seen, 'fit').and(seen.page.locator('[data-fits="false"]')).waitFor();
  assert.match(await text(seen, 'fit-checks'), /no$/m);
  // The previous model is still there, and the alternatives are one press away.
  await part(seen, 'fit-alternative').first().click();
  assert.notEqual(await part(seen, 'model-select').inputValue(), '*repo');
  assert.ok(await part(seen, 'scan-run').isEnabled());
  assert.ok(await weightsSent() < 200_000, `${await weightsSent()} bytes`);
  assert.deepEqual(seen.problems, []);
  await seen.close();
});

test('download says how far it is, can be left and taken up, and is there without a network', async () => {
  const seen = await arrive();
  await choose(seen, UNCHECKED.id);
  await hub.fail(SLOW);
  await part(seen, 'model-load').click();
  await says(seen, 'progress-text', UNDER_WAY);
  assert.match(await text(seen, 'model-status'), /Loading SmolLM2 1\.7B/);
  await part(seen, 'load-cancel').click();
  await says(seen, 'model-load', /Go on, [\d.]+ MB/);
  await says(seen, 'model-status', /linchpin-13m is ready|13M.* is ready/);
  assert.equal(await part(seen, 'failure').count(), 0, 'to cancel is no failure');

  await hub.clear();
  const left = Number(/([\d.]+) MB/.exec(await text(seen, 'model-load'))[1]);
  assert.ok(left > 1 && left < 26, `${left} MB are left`);
  await hub.forget();
  await part(seen, 'model-load').click();
  await says(seen, 'model-status', 'SmolLM2 1.7B is ready');
  assert.ok(await weightsSent() < left * 1e6 + 3 * MIB, `${await weightsSent()} bytes were sent of the ${left} MB that were left`);
  const provenance = await text(seen, 'provenance');
  for (const words of [`${new URL(hub.url).host}/${UNCHECKED.repo}`, UNCHECKED.revision, 'SHA-256 verified', 'stored in this browser']) {
    assert.ok(provenance.includes(words), `${words} is not in: ${provenance}`);
  }
  assert.equal(await part(seen, 'provenance-file').getAttribute('data-verified'), 'true');
  // These are other files under that name, so the findings on the catalogue's model do not apply.
  assert.equal(await part(seen, 'published-run').count(), 0);
  // Another visit, without that server.
  await hub.fail({ kind: 'drop', times: 1000 });
  await hub.forget();
  await seen.page.reload();
  await part(seen, 'backend').waitFor();
  await choose(seen, UNCHECKED.id);
  await part(seen, 'model-load').click();
  await says(seen, 'model-status', 'SmolLM2 1.7B is ready');
  assert.deepEqual(await hub.requests(), [], 'a pinned model that is stored asks nobody');
  assert.deepEqual(seen.problems, []);
  await seen.close();
});

test('stored models are listed with their sizes, and deleted one by one or all at once', async () => {
  const seen = await arrive();
  await unfold(part(seen, 'stored'));
  await part(seen, 'stored-none').waitFor();
  await choose(seen, UNCHECKED.id);
  await part(seen, 'model-load').click();
  await says(seen, 'model-status', 'SmolLM2 1.7B is ready');
  await chooseRepository(seen, 'org/small');
  await part(seen, 'model-load').click();
  await says(seen, 'model-status', 'org/small is ready');
  await seen.page.waitForFunction(() => document.querySelectorAll('[data-testid="stored-model"]').length === 2);
  const listed = await part(seen, 'stored-model').allInnerTexts();
  assert.ok(listed.some((row) => row.includes(UNCHECKED.repo) && /26\.\d MB, whole/.test(row)), listed.join());
  assert.ok(listed.some((row) => row.includes('org/small') && /\d+ kB, whole/i.test(row)), listed.join());
  assert.match(await text(seen, 'stored-total'), /26\.\d MB in all/);

  // If the server is gone, the newest stored revision is used, and the page says so.
  await hub.fail({ kind: 'drop', times: 1000 });
  await part(seen, 'model-load').click();
  await says(seen, 'provenance-note', /stored here is used/);
  await hub.clear();

  await part(seen, 'stored-model').filter({ hasText: UNCHECKED.repo }).getByRole('button').click();
  await seen.page.waitForFunction(() => document.querySelectorAll('[data-testid="stored-model"]').length === 1);
  assert.match(await text(seen, 'stored-model'), /org\/small/);
  // The running model no longer needs its stored files.
  await part(seen, 'stored-delete-all').click();
  await part(seen, 'stored-none').waitFor();
  await scan(seen, 'the old man');
  await part(seen, 'model-select').selectOption(UNCHECKED.id);
  assert.match(await text(seen, 'model-load'), /Download and load/);
  await seen.close();
});

test('network that is gone at 99 % costs nothing but the rest', async () => {
  const seen = await arrive({ width: 360, height: 780 });
  await scan(seen);
  const found = await text(seen, 'scan-results');
  await choose(seen, UNCHECKED.id);
  await hub.fail({ kind: 'cut', on: 'cdn', path: WEIGHTS, at: Math.floor(SIZE * 0.99), afterMs: 500, times: 1000 });
  await part(seen, 'model-load').click();
  await part(seen, 'failure').waitFor();
  assert.match(await text(seen, 'failure'), /download was cut.*load the model again.*the rest is fetched/is);
  assert.equal(await text(seen, 'scan-results'), found);
  await says(seen, 'model-load', /Go on, \d+ kB/i);
  // The sentence is visible at any scroll position.
  const inSight = await seen.page.locator('.failure .what').evaluate((what) => {
    const { left, top, width, height } = what.getBoundingClientRect();
    return document.elementFromPoint(left + width / 2, top + height / 2) === what;
  });
  assert.ok(inSight, 'something lies above the failure');
  await seen.page.screenshot({ path: path.join(screenshots, 'models-cut-light-360.png') });
  assert.deepEqual(await seen.barriers(), []);
  // The previous model is still there and works.
  await scan(seen);

  await hub.clear();
  await hub.forget();
  await part(seen, 'model-load').click();
  await says(seen, 'model-status', 'SmolLM2 1.7B is ready');
  assert.equal(await part(seen, 'failure').count(), 0);
  assert.ok(await weightsSent() < SIZE * 0.02, `${await weightsSent()} bytes`);
  await seen.close();
});

test('published coordinates are offered to be checked on a model of that name and shape', async () => {
  const seen = await arrive();
  // By its repository it is the catalogue's model, with a known digest; another revision is not.
  await chooseRepository(seen, 'openai-community/gpt2');
  assert.match(await text(seen, 'hub-pinned'), /pinned revision, [0-9a-f]{40}/);
  await part(seen, 'hub-revision').fill('another');
  assert.equal(await part(seen, 'hub-pinned').count(), 0);
  await part(seen, 'model-select').selectOption('*folder');
  await part(seen, 'folder-url').fill(`${hub.url}/folder/gpt2/`);
  await part(seen, 'model-load').click();
  await says(seen, 'model-kept', /Until then .*13M/);
  await says(seen, 'model-status', 'gpt2 is ready');
  assert.equal(await part(seen, 'model-kept').count(), 0);
  await part(seen, 'published-run').click();
  await says(seen, 'model-status', /Confirming/);
  await part(seen, 'confirm-stop').click();
  await says(seen, 'model-status', 'is ready');
  // Optional files are requested from a plain folder, too.
  assert.deepEqual(seen.problems.filter((problem) => !/generation_config|reference|tokenizer_config/.test(problem)), []);
  await seen.close();
});

test('mirror with other weights than the catalogue has on record is refused before they come', async () => {
  const seen = await arrive();
  await choose(seen, CHECKED.id);
  await part(seen, 'model-load').click();
  await part(seen, 'failure').waitFor();
  assert.match(await text(seen, 'failure'), /another size or SHA-256 than the catalogue/);
  assert.equal(await weightsSent(), 0);
  assert.match(await text(seen, 'model-facts'), /20 layers/);
  await seen.close();
});

test('repository is loaded by its name; a gated one with a token, which stays in its field', async () => {
  const seen = await arrive();
  await chooseRepository(seen, 'org/nothing', { token: TOKEN });
  await part(seen, 'model-load').click();
  await says(seen, 'failure', /no such model.*spelling/is);
  await part(seen, 'hub-repo').fill('not a name');
  await part(seen, 'model-load').click();
  await says(seen, 'failure', /no model can be loaded.*owner\/name/is);
  await part(seen, 'hub-token').fill('');
  await part(seen, 'hub-repo').fill('org/small');
  await part(seen, 'model-load').click();
  await says(seen, 'model-status', 'org/small is ready');
  assert.equal(await part(seen, 'failure').count(), 0);

  await chooseRepository(seen, GATED.repo);
  for (const token of ['', OUTSIDER]) {
    await part(seen, 'hub-token').fill(token);
    await part(seen, 'model-load').click();
    await says(seen, 'failure', /permission.*accept the licence.*token/is);
    await part(seen, 'failure-dismiss').click();
  }
  await part(seen, 'hub-token').fill(TOKEN);
  await part(seen, 'model-load').click();
  await says(seen, 'model-status', new RegExp(`(${GATED.repo}|Gemma 3 270M) is ready`));

  await scan(seen, 'the old man');
  await write(seen, 'the old man');
  await part(seen, 'share-copy').click();
  const link = await part(seen, 'share-link').inputValue();
  const shared = Buffer.from(link.split('#run=1.')[1] ?? '', 'base64url').toString('latin1');
  assert.ok(link.includes('#run=') && ![link, shared].some((words) => words.includes(TOKEN)), link);
  assert.ok(!(await exported(seen)).includes(TOKEN));
  const html = await seen.page.evaluate(() => document.documentElement.outerHTML);
  assert.ok(!html.includes(TOKEN), 'the token is in the page');
  const fields = await seen.page.evaluate((token) => [...document.querySelectorAll('input, textarea')].filter(({ value }) => value.includes(token)).map(({ type }) => type), TOKEN);
  assert.deepEqual(fields, ['password']);
  const stored = await seen.page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
  assert.ok(!stored.includes(TOKEN));
  // The token was typed for another server.
  await part(seen, 'hub-endpoint').fill('http://127.0.0.1:9');
  assert.equal(await part(seen, 'hub-token').inputValue(), '');
  assert.deepEqual((await hub.requests()).filter(({ on, authorization }) => on === 'cdn' && authorization), []);
  await seen.close();
});

/** The fixture's files that belong in a model's folder. */
const ownFiles = () => readdirSync(small).filter((name) => !/golden|planted/.test(name));

/** Drops files onto the section or next to it, as a script can: without file-system entries. */
async function drop(seen, names, { beside = false } = {}) {
  const files = names.map((name) => ({ name, base64: readFileSync(path.join(small, name)).toString('base64') }));
  await part(seen, 'load').evaluate(async (section, { files, beside }) => {
    const dataTransfer = new DataTransfer();
    for (const { name, base64 } of files) dataTransfer.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name));
    for (const type of ['dragenter', 'dragover', 'drop']) {
      const event = new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true });
      (beside ? document.body : section).dispatchEvent(event);
      // Otherwise a browser would leave the page for the file.
      if (type !== 'dragenter' && !event.defaultPrevented) throw new Error(`${type} was not taken`);
      await new Promise((done) => setTimeout(done));
      if (type === 'dragover' && !section.classList.contains('dropping')) throw new Error('nothing says that files may be dropped here');
    }
  }, { files, beside });
}

/** Drops files of the disk onto the section, as a hand does. */
async function dropFromDisk(seen, where) {
  await part(seen, 'model-status').scrollIntoViewIfNeeded();
  const { x, y } = await part(seen, 'model-status').boundingBox();
  const devtools = await seen.page.context().newCDPSession(seen.page);
  for (const type of ['dragEnter', 'dragOver', 'drop']) {
    await devtools.send('Input.dispatchDragEvent', { type, x: x + 5, y: y + 5, data: { items: [], files: [where], dragOperationsMask: 1 } });
  }
}

/** A realistic folder, with more in it than a model. */
function ownFolder(name) {
  const own = path.join(scratch, name);
  mkdirSync(path.join(own, 'checkpoint'), { recursive: true });
  for (const file of ownFiles()) copyFileSync(path.join(small, file), path.join(own, file));
  copyFileSync(path.join(small, WEIGHTS), path.join(own, 'checkpoint', WEIGHTS));
  writeFileSync(path.join(own, 'README.md'), 'Mine.\n');
  return own;
}

test('model is read from a folder of a server, and from dropped or picked files and folders', async () => {
  const seen = await arrive();
  const three = () => says(seen, 'model-facts', '3 layers');
  await part(seen, 'model-select').selectOption('*folder');
  assert.ok(await part(seen, 'model-load').isDisabled(), 'there is no address yet');
  await part(seen, 'folder-url').fill(`${hub.url}/folder/plain/nothing`);
  await part(seen, 'model-load').click();
  await says(seen, 'failure', /missing.*config\.json/is);
  await part(seen, 'folder-url').fill(`${hub.url}/folder/plain/`);
  await part(seen, 'model-load').click();
  await three();
  assert.match(await text(seen, 'provenance-file'), /not verified/);
  assert.match(await text(seen, 'provenance'), /folder\/plain/);

  await drop(seen, ownFiles().filter((name) => name !== 'tokenizer.json'));
  await says(seen, 'open-error', /no tokenizer\.json/);
  await drop(seen, ownFiles(), { beside: true });
  await says(seen, 'model-status', 'Your model is ready');
  await three();
  assert.equal(await part(seen, 'open-error').count(), 0);
  assert.equal(await seen.page.locator('.dropping').count(), 0);
  await scan(seen, 'the old man');

  await dropFromDisk(seen, ownFolder('dropped-llama'));
  await says(seen, 'model-status', 'dropped-llama is ready');
  await three();

  await unfold(part(seen, 'open-own'));
  await part(seen, 'open-files').setInputFiles(ownFiles().map((name) => path.join(small, name)));
  await says(seen, 'model-status', 'Your model is ready');
  await part(seen, 'open-folder').setInputFiles(ownFolder('picked-llama'));
  await says(seen, 'model-status', 'picked-llama is ready');
  await three();
  assert.equal(await part(seen, 'open-error').count(), 0);
  await seen.close();
});

test('link to a model of the Hub says what it takes, and asks the visitor\'s own server when pressed', async () => {
  const sender = await arrive();
  await choose(sender, UNCHECKED.id);
  await part(sender, 'model-load').click();
  await says(sender, 'model-status', 'SmolLM2 1.7B is ready');
  await write(sender, 'It was a dark evening');
  await part(sender, 'share-copy').click();
  const link = await part(sender, 'share-link').inputValue();
  await sender.close();

  await hub.forget();
  const reader = await visit(browsers.cpu, link);
  await part(reader, 'link-download').waitFor();
  assert.match(await text(reader, 'link-download'), /SmolLM2 1\.7B.*3\.42 GB/s);
  assert.match(await text(reader, 'link-restore'), /3\.42 GB/);
  // The link's model is chosen in the section below, with its card and its server.
  assert.equal(await part(reader, 'model-select').inputValue(), UNCHECKED.id);
  const asked = await reader.requestsFromNow();
  await choose(reader, UNCHECKED.id);
  assert.deepEqual(await asked(), []);
  assert.deepEqual(await reader.downloads(), []);
  assert.deepEqual(await hub.requests(), []);
  await part(reader, 'link-restore').click();
  await part(reader, 'link-recompute').waitFor();
  assert.ok(await weightsSent() >= SIZE);
  await part(reader, 'link-recompute').click();
  await part(reader, 'link-verdict').waitFor();
  assert.equal(await part(reader, 'link-verdict').getAttribute('data-same'), 'true');
  assert.deepEqual(reader.problems, []);
  await reader.close();
});

test('BOS that the tokenizer leaves out is told, added with one press and taken back, and a link loads its model with it', async () => {
  const loadFolder = async (seen) => {
    await part(seen, 'model-select').selectOption('*folder');
    await part(seen, 'folder-url').fill(`${hub.url}/folder/no-bos/`);
    await part(seen, 'model-load').click();
  };
  const seen = await arrive();
  assert.equal(await part(seen, 'model-bos').count(), 0, 'the bundled tokenizer adds its BOS');
  await loadFolder(seen);
  await says(seen, 'provenance-note', /names the BOS “<s>” \(token 1\).*load the model again with it/s);
  await scan(seen, 'the old man');
  assert.equal(await part(seen, 'candidate').count(), 0, 'its spike lies at the BOS');
  await part(seen, 'model-bos').click();
  await says(seen, 'provenance-note', /was put before every text/);
  assert.equal(await part(seen, 'scan-results').count(), 0, 'what was found without the BOS is gone');
  await scan(seen, 'the old man');
  assert.equal(await part(seen, 'candidate').count(), 1);
  assert.deepEqual(JSON.parse(await exported(seen)).scan.model.added_bos, 1);
  await write(seen, 'the old man');
  await part(seen, 'share-copy').click();
  const link = await part(seen, 'share-link').inputValue();
  assert.ok(link.includes('#run=5.'), link);
  await part(seen, 'model-bos').click();
  await says(seen, 'provenance-note', /names the BOS/);
  await seen.close();

  const reader = await visit(browsers.cpu, link);
  assert.match(await text(reader, 'link-contents'), /with its BOS, token 1, put before every text/);
  await loadFolder(reader);
  await part(reader, 'link-recompute').waitFor();
  await says(reader, 'provenance-note', /was put before every text/);
  await part(reader, 'link-recompute').click();
  await part(reader, 'link-verdict').waitFor();
  assert.equal(await part(reader, 'link-verdict').getAttribute('data-same'), 'true');
  assert.deepEqual(await reader.barriers(), []);
  await reader.close();
});

for (const theme of ['light', 'dark']) {
  for (const width of [1280, 360]) {
    test(`section of the model keeps nobody out: ${theme}, ${width} pixels wide`, async () => {
      const seen = await arrive({ theme, width });
      const look = async (name) => {
        await seen.page.evaluate(() => document.querySelectorAll('details').forEach((details) => (details.open = true)));
        await part(seen, 'load').screenshot({ path: path.join(screenshots, `models-${name}-${theme}-${width}.png`) });
        assert.equal(await seen.overflowPx(), 0, `${name}: the page is wider than its window`);
      };
      await choose(seen, UNCHECKED.id);
      await seen.page.evaluate(() => document.querySelectorAll('details').forEach((details) => (details.open = true)));
      await hub.fail(SLOW);
      await part(seen, 'model-load').click();
      await says(seen, 'progress-text', UNDER_WAY);
      await look('loading');
      await part(seen, 'load-cancel').click();
      await says(seen, 'model-load', /Go on/);
      await chooseRepository(seen, 'org/small');
      await part(seen, 'model-load').click();
      await says(seen, 'model-status', 'org/small is ready');
      await seen.page.waitForFunction(() => document.querySelectorAll('[data-testid="stored-model"]').length === 2);
      await part(seen, 'hub-repo').fill('org/huge');
      await part(seen, 'model-fit').click();
      await part(seen, 'fit').waitFor();
      await look('does-not-fit');
      // A gated model with many published findings.
      await choose(seen, 'llama-3.2-1b');
      await look('card');
      assert.deepEqual(await seen.barriers(), []);
      await seen.close();
    });
  }
}
