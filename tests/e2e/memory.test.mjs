// A model of half a gigabyte costs the engine little more memory than what it keeps of it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { measureLoading } from '../../benches/loading.mjs';

/** Slabs of 8 MiB, one matrix, and what an allocator takes ahead. */
const BOUND_BYTES = 64 << 20;

test('507 MB on their way to a GPU leave the engine\'s memory as small as it was', async () => {
  const { fileBytes, measured } = await measureLoading({ browsers: 'gpu' });
  assert.ok(fileBytes > 500e6);
  const [{ beyond }] = measured;
  assert.ok(beyond <= BOUND_BYTES, `the engine's memory grew by ${beyond} bytes: ${JSON.stringify(measured)}`);
});
