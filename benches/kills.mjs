// Ends the command at random moments, and cuts its downloads at random bytes; checks that nothing is lost and nothing half-written stays.
//
//     node benches/kills.mjs [--command sweep,grid,deletions,training,download,cuts] [--times 1000] [--seed 1]
//
// It needs the command (`cargo build`) and, for downloads, `cargo xtask` (LINCHPIN_XTASK if it is built already). It prints JSON.
//
// - sweep, grid (all its methods), deletions, training: the command writes a table on a small fixture, and is killed (SIGKILL) after a random
//   part of the time that it takes whole; then it is started again, until one run comes to its end. After every kill each whole line of
//   the table must be one of the whole run's, in its order, and the finished table must be that of the whole run, byte for byte.
// - download: the same for a model from a local Hub. After every kill no file of the cache may have a final name and other bytes.
// - cuts: the connection of a download breaks off before a random byte of the weights. The command must say so and keep what has come,
//   and the next call must bring only the rest.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { startHub } from '../tests/e2e/hub.mjs';
import { root } from '../tests/e2e/xtask.mjs';
import { random } from './random.mjs';

const { values } = parseArgs({
  options: {
    command: { type: 'string', default: 'sweep,grid,deletions,training,download,cuts' },
    times: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '1' },
  },
});
const times = Number(values.times);
const program = path.join(path.resolve(root, process.env.CARGO_TARGET_DIR ?? 'target'), 'debug/linchpin');
const fixture = path.join(root, 'tests/fixtures/llama');
const scratch = mkdtempSync(path.join(tmpdir(), 'linchpin-kills-'));

const next = random(Number(values.seed));

/** Starts the command; resolves with its exit code, or `null` if it was killed after so many milliseconds. `refusal`: words that it may end with. */
async function run(args, { killAfterMs, refusal, env = {} } = {}) {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...env } });
  let told = '';
  child.stderr.on('data', (text) => (told += text));
  const ended = new Promise((resolve) => child.on('close', resolve));
  if (killAfterMs !== undefined) {
    await Promise.race([ended, sleep(killAfterMs)]);
    child.kill('SIGKILL');
  }
  const code = await ended;
  const isTold = code === 2 && refusal?.test(told);
  assert.ok(code === 0 || isTold || (code === null && killAfterMs !== undefined), `${args.join(' ')}: exit ${code}\n${told}`);
  return code;
}

const small = ['--sequences', '2', '--length', '16', '--device', 'cpu', '--model', fixture];

/** Two checkpoints of a training. */
function training() {
  const folder = path.join(scratch, 'training/seed-1');
  for (const step of ['step-000020', 'step-000100', 'step-000200']) {
    mkdirSync(path.join(folder, step), { recursive: true });
    cpSync(fixture, path.join(folder, step), { recursive: true });
  }
  return path.dirname(folder);
}

const TABLES = {
  sweep: () => ['sweep', '--methods', 'lp,scar-conn,random', '--sparsities', '0,0.5', '--shares', '0.02,0.1', '--etas', '0.1', '--seeds', '1,2', ...small],
  grid: () => ['sweep', '--seeds', '1', ...small],
  deletions: () => ['deletions', '--per-layer', '16', '--quantiles', '4', ...small],
  training: () => ['training', training(), '--scalar', '1,5,17', ...small.slice(0, -2)],
};

/** Kills a command that writes a table until it was killed so often; returns what was seen. */
async function tables(name) {
  const args = TABLES[name]();
  const whole = path.join(scratch, `${name}-whole.csv`);
  let began = performance.now();
  await run([...args, '--csv', whole]);
  const wholeMs = performance.now() - began;
  const reference = readFileSync(whole, 'utf8');
  const lines = reference.split('\n');
  const csv = path.join(scratch, `${name}.csv`);
  let [kills, inTheTable, finished] = [0, 0, 0];
  while (kills < times) {
    rmSync(csv, { force: true });
    for (let rows = -1; ; ) {
      const code = await run([...args, '--csv', csv], { killAfterMs: kills < times ? next() * wholeMs * 1.05 : undefined });
      const text = existsSync(csv) ? readFileSync(csv, 'utf8') : '';
      const kept = text.split('\n').slice(0, -1);
      assert.deepEqual(kept, lines.slice(0, kept.length), `${name}: the table has other lines`);
      assert.ok(kept.length >= rows, `${name}: ${rows} rows became ${kept.length}`);
      rows = kept.length;
      if (code === 0) {
        assert.equal(text, reference, `${name}: the finished table is another`);
        finished += 1;
        break;
      }
      kills += 1;
      inTheTable += rows > 0 && rows < lines.length - 1;
    }
  }
  return { kills, inTheTable, finished, rows: lines.length - 2, wholeMs: Math.round(wholeMs) };
}

const REPO = 'org/tiny';

/** Every file below a folder. */
function filesBelow(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() || entry.isSymbolicLink())
    .map((entry) => path.join(entry.parentPath, entry.name));
}

/** A Hub with the bundled model, and its files' digests. */
async function hubWithModel() {
  const folder = path.join(root, 'public/models/linchpin-13m');
  const names = ['config.json', 'generation_config.json', 'tokenizer.json', 'model.safetensors'];
  const hub = await startHub({ models: { [REPO]: { files: Object.fromEntries(names.map((name) => [name, { path: path.join(folder, name) }])) } } });
  const digests = new Map(names.map((name) => [name, createHash('sha256').update(readFileSync(path.join(folder, name))).digest('hex')]));
  return { hub, digests, weights: statSync(path.join(folder, 'model.safetensors')).size };
}

const generate = ['generate', '--model', REPO, '--prompt', 'the old man', '--max-new-tokens', '1', '--temperature', '0', '--device', 'cpu'];
const home = (hub, cache) => ({ HF_HOME: cache, HF_ENDPOINT: hub.url, HF_HUB_CACHE: path.join(cache, 'hub'), HF_TOKEN: '' });

/** No file that a reader of the cache finds by its name has other bytes. Returns how many there are. */
function assertCacheIsWhole(cache, digests) {
  const found = filesBelow(path.join(cache, 'hub')).filter((file) => /[\\/]snapshots[\\/]/.test(file) && existsSync(file));
  for (const file of found) {
    const digest = createHash('sha256').update(readFileSync(file)).digest('hex');
    assert.equal(digest, digests.get(path.basename(file)), `${file} has other bytes`);
  }
  return found.length;
}

async function download() {
  const { hub, digests } = await hubWithModel();
  const cache = path.join(scratch, 'cache');
  let began = performance.now();
  await run(generate, { env: home(hub, cache) });
  const wholeMs = performance.now() - began;
  let [kills, inTheWeights, finished] = [0, 0, 0];
  while (kills < times) {
    rmSync(cache, { recursive: true, force: true });
    for (;;) {
      const code = await run(generate, { env: home(hub, cache), killAfterMs: kills < times ? next() * wholeMs : undefined });
      const n = assertCacheIsWhole(cache, digests);
      if (code === 0) {
        assert.equal(n, digests.size);
        finished += 1;
        break;
      }
      kills += 1;
      inTheWeights += n < digests.size && n > 0;
    }
  }
  await hub.stop();
  return { kills, inTheWeights, finished, wholeMs: Math.round(wholeMs) };
}

async function cuts() {
  const { hub, digests, weights } = await hubWithModel();
  let resent = 0;
  for (let cut = 0; cut < times; cut += 1) {
    const cache = path.join(scratch, `cache-${cut}`);
    await hub.forget();
    await hub.fail({ kind: 'cut', path: 'model.safetensors', at: Math.floor(next() * weights), reset: next() < 0.5 });
    assert.equal(await run(generate, { env: home(hub, cache), refusal: /The download was cut/ }), 2);
    assertCacheIsWhole(cache, digests);
    await hub.clear();
    await run(generate, { env: home(hub, cache) });
    assert.equal(assertCacheIsWhole(cache, digests), digests.size);
    resent += (await hub.bytesSent('model.safetensors')) / weights - 1;
    rmSync(cache, { recursive: true });
  }
  await hub.stop();
  return { cuts: times, resentShare: Number((resent / times).toFixed(4)) };
}

execFileSync(program, ['--version']);
const seen = {};
try {
  for (const name of values.command.split(',')) {
    const began = performance.now();
    seen[name] = { ...(await (name === 'download' ? download() : name === 'cuts' ? cuts() : tables(name))), tookS: Math.round((performance.now() - began) / 1000) };
    console.error(`${name}: ${JSON.stringify(seen[name])}`);
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
console.log(JSON.stringify(seen, null, 2));
