// Every kind of request and event, sent through a real worker by the functions that page and engine use.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, serve, visit } from './lib.mjs';

let server;
let browser;

before(async () => {
  assert.ok(process.env.LINCHPIN_BOUNDARY, 'LINCHPIN_BOUNDARY names the folder of the module `boundary`; `cargo xtask test` builds it');
  server = await serve({ folder: process.env.LINCHPIN_BOUNDARY });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Runs in the page: a worker that answers with its samples of events, and with the requests that it could not read. */
async function exchange(address) {
  const module = await import(address);
  await module.default();
  const script = `
    import init, { changed_requests, events } from ${JSON.stringify(address)};
    await init();
    self.onmessage = ({ data }) => {
      const changed = changed_requests(data);
      for (const event of events()) self.postMessage({ event });
      self.postMessage({ changed });
    };
    self.postMessage({ ready: true });
  `;
  const worker = new Worker(URL.createObjectURL(new Blob([script], { type: 'text/javascript' })), { type: 'module' });
  return new Promise((resolve, reject) => {
    const received = [];
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.onmessage = ({ data }) => {
      if (data.ready) worker.postMessage(module.requests());
      else if (data.changed) resolve({ requests: data.changed, events: module.changed_events(received), counts: [module.requests().length, received.length], received });
      else received.push(data.event);
    };
  });
}

test('every request and every event is read as it was written', async () => {
  const seen = await visit(browser, new URL('boundary.js', server.url).href);
  const { requests, events, counts, received } = await seen.page.evaluate(`(${exchange})(${JSON.stringify(new URL('boundary.js', server.url).href)})`);
  assert.deepEqual(requests, []);
  assert.deepEqual(events, []);
  assert.ok(counts.every((n) => n > 15), `only ${counts} messages were sent`);
  // Other scripts read events, too, so they are plain objects, as in JSON, and not Maps.
  assert.deepEqual(Object.keys(received.find((event) => event.ready).ready), ['protocol_version', 'lock']);
  const applied = received.find((event) => event.applied).applied;
  assert.deepEqual(applied.ablation.weight_edits[1], { unit: 'row', layer: 3, row: 9, scale: 0 });
  await seen.close();
});
