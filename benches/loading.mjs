// The memory that loading a model takes in a browser, with the built page, a local Hub, and a model of random weights.
//
//     node benches/loading.mjs [--shape smollm2-360m-21-layers] [--dtype bf16] [--shards 1] [--browsers cpu,gpu]
//
// It needs a built page (`cargo xtask build`; LINCHPIN_DIST if it is elsewhere), the end-to-end tests' npm packages (which
// `cargo xtask test` installs), Linux for the processes' figures, and room for the model in the temporary folder. It prints
// JSON. The GPU is SwiftShader: its buffers are in the GPU process's memory; a real GPU's would be in the card's.

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startHub } from '../tests/e2e/hub.mjs';
import { dist, launch, part, serve, visit } from '../tests/e2e/lib.mjs';
import { PATIENCE_MS } from '../tests/e2e/patience.mjs';
import { SHAPES, writeSynthetic } from '../tests/e2e/synthetic.mjs';

const EVERY_MS = 20;
const SETTLE_MS = 3000;
const REPO = 'org/model';

/** Makes the engine's memory accessible. WebAssembly's memory never shrinks, so its size is its peak. */
const HOOK = `
const { instantiate, instantiateStreaming } = WebAssembly;
const keep = (made) => ((self.engineMemory = (made.instance ?? made).exports?.memory ?? self.engineMemory), made);
WebAssembly.instantiateStreaming = (...given) => instantiateStreaming(...given).then(keep);
WebAssembly.instantiate = (...given) => instantiate(...given).then(keep);
`;

/**
 * Loads a model of random weights in each kind of browser.
 * @param {{shape?: string, dtype?: string, shards?: string, browsers?: string}} options
 * @returns the measurements, in bytes and milliseconds; `beyond` is the growth of the engine's memory without the model's weights
 */
export async function measureLoading({ shape = SHAPES.SMOLLM2_360M_21_LAYERS, dtype = 'bf16', shards = '1', browsers = 'cpu,gpu' } = {}) {
  const scratch = mkdtempSync(path.join(tmpdir(), 'linchpin-memory-'));
  const [folder, page] = ['model', 'page'].map((name) => path.join(scratch, name));
  let hub;
  let server;
  try {
    const files = await writeSynthetic(folder, { shape, dtype, shards });
    cpSync(dist, page, { recursive: true });
    const loader = path.join(page, 'engine_loader.js');
    writeFileSync(loader, HOOK + readFileSync(loader, 'utf8'));
    hub = await startHub({ models: { [REPO]: { folder, sha256: digests(files) } } });
    server = await serve({ folder: page });
    const fileBytes = weightsOf(files);
    const measured = [];
    for (const kind of browsers.split(',')) {
      const figures = await measure(kind, hub.url, server.url);
      // On the CPU the weights are f32 in the engine's memory; a GPU has its own memory.
      const own = { cpu: dtype === 'f32' ? fileBytes : 2 * fileBytes, gpu: 0 }[kind];
      measured.push({ kind, beyond: figures.engineMemory.grown - own, ...figures });
    }
    return { shape, dtype, shards, fileBytes, measured };
  } finally {
    await hub?.stop();
    await server?.stop();
    rmSync(scratch, { recursive: true, force: true });
  }
}

function digests(files) {
  return Object.fromEntries(Object.entries(files).map(([name, { sha256 }]) => [name, sha256]));
}

function weightsOf(files) {
  return Object.entries(files).filter(([name]) => name.endsWith('.safetensors')).reduce((sum, [, { size }]) => sum + size, 0);
}

/** Loads the model through the page's controls, and samples its memory until the weights are loaded. */
async function measure(kind, hubUrl, pageUrl) {
  const browser = await launch({ webgpu: kind === 'gpu' ? 'swiftshader' : 'none' });
  try {
    const seen = await visit(browser, pageUrl);
    await part(seen, 'backend').waitFor();
    await part(seen, 'backend-choice').selectOption(kind);
    await part(seen, 'model-select').selectOption('*repo');
    await part(seen, 'server-options').evaluate((details) => (details.open = true));
    await part(seen, 'hub-endpoint').fill(hubUrl);
    await part(seen, 'hub-repo').fill(REPO);
    const engine = await Engine.of(seen.page);
    const processes = await processesOf(browser);
    const before = { engine: await engine.engineMemory(), heap: await engine.heap(), rss: read(processes, 'VmRSS') };
    for (const { id } of processes) writeFileSync(`/proc/${id}/clear_refs`, '5');

    await part(seen, 'model-load').click();
    const begun = performance.now();
    let heap = 0;
    let loadedMs;
    for (;;) {
      // A busy worker answers late. Peaks between two answers are missed here, but are in the process's peak.
      heap = Math.max(heap, await engine.heap());
      const state = await seen.page.evaluate(() => {
        const text = (id) => document.querySelector(`[data-testid="${id}"]`)?.textContent ?? '';
        return { progress: text('progress-text'), status: text('model-status'), failure: text('failure') };
      });
      if (state.failure) throw new Error(state.failure);
      if (isWhole(state.progress)) loadedMs ??= performance.now() - begun;
      // SwiftShader then takes minutes for the first tokens, which check the device.
      // On the CPU the page may be ready before the last bytes are sampled.
      if (state.status === `${REPO} is ready.`) loadedMs ??= performance.now() - begun;
      if (state.status === `${REPO} is ready.` || (kind === 'gpu' && performance.now() - begun > loadedMs + SETTLE_MS)) break;
      if (performance.now() - begun > PATIENCE_MS) throw new Error(`not loaded after ${PATIENCE_MS / 60_000} minutes: ${JSON.stringify(state)}`);
      await sleep(EVERY_MS);
    }
    const peak = read(processes, 'VmHWM');
    const engineBytes = await engine.engineMemory();
    const grown = Object.fromEntries(Object.keys(peak).map((type) => [type, peak[type] - before.rss[type]]));
    return {
      loadedMs: Math.round(loadedMs),
      engineMemory: { peak: engineBytes, grown: engineBytes - before.engine },
      workerHeap: { peak: heap, grown: heap - before.heap },
      processes: { peak, grown },
    };
  } finally {
    await browser.close();
  }
}

/** "loading weights: 507 MB of 507 MB" */
function isWhole(progress) {
  const [, done, total] = /: (\S+ \S+) of ([^,]+)/.exec(progress) ?? [];
  return done !== undefined && done === total;
}

/** The page's engine, through the browser's debugger of its worker. */
class Engine {
  #session;
  #target;
  #waiting = new Map();
  #n = 0;

  static async of(page) {
    const engine = new Engine();
    engine.#session = await page.context().newCDPSession(page);
    const attached = new Promise((resolve) => engine.#session.on('Target.attachedToTarget', resolve));
    engine.#session.on('Target.receivedMessageFromTarget', ({ message }) => {
      const { id, result } = JSON.parse(message);
      engine.#waiting.get(id)?.(result);
    });
    await engine.#session.send('Target.setAutoAttach', { autoAttach: true, waitForDebuggerOnStart: false, flatten: false });
    engine.#target = (await attached).sessionId;
    return engine;
  }

  async #ask(method, params = {}) {
    const id = ++this.#n;
    const answer = new Promise((resolve) => this.#waiting.set(id, resolve));
    await this.#session.send('Target.sendMessageToTarget', { sessionId: this.#target, message: JSON.stringify({ id, method, params }) });
    return answer;
  }

  /** Bytes of the WebAssembly memory. */
  async engineMemory() {
    const { result } = await this.#ask('Runtime.evaluate', { expression: 'self.engineMemory.buffer.byteLength' });
    return result.value;
  }

  /** Bytes of JavaScript's objects and their buffers. */
  async heap() {
    const usage = await this.#ask('Runtime.getHeapUsage');
    return usage.usedSize + (usage.embedderHeapUsedSize ?? 0) + (usage.backingStorageSize ?? 0);
  }
}

/** The browser's processes that may hold a model. */
async function processesOf(browser) {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  return processInfo.filter(({ type }) => type === 'renderer' || type === 'GPU');
}

/** Bytes in a line of `/proc/{id}/status`, by kind of process. */
function read(processes, name) {
  const all = {};
  for (const { id, type } of processes) {
    const kib = Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${id}/status`, 'utf8'))[1]);
    all[type] = Math.max(all[type] ?? 0, kib * 1024);
  }
  return all;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = { type: 'string' };
  const { values } = parseArgs({ options: { shape: text, dtype: text, shards: text, browsers: text } });
  console.log(JSON.stringify(await measureLoading(values), null, 2));
}
