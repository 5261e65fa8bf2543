import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { compactionChecks } from '../../../lab/verify/compaction-checks.ts';
import { compactionCounts } from '../../../lab/verify/compaction-counts.ts';
import { UnusableRecording } from '../../../lab/verify/files.ts';
import { readRecording } from '../../../lab/verify/recording.ts';

/** Files with a record for every frame, of a guest that has more frames. */
let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'puff-frames-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

function cut(name: string, file: string, bytes: number): void {
  cpSync(`lab/recordings/${name}`, directory, { recursive: true });
  const whole = gunzipSync(readFileSync(join(directory, file)));
  writeFileSync(join(directory, file), gzipSync(whole.subarray(0, bytes)));
}

describe('too few records make a recording unusable', () => {
  test.each([0, 16, 1_000_001])('pages-before.bin with %i bytes', (bytes) => {
    cut('exact-compact-1g', 'pages-before.bin.gz', bytes);
    const check = (): unknown => compactionChecks(directory, readRecording(directory));
    const reason = `has ${bytes} bytes, not 16 for each of 262112 frames`;
    expect(check).toThrow(new UnusableRecording(`${directory}/pages-before.bin.gz: ${reason}`));
  });

  test.each([0, 8, 1_000_001])('kpageflags-inflated with %i bytes', (bytes) => {
    cut('compaction-1g', 'kpageflags-inflated.u64le.gz', bytes);
    const check = (): unknown => compactionCounts(directory, readRecording(directory));
    expect(check).toThrow(UnusableRecording);
    expect(check).toThrow(`has ${bytes} bytes, not 8 for each of `);
  });
});
