// The steps of load-floor.html, in a worker, because only a worker may read files synchronously.

const SLAB = 8 << 20;
const AHEAD = 3;

/** MB/s of some work over all slabs. */
async function rate(n, work) {
  const began = performance.now();
  await work();
  return (n * SLAB) / 1e3 / (performance.now() - began);
}

/** Passes every slab to `take`, `AHEAD` of them at a time and in their order. */
async function ahead(n, take) {
  const coming = [];
  for (let i = 0; i < n; i++) {
    coming.push(take(i));
    if (coming.length >= AHEAD) await coming.shift();
  }
  await Promise.all(coming);
}

onmessage = async ({ data: megabytes }) => {
  const n = Math.floor((megabytes * 1e6) / SLAB);
  const folder = await navigator.storage.getDirectory();
  const file = await (await folder.getFileHandle('load-floor', { create: true })).createSyncAccessHandle();
  const slab = crypto.getRandomValues(new Uint32Array(16384));
  const filled = new Uint8Array(SLAB);
  for (let at = 0; at < SLAB; at += slab.byteLength) filled.set(new Uint8Array(slab.buffer), at);
  const read = (i) => {
    const bytes = new Uint8Array(SLAB);
    file.read(bytes, { at: i * SLAB });
    return bytes;
  };
  const figures = {};
  figures.write = await rate(n, async () => {
    for (let i = 0; i < n; i++) file.write(filled, { at: i * SLAB });
    file.flush();
  });
  figures.read = await rate(n, async () => {
    for (let i = 0; i < n; i++) read(i);
  });
  figures.digest = await rate(n, () => ahead(n, () => crypto.subtle.digest('SHA-256', filled)));
  const adapter = await navigator.gpu?.requestAdapter();
  if (adapter) {
    const device = await adapter.requestDevice();
    const buffers = Array.from({ length: 16 }, () => device.createBuffer({ size: SLAB * 4, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST }));
    const upload = async (i, bytes) => {
      device.queue.writeBuffer(buffers[i % 16], (i % 4) * SLAB, bytes);
      if (i % 32 === 31) await device.queue.onSubmittedWorkDone();
    };
    figures.upload = await rate(n, async () => {
      for (let i = 0; i < n; i++) await upload(i, filled);
      await device.queue.onSubmittedWorkDone();
    });
    figures.all = await rate(n, async () => {
      await ahead(n, async (i) => {
        const bytes = read(i);
        await crypto.subtle.digest('SHA-256', bytes);
        await upload(i, bytes);
      });
      await device.queue.onSubmittedWorkDone();
    });
  }
  file.close();
  await folder.removeEntry('load-floor');
  postMessage(figures);
};
