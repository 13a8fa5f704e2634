// What a browser's storage and network do to the page, in Chromium, Firefox and WebKit.
//
//     node benches/browsers.mjs [--browser chromium,firefox,webkit] [--only tabs,private,quota,cleared,token]
//
// - tabs: two tabs load the same model of a Hub at once, then both from the store; one deletes it while the other works.
// - private: a private window loads the model, with whatever storage it has.
// - quota: the browser has too little room for the weights (Chromium's quota; elsewhere a stand-in that refuses every write).
// - cleared: the site's storage is cleared while a download is under way, and again after the model runs.
// - token: a gated model's files lie behind a redirect to another host; the token must not reach it.
//
// In each the model must run and be right (its known text), or the page must say in words what happened. It needs a built page
// (LINCHPIN_DIST), the end-to-end tests' npm packages, `puppeteer-core` for Firefox (`npm install --no-save puppeteer-core` in
// tests/e2e), and for WebKit `WebKitWebDriver` with MiniBrowser in an X server (`xvfb-run node …`). It prints JSON.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { TOKEN, startHub } from '../tests/e2e/hub.mjs';
import { launch, root, serve } from '../tests/e2e/lib.mjs';

const { values } = parseArgs({
  options: { browser: { type: 'string', default: 'chromium,firefox,webkit' }, only: { type: 'string', default: 'tabs,private,quota,cleared,token' } },
});
const PATIENCE_MS = 240_000;
const MIB = 1 << 20;
const folder = path.join(root, 'public/models/linchpin-13m');
const REPO = 'org/model';
const GATED = 'org/gated';

/** A tab: all that the scenarios need is to run a function in it. */
class Tab {
  constructor(run, close) {
    this.run = run;
    this.close = close;
  }

  /** Waits until a function of the page, called with the arguments, returns something true; returns that. */
  async until(what, ...args) {
    const beganMs = performance.now();
    for (;;) {
      const found = await this.run(what, ...args);
      if (found) return found;
      if (performance.now() - beganMs > PATIENCE_MS) throw new Error(`waited in vain for ${what}: ${await this.run(() => document.body.innerText.slice(0, 3000))}`);
      await sleep(200);
    }
  }

  press(id) {
    return this.until((id) => { const found = document.querySelector(`[data-testid="${id}"]`); if (!found || found.disabled) return false; found.click(); return true; }, id);
  }

  async fill(id, value) {
    await this.until((id) => Boolean(document.querySelector(`[data-testid="${id}"]`)), id);
    await this.run((id, value) => {
      const field = document.querySelector(`[data-testid="${id}"]`);
      const set = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), 'value').set;
      set.call(field, value);
      field.dispatchEvent(new Event('input', { bubbles: true }));
      field.dispatchEvent(new Event('change', { bubbles: true }));
    }, id, value);
  }

  text(id) {
    return this.run((id) => document.querySelector(`[data-testid="${id}"]`)?.textContent ?? '', id);
  }

  /** Waits for words in a part. */
  says(id, words) {
    return this.until((id, source) => {
      const found = [...document.querySelectorAll(`[data-testid="${id}"]`)].map(({ textContent }) => textContent).find((text) => new RegExp(source, 'is').test(text));
      return found ?? false;
    }, id, words.source);
  }
}

/** Each opens tabs in one profile: `open(url)`, and `close()`; `window({ isPrivate })` begins with an empty profile. */
const BROWSERS = {
  async chromium({ isPrivate }) {
    const browser = await launch();
    // Every context of Playwright's is an off-the-record profile, as a private window is.
    const context = await browser.newContext();
    return {
      version: browser.version(),
      isPrivate,
      async open(url) {
        const page = await context.newPage();
        await page.goto(url);
        const run = (what, ...args) => page.evaluate(([what, args]) => (0, eval)(`(${what})`)(...args), [String(what), args]).catch(() => false);
        const cdp = await context.newCDPSession(page);
        return Object.assign(new Tab(run, () => page.close()), { cdp });
      },
      close: () => browser.close(),
    };
  },

  async firefox({ isPrivate }) {
    const puppeteer = createRequire(path.join(root, 'tests/e2e/package.json'))('puppeteer-core');
    const browser = await puppeteer.launch({
      browser: 'firefox',
      executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
      headless: true,
      args: isPrivate ? ['-private-window'] : [],
      extraPrefsFirefox: { 'browser.privatebrowsing.autostart': isPrivate, 'dom.ipc.processCount': 2 },
    });
    return {
      version: await browser.version(),
      isPrivate,
      async open(url) {
        const page = await browser.newPage();
        await page.goto(url);
        const run = (what, ...args) => page.evaluate((what, args) => (0, eval)(`(${what})`)(...args), String(what), args).catch(() => false);
        return new Tab(run, () => page.close());
      },
      close: () => browser.close(),
    };
  },

  async webkit({ isPrivate }) {
    const port = 4000 + Math.floor(Math.random() * 20_000);
    const driver = spawn('WebKitWebDriver', ['--port', String(port)], { stdio: 'ignore' });
    const ask = async (method, where, body) => {
      const answer = await fetch(`http://127.0.0.1:${port}${where}`, { method, body: body && JSON.stringify(body) });
      const { value } = await answer.json();
      if (!answer.ok) throw new Error(`${where}: ${value.error} ${value.message}`);
      return value;
    };
    for (let attempt = 0; ; attempt += 1) {
      try {
        await ask('GET', '/status');
        break;
      } catch (why) {
        if (attempt > 50) throw why;
        await sleep(200);
      }
    }
    const binary = process.env.MINIBROWSER ?? '/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser';
    const args = ['--automation', ...(isPrivate ? ['--private'] : [])];
    const { sessionId, capabilities } = await ask('POST', '/session', { capabilities: { alwaysMatch: { 'webkitgtk:browserOptions': { binary, args } } } });
    const session = `/session/${sessionId}`;
    await ask('POST', `${session}/timeouts`, { script: PATIENCE_MS });
    let turn = Promise.resolve();
    // A session has one current window, so that the tabs take turns.
    const inWindow = (handle, act) => (turn = turn.catch(() => {}).then(() => ask('POST', `${session}/window`, { handle })).then(act));
    let isFirst = true;
    return {
      version: `${capabilities.browserName} ${capabilities.browserVersion}`,
      isPrivate,
      async open(url) {
        const handle = isFirst ? await ask('GET', `${session}/window`) : (await ask('POST', `${session}/window/new`, { type: 'tab' })).handle;
        isFirst = false;
        await inWindow(handle, () => ask('POST', `${session}/url`, { url }));
        const run = (what, ...args) => inWindow(handle, () => ask('POST', `${session}/execute/sync`, { script: `return (${what})(...arguments)`, args }));
        return new Tab(run, () => inWindow(handle, () => ask('DELETE', `${session}/window`)));
      },
      async close() {
        await ask('DELETE', session).catch(() => {});
        driver.kill();
      },
    };
  },
};

/** Requests a model of the local Hub. */
async function load(tab, hub, repo, { token } = {}) {
  await tab.fill('model-select', '*repo');
  await tab.run(() => { document.querySelector('[data-testid="server-options"]').open = true; });
  await tab.fill('hub-endpoint', hub.url);
  await tab.fill('hub-repo', repo);
  if (token) await tab.fill('hub-token', token);
  await tab.press('model-load');
}

/** Waits until the model is ready, and checks that it computes what it must. */
async function isRight(tab, repo) {
  await tab.says('model-status', new RegExp(`${repo} is ready`));
  await tab.press('scan-run');
  await tab.says('candidate', /2.*12.*86/);
  return tab.text('provenance');
}

const arrive = async (browser, url) => {
  const tab = await browser.open(url);
  await tab.until(() => Boolean(document.querySelector('[data-testid="backend"]')));
  return tab;
};

const clear = async () => {
  const folder = await navigator.storage.getDirectory();
  for await (const name of folder.keys()) await folder.removeEntry(name, { recursive: true }).catch(() => {});
};

const SCENARIOS = {
  async tabs({ browser, url, hub }) {
    const [one, two] = [await arrive(browser, url), await arrive(browser, url)];
    await Promise.all([load(one, hub, REPO), load(two, hub, REPO)]);
    const downloaded = [await isRight(one, REPO), await isRight(two, REPO)];
    const sent = await hub.bytesSent('model.safetensors');
    // Both again, in new tabs, from the store.
    await hub.forget();
    const [three, four] = [await arrive(browser, url), await arrive(browser, url)];
    await Promise.all([load(three, hub, REPO), load(four, hub, REPO)]);
    await isRight(three, REPO);
    await isRight(four, REPO);
    const again = await hub.bytesSent('model.safetensors');
    // One tab deletes what the other runs.
    await three.run(() => { for (const details of document.querySelectorAll('details')) details.open = true; });
    await three.press('stored-delete');
    await four.press('scan-run');
    await four.says('candidate', /2.*12.*86/);
    return { sentTimes: sent / hub.weights, sentFromStoreTimes: again / hub.weights, provenance: downloaded[0] };
  },

  async private({ url, hub, begin }) {
    const browser = await begin({ isPrivate: true });
    try {
      const tab = await arrive(browser, url);
      await load(tab, hub, REPO);
      return { provenance: await isRight(tab, REPO), locks: await tab.run(() => Boolean(navigator.locks)), directory: await tab.run(() => Boolean(navigator.storage?.getDirectory)) };
    } finally {
      await browser.close();
    }
  },

  async quota({ browser, url, hub }) {
    const tab = await arrive(browser, url);
    if (!tab.cdp) return 'this browser has no way to set a quota from outside';
    await tab.cdp.send('Storage.overrideQuotaForOrigin', { origin: new URL(url).origin, quotaSize: 4 * MIB });
    await load(tab, hub, REPO);
    return { provenance: await isRight(tab, REPO) };
  },

  async cleared({ browser, url, hub }) {
    const tab = await arrive(browser, url);
    await hub.fail({ kind: 'slow', on: 'cdn', path: 'model.safetensors', bytesPerSecond: 2 * MIB, times: 1000 });
    await load(tab, hub, REPO);
    await tab.says('progress-text', /[3-9]\.\d MB of/);
    await tab.run(`() => { (${clear})(); }`);
    await hub.clear();
    const provenance = await isRight(tab, REPO);
    await tab.run(`() => { (${clear})(); }`);
    await tab.press('scan-run');
    await tab.says('candidate', /2.*12.*86/);
    const next = await arrive(browser, url);
    await load(next, hub, REPO);
    await isRight(next, REPO);
    return { provenance };
  },

  async token({ browser, url, hub }) {
    const tab = await arrive(browser, url);
    await hub.forget();
    await load(tab, hub, GATED, { token: TOKEN });
    await isRight(tab, GATED);
    const requests = await hub.requests();
    const on = (part) => requests.filter((request) => request.on === part);
    const leaked = on('cdn').filter(({ authorization }) => authorization);
    assert.deepEqual(leaked, [], 'the token reached the other host');
    assert.ok(on('cdn').length > 0, 'no file was redirected');
    return { redirected: on('cdn').length, withToken: requests.filter(({ authorization }) => authorization).length };
  },
};

const server = await serve();
const hub = await startHub({ models: { [REPO]: { folder }, [GATED]: { folder, gated: 'manual' } } });
hub.weights = 26_400_000;
const seen = {};
let failed = 0;
try {
  for (const name of values.browser.split(',')) {
    const begin = (options) => BROWSERS[name](options);
    seen[name] = {};
    for (const scenario of values.only.split(',')) {
      await hub.clear();
      await hub.forget();
      const browser = await begin({ isPrivate: false });
      seen[name].version = browser.version;
      try {
        seen[name][scenario] = await SCENARIOS[scenario]({ browser, url: server.url, hub, begin });
      } catch (why) {
        failed += 1;
        seen[name][scenario] = { failed: why.message };
      } finally {
        await browser.close();
      }
      console.error(name, scenario, JSON.stringify(seen[name][scenario]).slice(0, 600));
    }
  }
} finally {
  await hub.stop();
  await server.stop();
}
console.log(JSON.stringify(seen, null, 2));
process.exitCode = failed ? 1 : 0;
