import { describe, expect, it } from 'vitest';
import { __GFP_ZERO, GFP_BALLOON, GFP_TRANSHUGE_LIGHT } from '../../../guest/mm/page/gfp.ts';
import { batchedFrees, parseKmemTrace, UnusableTrace } from '../../../guest/workload/kmem-trace.ts';

const MOVABLE = 'GFP_HIGHUSER_MOVABLE';

function between(...lines: readonly string[]): string {
  const marker = (label: string): string => `init-1 > 1.5 tracing_mark_write: DUMP-${label}`;
  return [
    '# comment',
    'sh-9 A 1 0 0 GFP_KERNEL',
    marker('before'),
    ...lines,
    marker('after'),
    'sh-9 F 1 0',
  ].join('\n');
}

describe('reading a kmem trace', () => {
  it('keeps what lies between the dumps, and its line numbers', () => {
    const events = parseKmemTrace(
      between(
        `kworker/0:2-45 A 7 0 1 ${MOVABLE}|__GFP_NOWARN|__GFP_NORETRY|__GFP_NOMEMALLOC`,
        'sh-9 F 7 0',
        'sh-9 B 7',
        'sh-9 Z 8 3 2 1',
        'sh-9 D 9 1 0',
        'sh-9 X pfn=0x18800 alloc_order=0 fallback_order=10 pageblock_order=9 ' +
          'alloc_migratetype=0 fallback_migratetype=1 fragmenting=0 change_ownership=1',
        'sh-9 > 3.6 mm_compaction_begin: zone_start=0x1000',
      ),
    );
    expect(events).toEqual([
      { kind: 'A', pfn: 7, order: 0, migratetype: 1, extra: GFP_BALLOON, line: 4 },
      { kind: 'F', pfn: 7, order: 0, migratetype: 0, extra: 0, line: 5 },
      { kind: 'B', pfn: 7, order: 0, migratetype: 0, extra: 0, line: 6 },
      { kind: 'Z', pfn: 8, order: 3, migratetype: 2, extra: 1, line: 7 },
      { kind: 'D', pfn: 9, order: 1, migratetype: 0, extra: 0, line: 8 },
      { kind: 'X', pfn: 0x18800, order: 0, migratetype: 0, extra: 10, fallbackType: 1, line: 9 },
    ]);
  });

  it.each([
    ['sh-9 A 7 0 1 GFP_NONSENSE', 'line 4: unknown GFP flag GFP_NONSENSE'],
    ['sh-9 F 7', 'line 4: sh-9 F 7'],
    ['sh-9 F seven 0', 'line 4: sh-9 F seven 0'],
    ['sh-9 X something else', 'line 4: something else'],
    ['sh-9 F 7 11', 'line 4: sh-9 F 7 11'],
    ['sh-9 A 1.5 0 1 GFP_KERNEL', 'line 4: sh-9 A 1.5 0 1 GFP_KERNEL'],
    [`sh-9 F ${'9'.repeat(500)} 0`, `line 4: sh-9 F ${'9'.repeat(93)}`],
  ])('refuses %j', (line, message) => {
    expect(() => parseKmemTrace(between(line))).toThrow(UnusableTrace);
    expect(() => parseKmemTrace(between(line))).toThrow(message);
  });

  it('knows a request without flags, and what a fault for a huge page asks for', () => {
    const events = parseKmemTrace(
      between('sh-9 A 7 0 0 none', 'sh-9 A 512 9 1 GFP_TRANSHUGE_LIGHT|__GFP_ZERO'),
    );
    expect(events.map(({ extra }) => extra)).toEqual([0, GFP_TRANSHUGE_LIGHT | __GFP_ZERO]);
  });

  it('tells what kswapd did', () => {
    const events = parseKmemTrace(between('kswapd0-37 F 7 0', 'sh-9 F 8 0'));
    expect(events.map(({ byKswapd }) => byKswapd)).toEqual([true, undefined]);
  });

  it('gives every B the last free of its page', () => {
    const events = parseKmemTrace(between('a-1 F 7 0', 'a-1 F 7 0', 'a-1 F 8 0', 'a-1 B 7'));
    expect([...batchedFrees(events)]).toEqual([events[1]]);
  });
});
