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

/** Shows the page in a frame of a page of another origin (localhost instead of 127.0.0.1), and returns the frame. */
async function framed(browser, index = (html) => html) {
  const page = await browser.newPage();
  const other = server.url.replace('127.0.0.1', 'localhost');
  await page.route(`${other}frame.html`, (route) => route.fulfill({ contentType: 'text/html', body: `<iframe src="${server.url}" width="800" height="600"></iframe>` }));
  await page.route(server.url, async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, body: index(await answer.text()) });
  });
  await page.goto(`${other}frame.html`);
  return { page, frame: page.frameLocator('iframe') };
}

test('page in a frame of another site says so, and links to itself', async () => {
  const { page, frame } = await framed(browser);
  await frame.getByTestId('frame-note').waitFor();
  assert.match(await frame.getByTestId('frame-note').innerText(), /frame-ancestors 'none'/);
  assert.equal(await frame.getByTestId('frame-open').getAttribute('href'), server.url);
  await page.close();
  await look({}, async ({ page }) => assert.equal(await page.getByTestId('frame-note').count(), 0));
});

test('page that was built with --forbid-frames does not start in a frame, and starts by itself', async () => {
  const forbid = (html) => html.replace('</head>', '<meta name="linchpin-frames" content="forbidden"></head>');
  const { page, frame } = await framed(browser, forbid);
  await frame.getByText('does not let other sites show it').waitFor();
  assert.equal(await frame.getByRole('link', { name: 'Open it by itself.' }).getAttribute('href'), server.url);
  assert.equal(await frame.getByTestId('frame-note').count(), 0, 'the program started');
  await page.goto(server.url);
  await page.locator('#instrument').waitFor();
  await page.close();
});
