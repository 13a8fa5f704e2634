/** The longest wait of a test, for machines that are slow, busy or both; the benchmarks measure speed. */
export const PATIENCE_MS = 1_800_000;
