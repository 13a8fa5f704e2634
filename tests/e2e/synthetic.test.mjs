// The models of random weights that other tests download.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { SHAPES, writeSynthetic } from './synthetic.mjs';

let folder;

before(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'linchpin-synthetic-'));
});

after(() => rmSync(folder, { recursive: true, force: true }));

const read = (name) => readFileSync(path.join(folder, name));
const json = (name) => JSON.parse(read(name));

/** What a file of weights says about itself: each tensor's type, shape and number of bytes. */
function headerOf(name) {
  const bytes = read(name);
  const end = 8 + Number(bytes.readBigUInt64LE());
  const { __metadata__: _, ...tensors } = JSON.parse(bytes.subarray(8, end));
  const ends = Object.values(tensors).map(({ data_offsets: [, to] }) => to);
  assert.equal(end + Math.max(...ends), bytes.length);
  return tensors;
}

test('one file, as the configuration says', async () => {
  const files = await writeSynthetic(folder, { shape: SHAPES.TINY });
  assert.deepEqual(Object.keys(files), ['config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json']);
  const { vocab_size: vocab, hidden_size: hidden, num_hidden_layers: layers } = json('config.json');
  const tensors = headerOf('model.safetensors');
  assert.deepEqual(tensors['model.embed_tokens.weight'].shape, [vocab, hidden]);
  assert.equal(Object.keys(tensors).length, 2 + 9 * layers);
  const ids = Object.values(json('tokenizer.json').model.vocab);
  assert.ok(Math.max(...ids) < vocab, 'the vocabulary has room for the tokenizer');
});

test('types, shards and seeds', async () => {
  const digest = async (options) => {
    const files = await writeSynthetic(folder, { shape: SHAPES.TINY, ...options });
    return files['model.safetensors'].sha256;
  };
  assert.equal(await digest({ seed: 7 }), await digest({ seed: 7 }));
  assert.notEqual(await digest({ seed: 7 }), await digest({ seed: 8 }));

  const files = await writeSynthetic(folder, { shape: SHAPES.TINY, dtype: 'f32', shards: 2 });
  assert.equal(files['model.safetensors'], undefined, 'the single file of before is gone');
  const names = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
  const { weight_map: map, metadata } = json('model.safetensors.index.json');
  const headers = Object.fromEntries(names.map((name) => [name, headerOf(name)]));
  let nBytes = 0;
  for (const [name, tensors] of Object.entries(headers)) {
    for (const [tensor, { dtype, data_offsets: [from, to] }] of Object.entries(tensors)) {
      assert.deepEqual([dtype, map[tensor]], ['F32', name]);
      nBytes += to - from;
    }
  }
  assert.equal(Object.keys(map).length, Object.values(headers).flatMap(Object.keys).length);
  assert.equal(metadata.total_size, nBytes);
});

test('a shape that nobody knows is refused', async () => {
  await assert.rejects(writeSynthetic(folder, { shape: 'gigantic' }), /there is no shape `gigantic`/);
});
