import { describe, expect, it } from 'vitest';
import { parseCompactionTrace } from '../../../lab/verify/compaction-trace.ts';

const POOL = 'GFP_HIGHUSER_MOVABLE|__GFP_NOWARN|__GFP_RETRY_MAYFAIL|__GFP_COMP|__GFP_THISNODE';

function trace(...lines: string[]) {
  return parseCompactionTrace(
    [
      'sh-1 A 1 0 0 GFP_KERNEL',
      'sh-1 > 1.0 tracing_mark_write: DUMP-before',
      ...lines,
      'sh-1 > 9.0 tracing_mark_write: DUMP-after',
      'sh-1 F 1 0',
    ].join('\n'),
  );
}

const suitable = (task: string, zone: string): string =>
  `${task} > 2.0 mm_compaction_suitable: node=0 zone=${zone} order=-1 ret=continue`;
const end = (task: string): string => `${task} > 2.5 mm_compaction_end: zone_start=0x1`;

describe('the kernel’s trace of compaction', () => {
  it('without any is empty', () => {
    const { sections, events, poolPfns } = trace('sh-1 A 2 0 0 GFP_KERNEL');
    expect([sections, events, poolPfns]).toEqual([[], [], []]);
    expect(parseCompactionTrace('').sections).toEqual([]);
    expect(parseCompactionTrace('sh-1 A 2 0 0 GFP_KERNEL').sections).toEqual([]);
  });

  it('shows runs over all zones, and who did them', () => {
    const { sections, events } = trace(
      suitable('sh-7', 'DMA     '),
      end('sh-7'),
      suitable('sh-7', 'DMA32   '),
      'sh-7 F 55 0',
      end('sh-7'),
      'sh-7 > 3.0 mm_compaction_kcompactd_sleep: nid=0',
      suitable('kcompactd0-28', 'DMA     '),
      end('kcompactd0-28'),
    );
    expect(sections.map(({ by, firstLine, lastLine }) => [by, firstLine, lastLine])).toEqual([
      ['compact_memory', 3, 7],
      ['kcompactd', 9, 10],
    ]);
    expect(events).toHaveLength(6);
    expect(events[0].event).toBe(
      'mm_compaction_suitable: node=0 zone=DMA      order=-1 ret=continue',
    );
  });

  it('names on every event what its task was at work as, and others by their own names', () => {
    const { events, tasks } = trace(
      suitable('sh-7', 'DMA     '),
      end('sh-7'),
      suitable('sh-7', 'DMA32   '),
      suitable('cat-9', 'DMA32   '),
      end('sh-7'),
      suitable('kcompactd0-28', 'DMA     '),
      end('sh-7'),
      end('kcompactd0-28'),
    );
    expect(events.map(({ task }) => task)).toEqual([
      'compact_memory',
      'compact_memory',
      'compact_memory',
      'cat-9',
      'compact_memory',
      'kcompactd',
      'compact_memory',
      'kcompactd',
    ]);
    expect(tasks).toEqual(
      new Map([
        ['compact_memory', new Set(['sh-7'])],
        ['kcompactd', new Set(['kcompactd0-28'])],
      ]),
    );
  });

  it('a task that is through with its work is one of the others again', () => {
    const { events } = trace(
      suitable('sh-7', 'DMA     '),
      end('sh-7'),
      'sh-7 > 3.0 mm_migrate_pages: nr_succeeded=0',
    );
    expect(events.map(({ task }) => task)).toEqual(['compact_memory', 'compact_memory', 'sh-7']);
  });

  it('tells old frames that migrations freed from all else that is freed', () => {
    const isolated = (task: string, taken: number): string =>
      `${task} > 2.1 mm_compaction_isolate_migratepages: nr_scanned=9 nr_taken=${taken}`;
    const { frees } = trace(
      suitable('sh-7', 'DMA     '),
      'sh-7 F 1 0',
      isolated('sh-7', 2),
      'sh-7 F 2 0',
      'cat-9 F 3 0',
      'sh-7 F 4 9',
      'sh-7 F 5 0',
      'sh-7 > 2.2 mm_migrate_pages: nr_succeeded=2 nr_failed=0',
      'sh-7 F 6 0',
      isolated('sh-7', 0),
      'sh-7 F 7 0',
      end('sh-7'),
    );
    expect(frees).toEqual([
      { task: 'compact_memory', pfn: 2 },
      { task: 'compact_memory', pfn: 5 },
    ]);
  });

  it('tells the work of a run from requests of others meanwhile', () => {
    const { sections, ownLines } = trace(
      suitable('sh-7', 'DMA     '),
      'sh-7 D 40 0 1',
      'cat-9 A 60 0 0 GFP_KERNEL',
      'sh-7 F 55 0',
      'cat-9 Z 61 0 1 1',
      end('sh-7'),
      'cat-9 F 60 0',
    );
    expect([...ownLines]).toEqual([4, 6]);
    expect(sections[0].foreign).toEqual([{ task: 'cat-9', line: 5, afterEvents: 1 }]);
  });

  it('finds the growth of the pool of huge pages, from the first page’s block on', () => {
    const { sections, poolPfns, ownLines } = trace(
      'sh-7 A 10 0 0 GFP_KERNEL',
      'sh-7 Z 512 9 1 0',
      `sh-7 A 512 9 1 ${POOL}`,
      'sh-7 X 1024 9 9 1 0',
      `sh-7 A 1024 9 1 ${POOL}`,
      'sh-7 > 3.0 mm_compaction_try_to_compact_pages: order=9',
      `sh-7 A 0 9 1 ${POOL}`,
    );
    expect(poolPfns).toEqual([512, 1024, 0]);
    expect(sections).toMatchObject([{ by: 'nr_hugepages', firstLine: 4, lastLine: 9 }]);
    expect([...ownLines]).toEqual([4, 5, 6, 7, 9]);
  });
});
