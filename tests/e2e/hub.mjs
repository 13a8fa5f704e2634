// A local server that answers as the Hugging Face Hub does, and fails on demand (hub-sending.mjs says how).
//
// What it imitates was read off public captures of huggingface.co's answers (2025 and 2026), and decides what a page sees:
// - `/{id}/resolve/{revision}/{file}` answers with redirects only. A small file is at a second address of the Hub itself
//   (307, relative), a large one at another origin (302), signed anew each time. A page that follows sees the headers of
//   the last answer only, so neither `X-Repo-Commit` nor `X-Linked-ETag` of a large file, and the storage's ETag is not
//   the file's SHA-256. Revision, size and SHA-256 come from `/api/models/{id}/revision/{revision}?blobs=true`.
// - The Hub names the origin that asked, which may read the headers in `EXPOSED`; `Retry-After` is not among them. The
//   storage answers `*` for both.
// - Who asks without a token for a model that is not there is told 401, as for a private one; with a token, 404.
// - What a gated model consists of is public; its files are not. Without a token, or with one that nobody knows: 401; with
//   one of somebody who was not let in: 403. A public model does not mind a wrong token.
//
// A browser sends `Range: bytes=1-2` or `bytes=1-` without asking first; `Authorization`, `If-Range` and `If-None-Match` it
// asks for with OPTIONS. Stricter than the Hub in two ways: HEAD is refused, so that a page that sends one is found out, and
// so is a preflight of the storage, which nobody has promised.

import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, readdirSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import path from 'node:path';
import { Exchange, Faults, sendBody } from './hub-sending.mjs';

/** The headers that a page of another origin may read of the Hub's answers. */
export const EXPOSED =
  'X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,Content-Range,X-Linked-Size,X-Linked-ETag,X-Xet-Hash';
/** A token that opens every model here, and one of somebody whom no gated model lets in. */
export const TOKEN = 'hf_opens_everything';
export const OUTSIDER = 'hf_was_not_let_in';

const LARGE = /\.(safetensors|bin|pt|pth|gguf|onnx|h5|msgpack|npz)$/;
const LARGE_BYTES = 10 << 20;
const TYPES = { '.json': 'application/json', '.txt': 'text/plain; charset=utf-8', '.md': 'text/plain; charset=utf-8', '.html': 'text/html' };
const PAGE = '<!DOCTYPE html><html><head><title>Sorry</title></head><body><h1>We will be back soon</h1></body></html>\n';

/**
 * Starts a Hub, its storage at another port, and a server of plain folders.
 *
 * @param {object} options
 * @param {Object<string, object>} options.models by id; each `{ folder | files, revision, gated, gatedApi, private, lfs, sha256 }`:
 *   `folder` on this disk, or `files` by name (a text, a Buffer, or `{ path }`); `revision` 40 hex digits; `gated` 'auto' or 'manual'
 *   (`gatedApi`: what it consists of is not public either); `lfs` a RegExp of what counts as large; `sha256` by name, where known.
 * @param {Object<string, string>} options.renamed old ids, and what they are called now.
 * @param {Object<string, object>} options.folders `/folder/{name}/{file}`; each `{ folder | files, ranges = true, cors = '*' }`, of a
 *   server that knows nothing but files; `cors: null` lets no other origin read them.
 */
export async function startHub({ models = {}, renamed = {}, folders = {} } = {}) {
  const hub = new Hub(renamed);
  for (const [id, model] of Object.entries(models)) hub.publish(id, model);
  for (const [name, given] of Object.entries(folders)) hub.addFolder(name, given);
  await hub.start();
  return hub;
}

class Hub {
  #faults = new Faults();
  #models = new Map();
  #folders = new Map();
  #stored = new Map();
  #renamed;
  #servers = [];

  constructor(renamed) {
    this.#renamed = renamed;
    /** Every request so far: `{ on, method, path, file, range, authorization, origin, status, bytesSent, ended, faults }`. */
    this.requests = [];
  }

  /** Adds a model, or a commit to it: `main` is the latest, and those before stay. Returns its revision. */
  publish(id, { revision, gated = false, gatedApi = false, private: hidden = false, ...content }) {
    const model = this.#models.get(id) ?? { commits: new Map() };
    const sha = revision ?? createHash('sha1').update(`${id} ${model.commits.size}`).digest('hex');
    model.commits.set(sha, filesOf(content));
    this.#models.set(id, Object.assign(model, { main: sha, gated, gatedApi, private: hidden }));
    return sha;
  }

  addFolder(name, { ranges = true, cors = '*', ...content }) {
    this.#folders.set(name, { files: filesOf(content), ranges, cors });
  }

  /** See `KINDS` and `Faults.set`. Returns the rule, whose `hits` counts. */
  fail(rule) {
    return this.#faults.set(rule);
  }

  /** Nothing fails any more. */
  clear() {
    this.#faults.clear();
  }

  async start() {
    this.url = await this.#listen((request, response) => this.#answerAsHub(request, response));
    /** Where large files are. */
    this.cdnUrl = await this.#listen((request, response) => this.#answerAsStorage(request, response));
  }

  async #listen(answer) {
    const server = createServer({ keepAliveTimeout: 60_000, requestTimeout: 0 }, (request, response) => {
      answer(request, response).catch((error) => {
        // Tests fail on what is wrong here, and not on a time that is over.
        response.destroy();
        console.error(`${request.method} ${request.url}:`, error);
      });
    });
    this.#servers.push(server);
    await new Promise((resolve, reject) => {
      server.on('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    return `http://127.0.0.1:${server.address().port}`;
  }

  async stop() {
    const closed = this.#servers.map((server) => new Promise((resolve) => server.close(resolve)));
    for (const server of this.#servers) server.closeAllConnections();
    await Promise.all(closed);
  }

  #exchange(request, response, { on, file = '' }, cors) {
    const { range = null, authorization = null, origin = null } = request.headers;
    const entry = { on, method: request.method, path: request.url, file, range, authorization, origin, status: null, bytesSent: 0, ended: null, faults: [] };
    this.requests.push(entry);
    return new Exchange(this.#faults, request, response, entry, cors);
  }

  async #answerAsHub(request, response) {
    const route = routeOf(request.url, this.#renamed);
    const folder = this.#folders.get(route.folder);
    const { origin } = request.headers;
    const named = { 'Access-Control-Allow-Origin': origin ?? 'https://huggingface.co', 'Access-Control-Expose-Headers': EXPOSED, Vary: 'Origin' };
    const asFolder = folder?.cors ? { 'Access-Control-Allow-Origin': folder.cors } : {};
    const exchange = this.#exchange(request, response, route, route.on === 'folder' ? asFolder : named);
    if (refused(exchange, route.on !== 'folder') || failed(exchange)) return;
    if (route.on === 'folder') await this.#sendFromFolder(exchange, folder, route);
    else if (route.moved) exchange.say(307, { Location: route.moved }, `Temporary Redirect. Redirecting to ${route.moved}`);
    else await this.#sendOfModel(exchange, route);
  }

  async #sendOfModel(exchange, route) {
    const model = this.#models.get(route.id);
    const refusal = refusalOf(exchange.request, route, model);
    if (refusal) {
      sayError(exchange, ...refusal);
      return;
    }
    const revision = route.revision === 'main' ? model.main : route.revision;
    const files = model.commits.get(revision);
    if (!files) {
      sayError(exchange, 404, 'RevisionNotFound', `Invalid rev id: ${route.revision}`);
      return;
    }
    if (route.on === 'api') {
      const info = await infoOf(route.id, revision, model, files, route.query.get('blobs') === 'true');
      const bytes = Buffer.from(JSON.stringify(info));
      await sendBody(exchange, { size: bytes.length, bytes }, { headers: { 'Content-Type': 'application/json; charset=utf-8' }, ranges: false });
      return;
    }
    const file = files.get(route.name);
    if (!file) sayError(exchange, 404, 'EntryNotFound', 'Entry not found', { 'X-Repo-Commit': revision });
    else if (route.on === 'cache') await sendBody(exchange, file, { headers: { ...(await headersOf(file)), 'X-Repo-Commit': revision } });
    else await this.#redirect(exchange, route, revision, file);
  }

  async #redirect(exchange, { id, name }, revision, file) {
    const { sha256, blobId } = await file.digests();
    const headers = { 'X-Repo-Commit': revision, 'Accept-Ranges': 'bytes' };
    if (!file.isLarge) {
      const location = `/api/resolve-cache/models/${id}/${revision}/${escaped(name)}?etag=${encodeURIComponent(`"${blobId}"`)}`;
      exchange.say(307, { ...headers, Location: location }, `Temporary Redirect. Redirecting to ${location}`);
      return;
    }
    const key = createHash('sha256').update(`stored ${sha256}`).digest('hex');
    this.#stored.set(key, { file, name: `/${id}/${name}`, etag: `"${key}"` });
    const query = new URLSearchParams({ 'response-content-disposition': `inline; filename="${name}"`, Signature: randomBytes(12).toString('hex') });
    const location = `${this.cdnUrl}/xet-bridge-local/${key}?${query}`;
    const linked = { 'X-Linked-Size': file.size, 'X-Linked-ETag': `"${sha256}"`, Location: location };
    exchange.say(302, { ...headers, ...linked }, `Found. Redirecting to ${location}`);
  }

  async #answerAsStorage(request, response) {
    const { pathname } = new URL(request.url, 'http://cdn');
    const stored = this.#stored.get(pathname.split('/')[2]);
    const cors = { 'Access-Control-Allow-Origin': '*', 'Access-Control-Expose-Headers': '*' };
    const exchange = this.#exchange(request, response, { on: 'cdn', file: stored?.name }, cors);
    if (refused(exchange, false) || failed(exchange)) return;
    if (stored) await sendBody(exchange, stored.file, { headers: { 'Content-Type': 'application/octet-stream', ETag: stored.etag } });
    else exchange.say(403, {}, 'AccessDenied');
  }

  async #sendFromFolder(exchange, folder, { name }) {
    const file = folder?.files.get(name);
    if (!file) {
      exchange.say(404, {}, 'Not found\n');
      return;
    }
    const headers = { 'Content-Type': typeOf(name), 'Last-Modified': file.modified.toUTCString() };
    await sendBody(exchange, file, { headers, ranges: folder.ranges });
  }
}

/** What an address asks for: which part of the Hub (`on`), and of which model, revision and file. */
function routeOf(url, renamed) {
  const { pathname, searchParams: query } = new URL(url, 'http://hub');
  const parts = pathname.slice(1).split('/').map(decodeURIComponent);
  if (parts[0] === 'folder') {
    const [, folder, ...rest] = parts;
    return { on: 'folder', folder, name: rest.join('/'), file: `/folder/${folder}/${rest.join('/')}` };
  }
  const known = /^\/api\/resolve-cache\/models\/([^/]+\/[^/]+)\/([^/]+)\/(.+)$/.exec(pathname);
  if (known) return withFile('cache', known[1], known[2], known[3]);
  const api = /^\/api\/models\/([^/]+(?:\/[^/]+)?)(?:\/revision\/([^/]+))?$/.exec(pathname);
  if (api) {
    const id = decodeURIComponent(api[1]);
    const moved = renamed[id] && url.replace(api[1], renamed[id]);
    return { on: 'api', id, revision: decodeURIComponent(api[2] ?? 'main'), query, moved, file: `/${id}` };
  }
  const file = /^\/([^/]+(?:\/[^/]+)?)\/resolve\/([^/]+)\/(.+)$/.exec(pathname);
  // What was renamed is still found under its old name.
  if (file) return withFile('resolve', renamed[decodeURIComponent(file[1])] ?? file[1], file[2], file[3]);
  return { on: 'api', id: pathname, revision: 'main', query, file: pathname };
}

function withFile(on, ...escapedParts) {
  const [id, revision, name] = escapedParts.map(decodeURIComponent);
  return { on, id, revision, name, file: `/${id}/${name}` };
}

/** Answers methods other than GET. */
function refused(exchange, allowsAnyHeader) {
  const { method, headers } = exchange.request;
  if (method === 'GET') return false;
  if (method === 'OPTIONS' && allowsAnyHeader) {
    const wanted = headers['access-control-request-headers'] ?? '';
    exchange.say(204, { 'Access-Control-Allow-Methods': 'GET,HEAD,OPTIONS', 'Access-Control-Allow-Headers': wanted, 'Access-Control-Max-Age': 86_400, 'Content-Length': null }, '');
  } else {
    exchange.say(method === 'OPTIONS' ? 403 : 405, { Allow: 'GET' }, '');
  }
  return true;
}

/** Answers with a failure that was asked for in the place of everything else. */
function failed(exchange) {
  const { request, entry } = exchange;
  if (exchange.take('drop')) {
    exchange.close('dropped');
    return true;
  }
  if (exchange.take('silence')) {
    entry.ended = 'silent';
    return true;
  }
  const status = exchange.take('status');
  if (status) {
    const { status: code = 503, retryAfter: after, body = `${code}\n` } = status;
    const headers = { 'Retry-After': after instanceof Date ? after.toUTCString() : after };
    if (code === 429) headers.RateLimit = `"resolvers";r=0;t=${after instanceof Date ? Math.ceil((after - Date.now()) / 1000) : (after ?? 60)}`;
    exchange.say(code, headers, body);
    return true;
  }
  if (exchange.take('redirect-loop')) {
    exchange.say(302, { Location: request.url }, '');
    return true;
  }
  const html = exchange.take('html');
  if (html) exchange.say(html.status ?? 200, { 'Content-Type': 'text/html; charset=utf-8' }, PAGE);
  return html !== undefined;
}

/** Why a request is not answered, as status, code and sentence; undefined where it is. */
function refusalOf(request, { on, id }, model) {
  const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
  const isKnown = token === TOKEN || token === OUTSIDER;
  const isMissing = !model || (model.private && token !== TOKEN);
  if (isMissing) return isKnown ? [404, 'RepoNotFound', 'Repository not found'] : [401, null, 'Invalid username or password.'];
  if (!model.gated || (on === 'api' && !model.gatedApi) || token === TOKEN) return undefined;
  const start = `Access to model ${id} is restricted`;
  if (!isKnown) return [401, 'GatedRepo', `${start}. You must have access to it and be authenticated to access it. Please log in.`];
  return [403, 'GatedRepo', `${start} and you are not in the authorized list. Visit https://huggingface.co/${id} to ask for access.`];
}

function sayError(exchange, status, code, message, more = {}) {
  const wants = status === 401 ? { 'WWW-Authenticate': 'Bearer realm="Authentication required", charset="UTF-8"' } : {};
  const isApi = exchange.entry.on === 'api';
  const headers = { 'X-Error-Code': code, 'X-Error-Message': message, ...wants, ...more };
  if (isApi) headers['Content-Type'] = 'application/json; charset=utf-8';
  exchange.say(status, headers, isApi ? JSON.stringify({ error: message }) : message);
}

async function infoOf(id, sha, { gated, private: hidden }, files, withBlobs) {
  const siblings = [];
  for (const [rfilename, file] of files) {
    if (!withBlobs) {
      siblings.push({ rfilename });
      continue;
    }
    const { sha256, blobId, pointerSize } = await file.digests();
    const lfs = file.isLarge ? { lfs: { sha256, size: file.size, pointerSize } } : {};
    siblings.push({ rfilename, blobId, size: file.size, ...lfs });
  }
  const about = { author: id.split('/')[0], disabled: false, downloads: 0, likes: 0, tags: [], library_name: 'transformers' };
  return { id, modelId: id, sha, private: hidden, gated, ...about, lastModified: '2026-01-01T00:00:00.000Z', siblings };
}

async function headersOf(file) {
  const { blobId } = await file.digests();
  return { 'Content-Type': typeOf(file.name), ETag: `"${blobId}"`, 'Content-Disposition': `inline; filename="${path.posix.basename(file.name)}"` };
}

const typeOf = (name) => TYPES[path.posix.extname(name)] ?? 'application/octet-stream';
const escaped = (name) => name.split('/').map(encodeURIComponent).join('/');

/** The files of a model or a folder by name, in the order of their names. */
function filesOf({ folder, files, lfs = LARGE, sha256 = {} }) {
  const given = Object.entries(files ?? {}).map(([name, content]) => [name, content.path ? content : { bytes: Buffer.from(content) }]);
  const found = folder ? readdirSync(folder, { recursive: true }).map((name) => [name.split(path.sep).join('/'), { path: path.join(folder, name) }]) : [];
  const all = [...found, ...given].filter(([, { path: at }]) => !at || statSync(at).isFile());
  all.sort(([a], [b]) => (a < b ? -1 : 1));
  return new Map(all.map(([name, source]) => [name, fileOf(name, source, lfs, sha256[name])]));
}

function fileOf(name, source, lfs, knownSha256) {
  const { size, mtime: modified } = source.bytes ? { size: source.bytes.length, mtime: new Date(0) } : statSync(source.path);
  const isLarge = lfs.test(name) || size >= LARGE_BYTES;
  let found;
  const digests = () => (found ??= digestsOf(source, size, isLarge, knownSha256));
  return { ...source, name, size, modified, isLarge, digests };
}

/** Git's id of a file (of its pointer, for a large one), and the SHA-256 of a large one. */
async function digestsOf({ path: at, bytes }, size, isLarge, knownSha256) {
  const blob = (n) => createHash('sha1').update(`blob ${n}\0`);
  if (!isLarge) return { blobId: await hashed(blob(size), at, bytes) };
  const sha256 = knownSha256 ?? (await hashed(createHash('sha256'), at, bytes));
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256}\nsize ${size}\n`;
  return { sha256, blobId: blob(pointer.length).update(pointer).digest('hex'), pointerSize: pointer.length };
}

async function hashed(hash, at, bytes) {
  for await (const piece of bytes ? [bytes] : createReadStream(at, { highWaterMark: 1 << 20 })) hash.update(piece);
  return hash.digest('hex');
}
