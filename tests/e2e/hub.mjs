// The local Hub (server/src/hub.rs) as a separate process, and orders to it.

import { spawn } from 'node:child_process';
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { root, xtask } from './xtask.mjs';

/** A token that may read every model of the Hub, and one without access to any gated model. */
export const TOKEN = 'hf_opens_everything';
export const OUTSIDER = 'hf_was_not_let_in';

/**
 * Starts a Hub. Files are given by name, each as a text, a Buffer, or `{ path }`.
 *
 * @param {object} options
 * @param {Object<string, object>} options.models by id; each `{ folder | files, revision, gated, sha256 }` (`Repo` in server/src/hub.rs)
 * @param {Object<string, object>} options.folders by name; each `{ folder | files, ranges, cors }` (`Folder` there)
 */
export async function startHub({ models = {}, folders = {} } = {}) {
  const hub = new Hub();
  await hub.start();
  for (const [id, repo] of Object.entries(models)) await hub.publish(id, repo);
  for (const [name, folder] of Object.entries(folders)) await hub.addFolder(name, folder);
  return hub;
}

class Hub {
  #process;
  #lines;
  #ended;
  #scratch = mkdtempSync(path.join(tmpdir(), 'linchpin-hub-'));
  #nFolders = 0;
  /** The last order; orders are answered in turn. */
  #turn = Promise.resolve();

  async start() {
    const [program, args] = xtask('hub');
    this.#process = spawn(program, args, { cwd: root, stdio: ['pipe', 'pipe', 'inherit'] });
    this.#ended = new Promise((resolve) => this.#process.on('exit', resolve).on('error', resolve));
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
    ({ url: this.url } = await this.#answer());
  }

  async #answer() {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`the local Hub ended: ${await this.#ended}`);
    const answer = JSON.parse(value);
    if (answer.error) throw new Error(`the local Hub refuses: ${answer.error}`);
    return answer;
  }

  #order(order) {
    const answered = this.#turn.then(() => {
      this.#process.stdin.write(`${JSON.stringify(order)}\n`);
      return this.#answer();
    });
    this.#turn = answered.catch(() => {});
    return answered;
  }

  /** Adds a model, or a commit to it. Returns its revision. */
  async publish(id, repo) {
    const { revision } = await this.#order({ publish: { id, repo: this.#onDisk(repo) } });
    return revision;
  }

  async addFolder(name, folder) {
    await this.#order({ 'add-folder': { name, folder: this.#onDisk(folder) } });
  }

  /** Adds a fault: a `Rule` of server/src/faults.rs. */
  async fail(rule) {
    await this.#order({ fail: rule });
  }

  /** Removes all faults. */
  async clear() {
    await this.#order('clear');
  }

  /** Every request since `forget`, with the state of its answer: `Asked` of server/src/log.rs. */
  async requests() {
    return (await this.#order('requests')).requests;
  }

  async forget() {
    await this.#order('forget');
  }

  /** Bytes that were sent of the files whose names end with `name`. */
  async bytesSent(name) {
    const requests = await this.requests();
    return requests.filter(({ file }) => file.endsWith(name)).reduce((sum, { bytesSent }) => sum + bytesSent, 0);
  }

  async stop() {
    this.#process.stdin.end();
    await this.#ended;
    rmSync(this.#scratch, { recursive: true, force: true });
  }

  /** Writes files given by their content to the disk, because the Hub only publishes files on the disk. */
  #onDisk({ files = {}, ...rest }) {
    this.#nFolders += 1;
    const folder = path.join(this.#scratch, String(this.#nFolders));
    mkdirSync(folder);
    const paths = Object.entries(files).map(([name, content]) => {
      if (content.path) return [name, content.path];
      const at = path.join(folder, name);
      writeFileSync(at, content);
      return [name, at];
    });
    return { ...rest, files: Object.fromEntries(paths) };
  }
}
