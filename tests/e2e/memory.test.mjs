// Loading a model of half a gigabyte takes the engine little memory beyond the weights that it keeps.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { measureLoading } from '../../benches/loading.mjs';

/** Slabs of 8 MiB, one matrix, and the allocator's reserve. */
const BOUND_BYTES = 64 << 20;

test('507 MB on their way to a GPU leave the engine\'s memory as small as it was', async () => {
  const { fileBytes, measured } = await measureLoading({ browsers: 'gpu' });
  assert.ok(fileBytes > 500e6);
  const [{ beyond }] = measured;
  assert.ok(beyond <= BOUND_BYTES, `the engine's memory grew by ${beyond} bytes: ${JSON.stringify(measured)}`);
});
