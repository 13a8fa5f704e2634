// Models of random weights in the shapes of well-known ones, as Hugging Face folders. They load and compute, but write nonsense.
//
// `cargo xtask model` writes them (as `bench` does: weights of deviation 0.02, norms of one, and a byte-level tokenizer of 272
// tokens, which fits into any larger vocabulary). By hand: node tests/e2e/synthetic.mjs OUT --shape smollm2-360m --dtype bf16

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, createReadStream, ftruncateSync, openSync, readFileSync, readdirSync, statSync, writeSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { root, xtask } from './xtask.mjs';

/** The shapes, with their bytes of weights in bf16. */
export const SHAPES = {
  TINY: 'tiny', // 0.2 MB
  SMOLLM2_135M: 'smollm2-135m', // 269 MB
  SMOLLM2_360M: 'smollm2-360m', // 724 MB
  SMOLLM2_360M_21_LAYERS: 'smollm2-360m-21-layers', // 507 MB
  LLAMA_3_2_1B: 'llama-3.2-1b', // 2.5 GB
};

/**
 * Writes a model; the same arguments write the same bytes.
 * @param {string} folder created if necessary; an existing model is replaced
 * @param {{shape: string, dtype?: 'bf16' | 'f32', seed?: number, shards?: number}} options
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

/**
 * A model with one matrix of 4 GiB: a header, and a sparse hole instead of its weights.
 * @param {string} folder that is there
 * @returns its files, for a local Hub (hub.mjs); the digest of the hole should be given, too
 */
export function writeHuge(folder) {
  const config = configOf('llama');
  Object.assign(config, { hidden_size: 4096, intermediate_size: 1 << 19, num_hidden_layers: 1, head_dim: 16 });
  const { hidden_size: h, intermediate_size: m, vocab_size: v } = config;
  const [q, kv] = [config.num_attention_heads * 16, config.num_key_value_heads * 16];
  const layer = 'model.layers.0';
  const shapes = {
    'model.embed_tokens.weight': [v, h], 'lm_head.weight': [v, h], 'model.norm.weight': [h],
    [`${layer}.input_layernorm.weight`]: [h], [`${layer}.post_attention_layernorm.weight`]: [h],
    [`${layer}.self_attn.q_proj.weight`]: [q, h], [`${layer}.self_attn.k_proj.weight`]: [kv, h],
    [`${layer}.self_attn.v_proj.weight`]: [kv, h], [`${layer}.self_attn.o_proj.weight`]: [h, q],
    [`${layer}.mlp.gate_proj.weight`]: [m, h], [`${layer}.mlp.up_proj.weight`]: [m, h], [`${layer}.mlp.down_proj.weight`]: [h, m],
  };
  return { 'config.json': JSON.stringify(config), 'model.safetensors': { path: writeHole(path.join(folder, 'huge.safetensors'), shapes) } };
}

/**
 * A model of zeros in GPT-2's shape (170 MB), except for its vocabulary, which is the fixture's, and its positions.
 * @param {string} folder that is there
 * @returns its files, for a local Hub (hub.mjs)
 */
export function writeGpt2(folder) {
  const config = { ...configOf('gpt2'), n_embd: 768, n_head: 12, n_layer: 12 };
  const { n_embd: h, vocab_size: v, n_positions: p } = config;
  const shapes = { 'transformer.wte.weight': [v, h], 'transformer.wpe.weight': [p, h], 'transformer.ln_f.weight': [h], 'transformer.ln_f.bias': [h] };
  const ofLayer = {
    'attn.c_attn': [h, 3 * h], 'attn.c_proj': [h, h], 'mlp.c_fc': [h, 4 * h], 'mlp.c_proj': [4 * h, h], ln_1: [h], ln_2: [h],
  };
  for (let layer = 0; layer < config.n_layer; layer += 1) {
    for (const [name, shape] of Object.entries(ofLayer)) {
      shapes[`transformer.h.${layer}.${name}.weight`] = shape;
      shapes[`transformer.h.${layer}.${name}.bias`] = shape.slice(-1);
    }
  }
  return {
    'config.json': JSON.stringify(config),
    'tokenizer.json': { path: path.join(root, 'tests/fixtures/gpt2/tokenizer.json') },
    'model.safetensors': { path: writeHole(path.join(folder, 'gpt2.safetensors'), shapes) },
  };
}

function configOf(fixture) {
  return JSON.parse(readFileSync(path.join(root, 'tests/fixtures', fixture, 'config.json')));
}

/** Tensors of zeros that take no room on a disk. */
function writeHole(file, shapes) {
  let at = 0;
  const header = {};
  for (const [name, shape] of Object.entries(shapes)) {
    const bytes = 2 * shape.reduce((a, b) => a * b);
    header[name] = { dtype: 'BF16', shape, data_offsets: [at, at + bytes] };
    at += bytes;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const handle = openSync(file, 'w');
  writeSync(handle, Buffer.concat([length, json]));
  ftruncateSync(handle, 8 + json.length + at);
  closeSync(handle);
  return file;
}

async function sha256(file) {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(file, { highWaterMark: 4 << 20 })) hash.update(piece);
  return hash.digest('hex');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = { type: 'string' };
  const { positionals, values } = parseArgs({ allowPositionals: true, options: { shape: text, dtype: text, seed: text, shards: text } });
  if (positionals.length !== 1) throw new Error('node tests/e2e/synthetic.mjs OUT --shape NAME [--dtype bf16|f32] [--seed N] [--shards N]');
  const files = await writeSynthetic(positionals[0], { shape: SHAPES.SMOLLM2_360M, ...values });
  for (const [name, { size, sha256: digest }] of Object.entries(files)) console.log(`${digest}  ${String(size).padStart(11)}  ${name}`);
}
