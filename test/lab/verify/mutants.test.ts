import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GuestMemory } from '../../../guest/mm/memory.ts';
import { GFP_BALLOON, GFP_HIGHUSER_MOVABLE, GFP_KERNEL } from '../../../guest/mm/page/gfp.ts';
import type { KmemEvent } from '../../../guest/workload/kmem-trace.ts';
import { UnusableRecording } from '../../../lab/verify/files.ts';
import { reportText } from '../../../lab/verify/report.ts';
import { verifyRecording } from '../../../lab/verify/run.ts';
import { runRecording } from '../../../lab/verify/runner.ts';
import { replayTrace } from '../../../lab/verify/trace-player.ts';
import { MIB } from '../../../shared/lib/units.ts';
import { type Change, inText, withMutant } from './mutants.ts';
import { smallDump } from './small-dump.ts';

// Whatever is in a recording, verify compares it or says in one line that it cannot be used.

const SMALLEST = ['page-reporting-512m', 'free-page-hint-512m', 'stats-512m'];
const FILES = ['meta.json', 'qmp.jsonl', 'wire.jsonl.gz', 'guest.jsonl.gz'];

/** Places in lines and numbers are shares of what there is, so that every mutant changes some. */
const share = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const strange = fc.constantFrom('-1', '0', '1', '0.5', '255', '65536', '4294967296', '1e300', '""');
const mutation = fc.record({
  file: fc.constantFrom(...FILES),
  how: fc.constantFrom('drop', 'double', 'exchange', 'cut', 'end', 'number'),
  at: share,
  other: share,
  strange,
});
type Mutation = typeof mutation extends fc.Arbitrary<infer Value> ? Value : never;

function mutated(text: string, { how, at, other, strange: value }: Mutation): string {
  const lines = text.trimEnd().split('\n');
  const line = Math.floor(at * lines.length);
  const second = Math.floor(other * lines.length);
  switch (how) {
    case 'drop':
      return lines.toSpliced(line, 1).join('\n');
    case 'double':
      return lines.toSpliced(line, 0, lines[line]).join('\n');
    case 'exchange':
      return lines.with(line, lines[second]).with(second, lines[line]).join('\n');
    case 'cut':
      return lines.with(line, lines[line].slice(0, other * lines[line].length)).join('\n');
    case 'end':
      return text.slice(0, other * text.length);
    default:
      return lines.with(line, withNumber(lines[line], other, value)).join('\n');
  }
}

function withNumber(line: string, at: number, value: string): string {
  const numbers = [...line.matchAll(/\d+(\.\d+)?/g)];
  const found = numbers[Math.floor(at * numbers.length)];
  if (found === undefined) return line;
  return line.slice(0, found.index) + value + line.slice(found.index + found[0].length);
}

/** 'compared', or the one line that refuses the recording; anything else is thrown. */
function outcome(recording: string, mutations: readonly Mutation[]): string {
  const changes: Record<string, Change> = {};
  for (const one of mutations) changes[one.file] = inText((text) => mutated(text, one));
  return withMutant(recording, changes, (directory) => {
    try {
      return reportText(verifyRecording(directory, runRecording)) === '' ? '' : 'compared';
    } catch (error) {
      if (!(error instanceof UnusableRecording)) throw error;
      return error.message;
    }
  });
}

describe('a changed recording', () => {
  it('is compared or refused in one line', { timeout: 60_000 }, () => {
    const mutations = fc.array(mutation, { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(fc.constantFrom(...SMALLEST), mutations, (recording, changes) => {
        expect(outcome(recording, changes)).toMatch(/^[^\n]+$/);
      }),
      { numRuns: 40 },
    );
  });
});

const BLOCK = 8192;
const ZONE_END = 16_352;

/** A block of 1,024 frames is free, 16 on a per-CPU list, all others are in use. */
const image = smallDump({
  movable: { 10: [BLOCK] },
  batch: 4,
  cached: Array.from({ length: 16 }, (_, index) => 4100 + index * 2),
  typeOf: (block) => (block % 3 === 0 ? 0 : 1),
});

const event: fc.Arbitrary<KmemEvent> = fc.record(
  {
    kind: fc.constantFrom('A', 'A', 'F', 'F', 'B', 'Z', 'D', 'X'),
    pfn: fc.oneof(
      fc.integer({ min: 4096, max: 4160 }),
      fc.integer({ min: BLOCK, max: BLOCK + 32 }),
      fc.constantFrom(0, 1, 255, 256, ZONE_END - 1, ZONE_END, 16_383, 16_384, 2 ** 28 - 1),
    ),
    order: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 10 })),
    migratetype: fc.integer({ min: 0, max: 4 }),
    extra: fc.constantFrom(0, 1, GFP_KERNEL, GFP_HIGHUSER_MOVABLE, GFP_BALLOON),
    byKswapd: fc.constant(true as const),
    line: fc.constant(1),
  },
  { requiredKeys: ['kind', 'pfn', 'order', 'migratetype', 'extra', 'line'] },
);

describe('any requests in a trace', () => {
  it('leave memory whole; what cannot be played is counted', { timeout: 60_000 }, () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 200 }), (events) => {
        const memory = GuestMemory.boot({ memoryBytes: 64 * MIB, image });
        const report = replayTrace(memory, events);
        expect(memory.verify()).toEqual([]);
        expect(report.frees).toBeGreaterThanOrEqual(report.impossibleFrees);
        expect(report.firstImpossibleFree === undefined).toBe(report.impossibleFrees === 0);
        const requests = events.filter(({ kind }) => kind === 'A').length;
        expect(report.allocations).toMatchObject({ expected: requests, produced: requests });
      }),
      { numRuns: 300 },
    );
  });
});
