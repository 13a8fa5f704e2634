// The engine's worker alone, in a separate page.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { startEngine } from '../../benches/engine-client.mjs';
import { root, visit } from './lib.mjs';

/** The engine's protocol version. */
const PROTOCOL_VERSION = Number(/PROTOCOL_VERSION: u32 = (\d+);/.exec(readFileSync(path.join(root, 'src/protocol/mod.rs'), 'utf8'))[1]);

/** Runs in the page: files given as base64 become blob URLs. */
function toUrls(files) {
  return files.map(({ name, base64 }) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    return { name, url: URL.createObjectURL(new Blob([bytes])) };
  });
}

/** A page of the server without the app, with the functions for starting an engine there; `options` are those of `visit`. */
export async function bareOn(browser, server, options) {
  const seen = await visit(browser, new URL('models/linchpin-13m/config.json', server.url).href, options);
  await seen.page.evaluate((base) => {
    document.head.append(Object.assign(document.createElement('base'), { href: base }));
  }, server.url);
  await seen.page.evaluate(`window.startEngine = ${startEngine}`);
  await seen.page.evaluate(`window.toUrls = ${toUrls}`);
  return seen;
}

/** Starts an engine in such a page as `window.engine`, replacing an earlier one; `address` is an expression. */
export async function start(seen, address = 'undefined') {
  const { protocol_version: version } = await seen.page.evaluate(`startEngine(${address}).then((engine) => (window.engine = engine).ready)`);
  assert.equal(version, PROTOCOL_VERSION);
}

/** A bare page with an engine. */
export async function engineOn(browser, server, options) {
  const seen = await bareOn(browser, server, options);
  await start(seen);
  return seen;
}

/** A fixture's files, each as base64. */
export function fixtureFiles(name) {
  const folder = path.join(root, 'tests/fixtures', name);
  return readdirSync(folder).map((file) => ({ name: file, base64: readFileSync(path.join(folder, file)).toString('base64') }));
}

/** Loads a fixture, and returns all events of the answer. */
export function load(seen, name, backend) {
  return seen.page.evaluate(
    ([id, files, backend]) => {
      const urls = window.toUrls(files);
      window.golden = urls.find((file) => file.name === 'golden.safetensors');
      return window.engine.ask({ type: 'load', id, source: { files: urls }, backend });
    },
    [name, fixtureFiles(name), backend],
  );
}

export const last = (events) => events[events.length - 1];

/** The outcome in these events: a first state, and the additions to it. */
export function outcomeOf(events) {
  let outcome;
  const grow = (list, { kept, added }) => [...list.slice(0, kept), ...added];
  for (const event of events) {
    if (event.type === 'outcome') outcome = event;
    if (event.type !== 'outcome_delta') continue;
    const tables = event.tables.map(({ table, rows }, at) => table ?? { ...outcome.tables[at], rows: grow(outcome.tables[at].rows, rows) });
    const [findings, headline, plots] = ['findings', 'headline', 'plots'].map((name) => grow(outcome[name], event[name]));
    outcome = { ...outcome, findings, headline, plots, tables, is_partial: event.is_partial };
  }
  return outcome;
}
