import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The package's folder, seen from dist/lab/cli. */
const PACKAGE = new URL('../../../', import.meta.url);

/** Path of a file or folder that comes with the package: 'lab/recordings/stats-512m'. */
export function packagePath(name: string): string {
  return fileURLToPath(new URL(name, PACKAGE));
}

/** A path as given when something is there; else what the package has under that name. */
export function pathOrOwn(name: string, own: string): string {
  if (existsSync(name) || name.includes('/')) return name;
  const path = packagePath(own);
  return existsSync(path) ? path : name;
}

/** Names in a folder of the package, without `extension`, sorted. */
export function ownNames(folder: string, extension = ''): string[] {
  const names = readdirSync(packagePath(folder));
  return names.map((name) => name.replace(extension, '')).sort();
}
