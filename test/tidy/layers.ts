import { importsOf, type SourceFile } from './scan.ts';

/**
 * Who may import whom. A file belongs to the longest path that fits it and may import its own
 * folder and what its row lists. docs/ARCHITECTURE.md draws the same picture.
 */
const LIB = 'shared/lib';
const BASE = [LIB, 'shared/limits.ts', 'shared/lifecycle'];
const WIRE = [...BASE, 'shared/virtio', 'shared/protocol'];

const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  [LIB]: [],
  'shared/limits.ts': [LIB],
  'shared/lifecycle': [LIB],
  'shared/virtio': BASE,
  'shared/protocol': [...BASE, 'shared/virtio'],
  'shared/transport': WIRE,
  'shared/control': [...WIRE, 'shared/transport'],

  'guest/sched': BASE,
  'guest/mm': [...BASE, 'guest/sched'],
  'guest/mm/page': [...BASE, 'guest/sched'],
  'guest/mm/calls': [...BASE, 'guest/sched', 'guest/mm'],
  'guest/drivers': [...WIRE, 'guest/sched', 'guest/mm'],
  'guest/workload': [...BASE, 'guest/sched', 'guest/mm'],
  guest: ['shared'],

  'host/ram': BASE,
  // machine.ts is what a device shows to those above it: interfaces, no code.
  'host/device': [...WIRE, 'host/ram', 'host/vmm/machine.ts'],
  'host/vmm': ['shared', 'host/ram', 'host/device'],
  'host/control': ['shared', 'host/vmm'],
  host: ['shared'],

  lab: ['shared', 'guest', 'host'],
  'lab/cli': ['shared', 'guest', 'host', 'lab'],
  test: ['shared', 'guest', 'host', 'lab'],
};

/** Folders that only these may import, besides themselves. */
const ONLY_FOR: Readonly<Record<string, readonly string[]>> = {
  'guest/mm/calls': ['guest/workload', 'guest/drivers', 'lab', 'test'],
  'lab/cli': ['test'],
};

/** Files that nothing imports because they are started, not imported. */
const ENTRY_POINTS = [
  /^(?:lab\/cli|test\/bench|test\/soak)\/main\.ts$/,
  /^lab\/index\.ts$/,
  /^test\/.*\.test\.ts$/,
];

const isIn = (path: string, folder: string): boolean =>
  path === folder || path.startsWith(`${folder}/`);

function longest(path: string, folders: readonly string[]): string | undefined {
  const fitting = folders.filter((folder) => isIn(path, folder));
  return fitting.sort((a, b) => b.length - a.length)[0];
}

/** Imports against the direction of the layers. */
export function checkDirections(files: readonly SourceFile[]): string[] {
  const wrong: string[] = [];
  for (const file of files) {
    for (const imported of importsOf(file)) {
      if (!mayImport(file.path, imported)) wrong.push(`${file.path} may not import ${imported}`);
    }
  }
  return wrong;
}

function mayImport(from: string, to: string): boolean {
  const row = longest(from, Object.keys(MAY_IMPORT));
  if (row === undefined) return false;
  const guarded = longest(to, Object.keys(ONLY_FOR));
  if (guarded !== undefined && !isIn(from, guarded)) {
    return (ONLY_FOR[guarded] ?? []).some((folder) => isIn(from, folder));
  }
  return isIn(to, row) || (MAY_IMPORT[row] ?? []).some((folder) => isIn(to, folder));
}

/** Import cycles, each named once by the files on it. */
export function checkCycles(files: readonly SourceFile[]): string[] {
  const imports = new Map(files.map((file) => [file.path, importsOf(file)]));
  const done = new Set<string>();
  const cycles: string[] = [];
  const walk = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start >= 0) cycles.push([...trail.slice(start), path].join(' -> '));
    if (start >= 0 || done.has(path)) return;
    for (const imported of imports.get(path) ?? []) walk(imported, [...trail, path]);
    done.add(path);
  };
  for (const path of imports.keys()) walk(path, []);
  return cycles;
}

/** Files that nothing imports and nobody starts. */
export function checkUnused(files: readonly SourceFile[]): string[] {
  const imported = new Set(files.flatMap(importsOf));
  return files
    .map(({ path }) => path)
    .filter((path) => !imported.has(path) && !ENTRY_POINTS.some((entry) => entry.test(path)))
    .map((path) => `${path} is imported by nothing`);
}
