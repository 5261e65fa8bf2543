import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';

/** Copies of recordings in which something is different from what was recorded. */

/** What becomes of a file, unpacked; undefined: it is not there. */
export type Change = (bytes: Buffer) => Buffer | string | undefined;

const LEVEL = { level: 1 };

/** The same for the text of a file. */
export function inText(change: (text: string) => string): Change {
  return (bytes) => change(bytes.toString());
}

/** The same for one line of it, by its index; negative: from the end. */
export function inLine(index: number, change: (line: string) => string): Change {
  return inText((text) => {
    const lines = text.trimEnd().split('\n');
    const at = index < 0 ? lines.length + index : index;
    return lines.map((line, place) => (place === at ? change(line) : line)).join('\n');
  });
}

/** The same for a file of JSON. */
export function inJson<Shape>(change: (value: Shape) => void): Change {
  return inText((text) => {
    const value = JSON.parse(text) as Shape;
    change(value);
    return JSON.stringify(value);
  });
}

/** Calls `use` with the folder of a changed copy, which is gone afterwards. */
export function withMutant<Result>(
  recording: string,
  changes: Readonly<Record<string, Change>>,
  use: (directory: string) => Result,
): Result {
  const root = mkdtempSync(join(tmpdir(), 'puff-mutant-'));
  try {
    const directory = join(root, recording);
    mkdirSync(directory);
    for (const file of readdirSync(`lab/recordings/${recording}`)) {
      const bytes = readFileSync(`lab/recordings/${recording}/${file}`);
      const change = changes[file];
      const packed = change === undefined ? bytes : changed(file, bytes, change);
      if (packed !== undefined) writeFileSync(join(directory, file), packed);
    }
    return use(directory);
  } finally {
    rmSync(root, { recursive: true });
  }
}

function changed(file: string, bytes: Buffer, change: Change): Buffer | string | undefined {
  if (!file.endsWith('.gz')) return change(bytes);
  const content = change(gunzipSync(bytes));
  return content === undefined ? undefined : gzipSync(content, LEVEL);
}
