// The page at first sight: it opens, reports no problem, and is accessible.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, serve, visit } from './lib.mjs';

let server;
let browser;

before(async () => {
  server = await serve();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Opens the page, waits until it shows something, checks it, and closes it. */
async function look(options, check, url = server.url) {
  const seen = await visit(browser, url, options);
  try {
    await seen.page.getByRole('heading', { level: 1 }).first().waitFor();
    await check(seen);
  } finally {
    await seen.close();
  }
}

test('page opens with its name and complains about nothing', async () => {
  await look({}, async (seen) => {
    assert.match(await seen.page.title(), /Linchpin/);
    await seen.quiet();
    assert.deepEqual(seen.problems, []);
  });
});

for (const theme of ['light', 'dark']) {
  for (const width of [1280, 360]) {
    test(`page keeps nobody out: ${theme}, ${width} pixels wide`, async () => {
      await look({ theme, width }, async (seen) => {
        await seen.screenshot(`page-${theme}-${width}`);
        assert.deepEqual(await seen.barriers(), []);
        assert.equal(await seen.overflowPx(), 0, 'the page is wider than its window');
      });
    });
  }
}

test('page works below any path, as on GitHub Pages', async () => {
  const below = await serve({ base: '/sub/path/' });
  try {
    await look({}, async (seen) => {
      // The worker and the model come from below that path, too.
      await seen.page.getByTestId('backend').waitFor();
      assert.deepEqual(seen.problems, []);
    }, below.url);
  } finally {
    await below.stop();
  }
});
