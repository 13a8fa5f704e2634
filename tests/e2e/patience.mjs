/** How long a test waits for anything before it gives up, for machines that are slow, busy or both; speed is measured by the benchmarks. */
export const PATIENCE_MS = 1_800_000;
