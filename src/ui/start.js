// Starts the page's program. The build lists its two files as preloads, under names that change with their content.
const preload = (selector) => document.querySelector(`head link${selector}`)?.href;

try {
  const script = preload('[rel="modulepreload"][href*="app"]');
  const wasm = preload('[rel="preload"][as="fetch"][href*="app"]');
  const { default: init } = await import(script);
  await init({ module_or_path: wasm });
} catch (error) {
  const status = document.getElementById("shell-status");
  if (status) {
    status.className = "error";
    status.textContent = `The page could not start: ${error.message ?? error}. It needs a browser with WebAssembly (any since 2023). Reload to try again.`;
  }
  throw error;
}
