// The engine's worker by itself, in a page of its own.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { root, visit } from './lib.mjs';

/** Runs in the page: a worker, and a function that asks it and resolves with all events of the answer. */
export function startEngine() {
  const worker = new Worker('engine_loader.js', { type: 'module' });
  let nextId = 1;
  const listeners = new Map();
  const ready = new Promise((resolve, reject) => {
    listeners.set(undefined, (event) => (event.type === 'ready' ? resolve(event) : reject(new Error(JSON.stringify(event)))));
    worker.onerror = (error) => reject(new Error(error.message));
  });
  // serde's messages carry their kind outside: {"load": {...}}, or "done"; here it is a field like others.
  const read = (event) => (typeof event === 'string' ? { type: event } : Object.entries(event).map(([type, body]) => ({ type, ...body }))[0]);
  const write = ({ type, ...body }) => (Object.keys(body).length ? { [type]: body } : type);
  worker.onmessage = ({ data }) => (listeners.get(data.id ?? undefined) ?? (() => {}))(read(data.event));
  const ask = (request) => {
    const id = nextId++;
    return new Promise((resolve) => {
      const events = [];
      const begun = performance.now();
      listeners.set(id, (event) => {
        events.push({ ...event, atMs: performance.now() - begun });
        window.engine.latest = event;
        if (['done', 'stopped', 'failed'].includes(event.type)) resolve(events);
      });
      worker.postMessage({ id, request: write(request) });
    });
  };
  const stop = () => worker.postMessage({ id: nextId++, request: 'stop' });
  window.engine = { worker, ready, ask, stop };
  return ready;
}

/** Runs in the page: files given as base64 become blob URLs. */
export function toUrls(files) {
  return files.map(({ name, base64 }) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    return { name, url: URL.createObjectURL(new Blob([bytes])) };
  });
}

/** A page of the server's without the app on it, with an engine; `options` are those of `visit`. */
export async function engineOn(browser, server, options) {
  const seen = await visit(browser, new URL('models/linchpin-13m/config.json', server.url).href, options);
  await seen.page.evaluate((base) => {
    document.head.append(Object.assign(document.createElement('base'), { href: base }));
  }, server.url);
  await seen.page.evaluate(`window.startEngine = ${startEngine}`);
  const event = await seen.page.evaluate(() => window.startEngine());
  assert.equal(event.protocol_version, 5);
  await seen.page.evaluate(`window.toUrls = ${toUrls}`);
  return seen;
}

/** A fixture's files, each as base64. */
export function fixtureFiles(name) {
  const folder = path.join(root, 'tests/fixtures', name);
  return readdirSync(folder).map((file) => ({ name: file, base64: readFileSync(path.join(folder, file)).toString('base64') }));
}

export const last = (events) => events[events.length - 1];
