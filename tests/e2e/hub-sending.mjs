// How the local Hub (hub.mjs) sends a file: ranges, streaming from disk, and everything that can go wrong with a body.

import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { createGzip } from 'node:zlib';

const CHUNK_BYTES = 1 << 20;
/** A slow answer comes in this many pieces a second. */
const PIECES_PER_SECOND = 20;

/**
 * What failures may be asked for, in any combination: `hub.fail({ kind, path, on, when, after, times, ... })`.
 *
 * Instead of an answer (the first that applies is the whole answer):
 * - `drop`: the connection is closed without a word
 * - `silence`: nothing is ever said
 * - `status`: `{ status = 503, retryAfter, body }`; `retryAfter` in seconds, or a `Date`
 * - `redirect-loop`: 302 to the same address, again and again
 * - `html`: a page of HTML, `{ status = 200 }`
 *
 * Of headers:
 * - `no-cors`: without the headers that let other origins read the answer
 * - `etag`: another ETag (and X-Linked-ETag) with every answer, or `{ etag }`
 * - `headers`: `{ headers: { Name: value } }` set, or left out where the value is null
 *
 * Of bodies; offsets (`at`) are those of the whole file, whatever range was asked for, and only an answer that has that byte fails:
 * - `cut`: the connection is closed after exactly `{ bytes }` of the body, or before the byte `{ at }`; Content-Length promises all.
 *   `{ reset: true }` closes it with a reset, which may take bytes that were sent along. A browser drops what it has not handed
 *   out when a connection breaks: `{ afterMs = 0 }` leaves it time to do so
 * - `stall`: nothing more comes after the headers and `{ bytes = 0 }`, or before the byte `{ at }`
 * - `slow`: `{ bytesPerSecond }`
 * - `flip`: the lowest bit of the byte `{ at }` is flipped
 * - `short`, `long`: `{ bytes = 1 }` fewer or more than asked for, and Content-Length says as many. Content-Range tells what `short`
 *   sends, and says nothing of what `long` adds
 * - `wrong-length`: Content-Length is off by `{ by = 1 }`; the body is right
 * - `wrong-total`: the size in Content-Range is off by `{ by = 1 }`
 * - `wrong-start`: Content-Range says that the range begins and ends `{ by = 1 }` later than it does
 * - `no-range`: a range is ignored, and 200 answers with everything
 * - `gzip`: compressed on the way, as CDNs do with text: no Content-Length
 */
export const KINDS = [
  ...['drop', 'silence', 'status', 'redirect-loop', 'html'],
  ...['no-cors', 'etag', 'headers'],
  ...['cut', 'stall', 'slow', 'flip', 'short', 'long', 'wrong-length', 'wrong-total', 'wrong-start', 'no-range', 'gzip'],
];

/** The failures that were asked for, each with how often it is still to happen. */
export class Faults {
  #rules = [];
  #n = 0;

  /**
   * @param {object} rule `kind` and what belongs to it, and to which answers it applies: `path` (a text or RegExp that the address has,
   * or the file's own name `/{id}/{file}` or `/folder/{name}/{file}`), `on` (`api`, `resolve`, `cache`, `cdn`, `folder`, or several),
   * `when` (a function of the log's entry); `after` spares the first so many, and it happens `times` times (once, unless told).
   * @returns the rule, whose `hits` counts
   */
  set({ path = /./, on = [], when = () => true, after = 0, times = 1, ...rule }) {
    if (!KINDS.includes(rule.kind)) throw new Error(`there is no fault ${rule.kind}; there are ${KINDS.join(', ')}`);
    const kept = { ...rule, path, on: [on].flat(), when, after, times, hits: 0, seen: 0 };
    this.#rules.push(kept);
    return kept;
  }

  clear() {
    this.#rules = [];
  }

  /** The first rule of a kind that applies to this answer; it has happened then. */
  take(kind, entry, applies) {
    const has = (what) => [entry.path, entry.file].some((text) => (what instanceof RegExp ? text.search(what) >= 0 : text.includes(what)));
    for (const rule of this.#rules) {
      if (rule.kind !== kind || rule.hits >= rule.times) continue;
      if (rule.on.length > 0 && !rule.on.includes(entry.on)) continue;
      if (!has(rule.path) || !rule.when(entry) || !applies(rule)) continue;
      rule.seen += 1;
      if (rule.seen <= rule.after) continue;
      rule.hits += 1;
      entry.faults.push(kind);
      return rule;
    }
    return undefined;
  }

  /** A number that never came before. */
  fresh() {
    this.#n += 1;
    return this.#n;
  }
}

/** One request and its answer, as the log keeps it and as the faults see it. */
export class Exchange {
  constructor(faults, request, response, entry, cors) {
    this.faults = faults;
    this.request = request;
    this.response = response;
    /** The log's entry. */
    this.entry = entry;
    /** Headers for other origins. */
    this.cors = cors;
    response.on('close', () => {
      entry.ended ??= response.writableFinished ? 'whole' : 'client left';
    });
  }

  take(kind, applies = () => true) {
    return this.faults.take(kind, this.entry, applies);
  }

  /** Status and headers, with what goes wrong with them. */
  head(status, headers) {
    const whole = { ...(this.take('no-cors') ? {} : this.cors), ...headers };
    const etag = this.take('etag');
    if (etag) {
      const value = etag.etag ?? `"another-${this.faults.fresh()}"`;
      for (const name of ['ETag', 'X-Linked-ETag']) if (name in whole) whole[name] = value;
    }
    Object.assign(whole, this.take('headers')?.headers);
    const kept = Object.entries(whole).filter(([, value]) => value !== null && value !== undefined);
    this.entry.status = status;
    this.response.writeHead(status, Object.fromEntries(kept));
  }

  /** A redirect or an error: nothing that goes wrong with bodies goes wrong with these. */
  say(status, headers, text) {
    const body = Buffer.from(text);
    this.head(status, { 'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': body.length, ...headers });
    this.entry.bytesSent = body.length;
    this.response.end(body);
  }

  /** Closes the connection at once. */
  close(why, { reset = false } = {}) {
    this.entry.ended = why;
    if (reset) this.response.socket?.resetAndDestroy();
    else this.response.socket?.destroy();
  }
}

/**
 * The one range that was asked for: `[start, end]`, end excluded; undefined for everything (also where several are asked for, or
 * something else than bytes), null where there is nothing to satisfy.
 */
export function parseRange(header, size) {
  const found = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? '');
  if (!found || (found[1] === '' && found[2] === '')) return undefined;
  const [first, last] = [found[1], found[2]].map((digits) => (digits === '' ? undefined : Number(digits)));
  if (first === undefined) return last === 0 || size === 0 ? null : [Math.max(0, size - last), size];
  if (last !== undefined && last < first) return undefined;
  return first >= size ? null : [first, Math.min(size, (last ?? size) + 1)];
}

/** Pieces of a file, or of bytes in memory, from `start` to before `end`; never more than one in memory. */
async function* bytesOf({ path, bytes }, start, end, chunkBytes) {
  if (bytes) {
    for (let at = start; at < end; at += chunkBytes) yield bytes.subarray(at, Math.min(end, at + chunkBytes));
  } else if (start < end) {
    yield* createReadStream(path, { start, end: end - 1, highWaterMark: chunkBytes });
  }
}

/**
 * Answers with a file or a part of it, and with the failures that were asked for.
 * @param {Exchange} exchange
 * @param {{size: number, path?: string, bytes?: Buffer}} file
 */
export async function sendBody(exchange, file, { status = 200, headers = {}, ranges = true } = {}) {
  const { size } = file;
  const ranged = ranges && !exchange.take('no-range');
  const range = ranged ? parseRange(exchange.request.headers.range, size) : undefined;
  const said = { ...headers, 'Accept-Ranges': ranged ? 'bytes' : null };
  if (range === null) {
    exchange.head(416, { ...said, 'Content-Range': `bytes */${size}`, 'Content-Length': 0 });
    exchange.response.end();
    return;
  }
  const [start, asked] = range ?? [0, size];
  const by = (kind, key = 'by') => {
    const rule = exchange.take(kind);
    return rule ? (rule[key] ?? 1) : 0;
  };
  const end = Math.max(start, asked - by('short', 'bytes'));
  const extra = by('long', 'bytes');
  const nBytes = end - start + extra;
  const lie = by('wrong-length');
  said['Content-Length'] = nBytes + lie;
  // What follows on this connection could not be told from the body.
  if (lie !== 0) said.Connection = 'close';
  if (range) {
    const [total, shift] = [size + by('wrong-total'), by('wrong-start')];
    said['Content-Range'] = `bytes ${start + shift}-${end - 1 + shift}/${total}`;
  }

  const has = ({ at }) => start <= at && at < end;
  const upTo = (rule) => (rule.at === undefined ? (rule.bytes ?? 0) : rule.at - start);
  const stops = (rule) => (rule.at === undefined ? upTo(rule) < nBytes : has(rule));
  const slow = exchange.take('slow');
  const flip = exchange.take('flip', has);
  const cut = exchange.take('cut', stops);
  const stall = cut ? undefined : exchange.take('stall', stops);
  const chunkBytes = slow ? Math.max(1, Math.floor(slow.bytesPerSecond / PIECES_PER_SECOND)) : CHUNK_BYTES;
  const pieces = withFlip(bytesOf(file, start, end, chunkBytes), start, flip);
  const zip = /gzip/.test(exchange.request.headers['accept-encoding'] ?? '') && exchange.take('gzip');

  exchange.head(range ? 206 : status, zip ? { ...said, 'Content-Length': null, 'Accept-Ranges': null, 'Content-Encoding': 'gzip' } : said);
  exchange.response.flushHeaders();
  let left = cut || stall ? upTo(cut ?? stall) : zip ? Infinity : nBytes;
  left = await send(exchange, zip ? Readable.from(pieces).pipe(createGzip()) : pieces, left, slow && 1000 / PIECES_PER_SECOND);
  if (left > 0 && extra > 0) await send(exchange, [Buffer.alloc(extra)], left);
  if (cut) {
    if (cut.afterMs) await sleep(cut.afterMs);
    exchange.close('cut', cut);
  } else if (stall) exchange.entry.ended = 'stalled';
  else exchange.response.end();
}

async function* withFlip(pieces, start, flip) {
  let at = start;
  for await (const piece of pieces) {
    const bytes = flip && at <= flip.at && flip.at < at + piece.length ? Buffer.from(piece) : piece;
    if (bytes !== piece) bytes[flip.at - at] ^= 1;
    at += piece.length;
    yield bytes;
  }
}

/** Writes at most `left` bytes, each piece once the one before has left this process; returns how many were not written. */
async function send({ response, entry }, pieces, left, pauseMs = 0) {
  // A cut right after the headers: they go out first.
  if (left === 0) await written(response, '');
  for await (const piece of pieces) {
    const part = piece.subarray(0, left);
    if (part.length === 0 || response.destroyed) break;
    await written(response, part);
    entry.bytesSent += part.length;
    left -= part.length;
    if (pauseMs > 0) await sleep(pauseMs);
  }
  return left;
}

/** Done when the operating system has the bytes, or when there is nobody left to have them. */
function written(response, bytes) {
  return new Promise((resolve) => {
    const done = () => {
      response.off('close', done);
      resolve();
    };
    response.once('close', done);
    response.write(bytes, done);
  });
}
