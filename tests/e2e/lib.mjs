// Shared parts of the end-to-end tests: a server, a browser, and a page with a record of its problems.
//
// `cargo xtask test` runs them. By hand, on a page built by `cargo xtask build`: node --test tests/e2e/*.test.mjs

import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium } from 'playwright-core';
import { PATIENCE_MS } from './patience.mjs';
import { root, xtask } from './xtask.mjs';

export { root };
export const dist = process.env.LINCHPIN_DIST ?? path.join(root, 'dist');
export const screenshots = path.join(path.resolve(root, process.env.CARGO_TARGET_DIR ?? 'target'), 'screenshots');

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** A page is quiet after this time without a request. */
const QUIET_MS = 500;

/** Disables the browser's own activities, so that only the page makes requests. */
const BROWSER_ARGS = [
  '--no-sandbox',
  '--disable-gpu-sandbox',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
  '--disable-quic',
];

/** Two kinds of visitors: one whose browser finds no WebGPU adapter, and one with WebGPU (emulated on the CPU). */
const WEBGPU_ARGS = {
  none: [],
  swiftshader: ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'],
};

/**
 * Serves a folder as a static host would.
 * @returns {Promise<{url: string, stop: () => Promise<void>}>}
 */
export async function serve({ folder = dist, base = '/' } = {}) {
  const [program, args] = xtask('serve', '--no-build', folder, '--port', '0', '--base', base, '--until-stdin-closes');
  const server = spawn(program, args, { cwd: root, stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => {
    server.on('exit', resolve);
    server.on('error', resolve);
  });
  const started = (async () => {
    for await (const line of createInterface({ input: server.stdout })) {
      const found = line.match(/http:\/\/127\.0\.0\.1:\d+\S*/);
      if (found) return found[0];
    }
    throw new Error(`${program} ${args.join(' ')}: ended without serving`);
  })();
  const failed = ended.then((why) => Promise.reject(new Error(`${program} did not start serving: ${why}`)));
  failed.catch(() => {});
  const url = await Promise.race([started, failed]);
  const stop = async () => {
    server.stdin.end();
    await ended;
  };
  return { url, stop };
}

/**
 * Starts a browser.
 * @param {{webgpu?: 'none' | 'swiftshader', args?: string[]}} options
 */
export function launch({ webgpu = 'none', args = [] } = {}) {
  const executablePath = process.env.CHROME ?? '/usr/bin/chromium';
  return chromium.launch({ executablePath, headless: true, timeout: PATIENCE_MS, args: [...BROWSER_ARGS, ...WEBGPU_ARGS[webgpu], ...args] });
}

/** The built page's server, a browser without a GPU, and one with a software GPU. */
export async function open() {
  const browsers = {};
  const server = await serve();
  try {
    browsers.cpu = await launch();
    browsers.gpu = await launch({ webgpu: 'swiftshader' });
  } catch (error) {
    // A process that runs on would keep the tests from ending.
    await close({ server, browsers });
    throw error;
  }
  return { server, browsers };
}

/** Closes the pages that a failed test left open, so that they do not work beside the next test. */
export async function closePages(browsers) {
  const contexts = Object.values(browsers ?? {}).flatMap((browser) => browser.contexts());
  await Promise.all(contexts.map((context) => context.close()));
}

/** Stops everything that `open` started. */
export async function close({ server, browsers }) {
  for (const browser of Object.values(browsers ?? {})) await browser.close();
  await server?.stop();
}

/**
 * Opens an address as a new visitor (nothing stored) and records its problems.
 * @param {import('playwright-core').Browser} browser
 */
export async function visit(browser, url, { theme = 'light', width = 1280, height = 900, reducedMotion = 'reduce' } = {}) {
  const context = await browser.newContext({ colorScheme: theme, reducedMotion, viewport: { width, height } });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const seen = new Visit(page);
  const { problems } = seen;
  page.on('console', (message) => {
    if (message.type() === 'error') problems.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on('pageerror', (error) => problems.push(`uncaught: ${error.stack ?? error}`));
  page.on('crash', () => problems.push('the page crashed'));
  page.on('requestfailed', (request) => {
    // A download that the page itself stops is not a problem.
    const why = request.failure()?.errorText;
    if (why !== 'net::ERR_ABORTED') problems.push(`request failed: ${request.url()} (${why})`);
  });
  page.on('response', (response) => {
    if (response.status() >= 400) problems.push(`status ${response.status()}: ${response.url()}`);
  });
  endWithDevice(page);
  await page.goto(url);
  return seen;
}

/** Closes a page whose device has failed (a browser's GPU process may crash), because a test would wait for it in vain. */
async function endWithDevice(page) {
  const failure = page.locator('[data-testid="failure"][data-kind="device"]');
  try {
    await failure.waitFor({ timeout: 0 });
    console.error(`the device failed: ${await failure.innerText()}`);
    await page.context().close();
  } catch {
    // The test has closed the page.
  }
}

/** The browser may request a page's icon at any time. */
const isIcon = (url) => /\/(fav)?icon[^/]*\.(svg|ico)$/.test(new URL(url).pathname);

export class Visit {
  #lastRequestMs = 0;

  /** Listens before the page is opened, to record the first request. */
  constructor(page) {
    /** @type {import('playwright-core').Page} */
    this.page = page;
    /** @type {string[]} The problems so far: errors on the console, uncaught errors, failed requests. */
    this.problems = [];
    /** @type {string[]} The addresses requested so far, except the icon. */
    this.requests = [];
    page.on('request', (request) => {
      if (isIcon(request.url())) return;
      this.requests.push(request.url());
      this.#lastRequestMs = performance.now();
    });
  }

  /** Waits until the page has been quiet for a while from now on. */
  async quiet() {
    const beganMs = performance.now();
    await this.page.waitForLoadState('networkidle');
    while (performance.now() - Math.max(beganMs, this.#lastRequestMs) < QUIET_MS) await sleep(QUIET_MS / 10);
  }

  /** Waits until the page is quiet, and returns a function that lists the requests from then until it is quiet again. */
  async requestsFromNow() {
    await this.quiet();
    const n = this.requests.length;
    return async () => {
      await this.quiet();
      return this.requests.slice(n);
    };
  }

  /** Waits until the page is quiet, and returns the requests that need a press of a button: the engine, models, and other servers. */
  async downloads() {
    await this.quiet();
    const own = new URL(this.page.url()).origin;
    return this.requests.filter((url) => new URL(url).origin !== own || /engine|models\//.test(new URL(url).pathname));
  }

  /** Keeps a picture of the whole page; returns its path. */
  async screenshot(name) {
    mkdirSync(screenshots, { recursive: true });
    const file = path.join(screenshots, `${name}.png`);
    await this.page.screenshot({ path: file, fullPage: true });
    return file;
  }

  /** The serious accessibility problems that axe-core finds on the page. */
  async barriers() {
    // Evaluated rather than added as a script: a content security policy may forbid the latter.
    await this.page.evaluate(axeSource);
    const { violations } = await this.page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
    const grave = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
    return grave.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html} (${node.failureSummary})`));
  }

  /** The number of pixels by which the page is wider than its window. */
  overflowPx() {
    return this.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  }

  async close() {
    await this.page.context().close();
  }
}

/** The page's parts by their test ids. */
export const part = (seen, id) => seen.page.getByTestId(id);

/** The text of a part. */
export async function text(seen, id) {
  return (await part(seen, id).first().innerText()).trim();
}

/** Opens a `details` that may be open already. */
export async function unfold(details) {
  if (!(await details.evaluate(({ open }) => open))) await details.locator('summary').first().click();
}

/** Waits until a control can be used. */
export async function isEnabled(seen, id) {
  await seen.page.waitForFunction((id) => document.querySelector(`[data-testid="${id}"]`)?.disabled === false, id);
}

/** Puts a fixture's files into the page's own file field; `change` changes each of them. */
export async function openFixture(seen, name, change = (file) => file) {
  const folder = path.join(root, 'tests/fixtures', name);
  const names = readdirSync(folder).filter((file) => /^(config|tokenizer|generation_config|model.*)\.(json|safetensors)$|index\.json$/.test(file));
  const files = names.map((file) => change({ name: file, mimeType: 'application/octet-stream', buffer: readFileSync(path.join(folder, file)) }));
  await part(seen, 'open-files').setInputFiles(files);
}

/** The native command's output for the bundled model, on the CPU. */
export const command = (...args) => commandOn(path.join(root, 'public/models/linchpin-13m'), ...args);

/** The native command's output for the model in a folder, on the CPU. */
export function commandOn(folder, ...args) {
  const program = path.join(path.resolve(root, process.env.CARGO_TARGET_DIR ?? 'target'), 'debug/linchpin');
  const output = execFileSync(program, [...args, '--model', folder, '--device', 'cpu', '--json'], { maxBuffer: 1 << 26, stdio: ['ignore', 'pipe', 'ignore'] });
  return JSON.parse(output);
}
