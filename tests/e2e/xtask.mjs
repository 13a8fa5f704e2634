// How the tests call this project's own chores.

import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

/** Program and arguments of an xtask command; `cargo xtask test` says where the program is, and Cargo finds it otherwise. */
export function xtask(...wanted) {
  const built = process.env.LINCHPIN_XTASK;
  return built ? [built, wanted] : ['cargo', ['run', '--quiet', '--profile', 'xtask', '--package', 'xtask', '--', ...wanted]];
}
