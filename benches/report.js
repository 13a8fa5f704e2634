// Reports the figures of a page in this folder: on the page, in window.__result, and to `cargo xtask bench` if it serves the page.

/** Reports the figures so far; `done` ends the run. */
export async function report(page, figures, { done = false } = {}) {
  const text = JSON.stringify({ page, done, figures }, null, 2);
  document.querySelector('#out').textContent = text;
  // Any other server refuses, which does no harm.
  await fetch('./__result', { method: 'POST', body: text }).catch(() => {});
  if (done) window.__result = JSON.stringify(figures);
}

/** The facts about the machine that a page can see. */
export async function machine() {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: 'high-performance' });
  const info = adapter?.info ?? {};
  const words = [info.vendor, info.architecture, info.device, info.description].filter(Boolean);
  return {
    adapter: words.join(' ') || 'none',
    cores: navigator.hardwareConcurrency,
    browser: navigator.userAgent.match(/(Headless)?Chrome\/\d+/)?.[0] ?? navigator.userAgent,
  };
}

export const list = (text) => text.split(',').filter(Boolean);

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
