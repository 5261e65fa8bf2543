import { describe, expect, it } from 'vitest';
import type { KmemEvent } from '../../../guest/workload/kmem-trace.ts';
import { align } from '../../../lab/verify/align.ts';
import { blank } from '../../../lab/verify/blank.ts';
import { compactionInputs } from '../../../lab/verify/compaction-checks.ts';
import { type CompactionInputs, runCompaction } from '../../../lab/verify/compaction-run.ts';
import { parseCompactionTrace } from '../../../lab/verify/compaction-trace.ts';
import { readText } from '../../../lab/verify/files.ts';
import { recordingWithoutMigrations } from '../../../lab/verify/migrations.ts';
import { readRecording } from '../../../lab/verify/recording.ts';
import { verifyRecording } from '../../../lab/verify/run.ts';
import { runRecording } from '../../../lab/verify/runner.ts';
import { split } from '../../../lab/verify/split.ts';
import { COMPACTED, COUNTED } from './recorded.ts';

// Memory of a real guest while it was compacted: what moved, in which order and where to.
const TOTALS: Readonly<Record<(typeof COMPACTED)[number], Readonly<Record<string, number>>>> = {
  'exact-compact-1g': {
    'compaction.pairs': 11_007,
    'compaction.events': 1303,
    'compaction.lists': 650,
    'compaction.zones': 536,
    'wire.pfns': 77_824,
  },
  'exact-compaction-512m': {
    'allocator.pfn': 93_011,
    'compaction.pairs': 41,
    'compaction.events': 197,
    'compaction.lists': 392,
    'compaction.zones': 6,
    'wire.pfns': 82_944,
  },
  // 124 huge pages of 250, and one that was not to be had.
  'exact-hugepages-1g': {
    'allocator.pfn': 272,
    'compaction.pairs': 432,
    'compaction.events': 910,
    'compaction.lists': 650,
    'compaction.zones': 536,
    'wire.pfns': 77_824,
  },
};

/** The inputs without what Z, D, X and A events say came of a request. */
function blanked(inputs: CompactionInputs): CompactionInputs {
  const wiped = new Map(inputs.events.map((event) => [event, blankEvent(event)]));
  const replaced = (event: KmemEvent): KmemEvent => wiped.get(event) ?? event;
  return {
    ...inputs,
    events: inputs.events.map(replaced),
    steps: inputs.steps.map((step) => ({ ...step, before: replaced(step.before) })),
  };
}

function blankEvent(event: KmemEvent): KmemEvent {
  if (event.kind !== 'Z' && event.kind !== 'D') return event;
  return { ...event, pfn: 0, migratetype: 0 };
}

describe.each(COMPACTED)('%s', (name) => {
  const directory = `lab/recordings/${name}`;

  it('is what Puff does, item by item', () => {
    const { checks } = verifyRecording(directory, runRecording);
    expect(checks.filter((check) => check.firstDifference !== null)).toEqual([]);
    expect(checks.every((check) => check.equal === check.total)).toBe(true);
    const totals = Object.fromEntries(checks.map((check) => [check.name, check.total]));
    expect(totals).toMatchObject(TOTALS[name]);
    const byTask = checks.filter(({ tasks }) => tasks !== undefined);
    expect(byTask.map((check) => check.name)).toEqual(['compaction.pairs', 'compaction.events']);
    for (const { total, tasks = [] } of byTask) {
      expect(tasks.every((task) => task.equal === task.total)).toBe(true);
      expect(tasks.reduce((sum, task) => sum + task.total, 0)).toBe(total);
    }
  });

  it('gives the emulator no expectation: blanked, it leads to the same output', () => {
    const recording = recordingWithoutMigrations(readRecording(directory));
    const alignment = align(recording);
    const { inputs } = split(recording, alignment);
    const wiped = split(blank(recording), alignment).inputs;
    expect(runRecording(wiped)).toEqual(runRecording(inputs));
  });

  it('compacts from the dump, the requests and the times alone', () => {
    const trace = parseCompactionTrace(readText(directory, 'kmem-trace.txt.gz'));
    const inputs = compactionInputs(directory, readRecording(directory), trace);
    const run = (from: CompactionInputs) => {
      const lists: number[] = [];
      const { events, frees, wire } = runCompaction(from, ({ zones }) => {
        for (const zone of zones) lists.push(...zone.nrFree, zone.freePages, zone.pcp.count);
      });
      return {
        events,
        frees,
        lists,
        wire: wire.map((event) => JSON.stringify({ ...event, t: 0 })),
      };
    };
    expect(run(blanked(inputs))).toEqual(run(inputs));
  });
});

describe.each(COUNTED)('%s', (name) => {
  const directory = `lab/recordings/${name}`;

  it('lies within the tolerances, and all else is equal', () => {
    const { checks } = verifyRecording(directory, runRecording);
    expect(checks.filter((check) => check.firstDifference !== null)).toEqual([]);
    expect(checks.every((check) => check.equal === check.total)).toBe(true);
    const counts = checks.find((check) => check.name === 'compaction.counts');
    expect(counts?.total).toBe(name === 'hugepages-1g' ? 6 : 5);
  });
});
