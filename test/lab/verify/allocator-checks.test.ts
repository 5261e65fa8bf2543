import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { readTrace } from '../../../lab/verify/allocator-checks.ts';
import { UnusableRecording } from '../../../lab/verify/files.ts';

const folder = mkdtempSync(join(tmpdir(), 'puff-trace-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(...lines: readonly string[]): void {
  writeFileSync(join(folder, 'kmem-trace.txt.gz'), gzipSync(lines.join('\n')));
}

describe('the trace of a recording', () => {
  it('without requests between its dumps shows nothing, and is refused', () => {
    write('sh-9 A 7 0 1 GFP_KERNEL', 'sh-9 F 7 0');
    expect(() => readTrace(folder)).toThrow(UnusableRecording);
    expect(() => readTrace(folder)).toThrow(
      'kmem-trace.txt.gz: has no requests between DUMP-before and DUMP-after',
    );
  });

  it('is refused with the line that cannot be read', () => {
    write('init-1 > 1.5 tracing_mark_write: DUMP-before', 'sh-9 A 7 0 1 GFP_NONSENSE');
    expect(() => readTrace(folder)).toThrow(
      'kmem-trace.txt.gz: line 2: unknown GFP flag GFP_NONSENSE',
    );
  });
});
