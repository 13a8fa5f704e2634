// Models of random weights in the shapes of well-known ones, as Hugging Face folders: they load and compute, and say nothing.
//
// `cargo xtask model` writes them (as `bench` does: weights of deviation 0.02, norms of one, and a byte-level tokenizer of 272
// tokens, which any larger vocabulary has room for). By hand: node tests/e2e/synthetic.mjs OUT --shape smollm2-360m --dtype bf16

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { root, xtask } from './xtask.mjs';

/** What there is, and how many bytes of weights in bf16. */
export const SHAPES = {
  TINY: 'tiny', // 0.2 MB
  SMOLLM2_135M: 'smollm2-135m', // 269 MB
  SMOLLM2_360M: 'smollm2-360m', // 724 MB
  SMOLLM2_360M_21_LAYERS: 'smollm2-360m-21-layers', // 507 MB
  LLAMA_3_2_1B: 'llama-3.2-1b', // 2.5 GB
};

/**
 * Writes a model; the same arguments write the same bytes.
 * @param {string} folder made if need be; a model that is there makes way
 * @param {{shape: string, dtype?: 'bf16' | 'f16' | 'f32', seed?: number, shards?: number}} options
 * @returns {Promise<Object<string, {size: number, sha256: string}>>} its files by name
 */
export async function writeSynthetic(folder, { shape, dtype = 'bf16', seed = 1, shards = 1 }) {
  const out = path.resolve(folder);
  const wanted = ['model', '--out', out, '--shape', shape, '--dtype', dtype, '--seed', String(seed), '--shards', String(shards)];
  const [program, args] = xtask(...wanted);
  const writer = spawn(program, args, { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] });
  let complaint = '';
  writer.stderr.setEncoding('utf8').on('data', (text) => {
    complaint += text;
  });
  const [code] = await once(writer, 'close');
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ${complaint.trim() || code}`);
  const files = {};
  for (const name of readdirSync(out).sort()) {
    const file = path.join(out, name);
    files[name] = { size: statSync(file).size, sha256: await sha256(file) };
  }
  return files;
}

async function sha256(file) {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(file, { highWaterMark: 4 << 20 })) hash.update(piece);
  return hash.digest('hex');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = { type: 'string' };
  const { positionals, values } = parseArgs({ allowPositionals: true, options: { shape: text, dtype: text, seed: text, shards: text } });
  if (positionals.length !== 1) throw new Error('node tests/e2e/synthetic.mjs OUT --shape NAME [--dtype bf16|f16|f32] [--seed N] [--shards N]');
  const files = await writeSynthetic(positionals[0], { shape: SHAPES.SMOLLM2_360M, ...values });
  for (const [name, { size, sha256: digest }] of Object.entries(files)) console.log(`${digest}  ${String(size).padStart(11)}  ${name}`);
}
