// Starts the page's program. The build lists its two files as preloads, under names that change with their content.
const preload = (selector) => document.querySelector(`head link${selector}`)?.href;

// A host that cannot send `Content-Security-Policy: frame-ancestors 'none'` builds the page with this wish instead.
const framesAreForbidden = document.querySelector('meta[name="linchpin-frames"]')?.content === "forbidden";

/** Says that this page is not for frames, with a link that opens it by itself. */
const refuseFrame = () => {
  const link = Object.assign(document.createElement("a"), { href: location.href, target: "_blank", rel: "noopener", textContent: "Open it by itself." });
  const status = document.getElementById("shell-status");
  status.className = "error";
  status.replaceChildren("Whoever hosts this page does not let other sites show it in a frame. ", link);
};

/** Starts the program. */
const start = async () => {
  const script = preload('[rel="modulepreload"][href*="app"]');
  const wasm = preload('[rel="preload"][as="fetch"][href*="app"]');
  const { default: init } = await import(script);
  await init({ module_or_path: wasm });
};

try {
  if (framesAreForbidden && window.top !== window) refuseFrame();
  else await start();
} catch (error) {
  const status = document.getElementById("shell-status");
  if (status) {
    status.className = "error";
    status.textContent = `The page could not start: ${error.message ?? error}. It needs a browser with WebAssembly (any since 2023). Reload to try again.`;
  }
  throw error;
}
