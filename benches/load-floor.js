// See load-floor.html.

import { machine, report } from './report.js';

const megabytes = Number(new URLSearchParams(location.search).get('megabytes') ?? 2048);
const worker = new Worker('./load-floor-worker.js');
const figures = await new Promise((resolve, reject) => {
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = ({ message }) => reject(new Error(message));
  worker.postMessage(megabytes);
}).catch((error) => ({ error: String(error) }));
await report('load-floor', { machine: await machine(), megabytes, ...figures }, { done: true });
