// Calls this project's own chores from the tests.

import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

/** Program and arguments of an xtask command. `cargo xtask test` gives the program; otherwise Cargo finds it. */
export function xtask(...wanted) {
  const built = process.env.LINCHPIN_XTASK;
  return built ? [built, wanted] : ['cargo', ['run', '--quiet', '--profile', 'xtask', '--package', 'xtask', '--', ...wanted]];
}
