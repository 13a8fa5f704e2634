// A script's client of the engine's worker, for engine-page.js and tests/e2e/worker.mjs.

/**
 * Starts a worker and waits until it listens.
 *
 * `ready` is its first event. `ask(request)` resolves with all events of the answer, of which the last is `done`, `stopped` or
 * `failed`; `latest` is the last event of any answer. A worker that crashes fails every open request.
 *
 * The tests pass the text of this function to a page, so it refers to nothing outside.
 *
 * @param {string} address of the worker's script
 */
export async function startEngine(address = './engine_loader.js') {
  // serde's messages carry their kind outside: {"load": {...}}, or "done"; here it is a field like others.
  const read = (event) => (typeof event === 'string' ? { type: event } : Object.entries(event).map(([type, body]) => ({ type, ...body }))[0]);
  const write = ({ type, ...body }) => (Object.keys(body).length ? { [type]: body } : type);
  const worker = new Worker(address, { type: 'module' });
  const waiting = new Map();
  let nextId = 1;
  let crashed;
  const stop = () => worker.postMessage({ id: nextId++, request: 'stop' });
  const ask = (request) =>
    new Promise((resolve) => {
      const events = [];
      const take = (event) => {
        events.push({ ...event, atMs: performance.now() });
        engine.latest = event;
        if (!['done', 'stopped', 'failed'].includes(event.type)) return;
        waiting.delete(id);
        resolve(events);
      };
      const id = nextId++;
      waiting.set(id, take);
      if (crashed) take(crashed);
      else worker.postMessage({ id, request: write(request) });
    });
  const engine = { worker, ask, stop, latest: undefined, ready: undefined };
  engine.ready = await new Promise((resolve, reject) => {
    const fail = (failure) => {
      reject(new Error(`${failure.what}: ${failure.why}`));
      for (const take of [...waiting.values()]) take(failure);
    };
    worker.onerror = ({ message }) => {
      crashed = { type: 'failed', kind: 'internal', what: 'The worker crashed', why: message };
      fail(crashed);
    };
    worker.onmessage = ({ data }) => {
      const event = read(data.event);
      if (data.id != null) waiting.get(data.id)?.(event);
      else if (event.type === 'failed') fail(event);
      else resolve(event);
    };
  });
  return engine;
}
