import { describe, expect, it } from 'vitest';
import type { TracedEvent } from '../../../lab/verify/allocator-run.ts';
import { migratedPairs, withoutMigrations } from '../../../lab/verify/migrations.ts';

function told(queue: 'inflate' | 'deflate', ...pfns: number[]): TracedEvent[] {
  const runs = pfns.map((pfn): [number, number, number] => [pfn, 1, 1]);
  const buffer = { t: 0, ev: 'buf', queue, id: 0, outn: 1, inn: 0, n: pfns.length, runs };
  return [buffer, { t: 0, ev: 'used', queue, id: 0, len: 0 }] as TracedEvent[];
}

const ACTUAL = { t: 0, ev: 'config-set', actual: 7 } as TracedEvent;

describe('migrations on the wire', () => {
  it('are one page told in and one told out', () => {
    const wire = [...told('inflate', 10), ...told('deflate', 20), ...told('inflate', 11)];
    wire.push(...told('deflate', 21));
    expect(migratedPairs(wire)).toEqual([
      { newPfn: 10, oldPfn: 20 },
      { newPfn: 11, oldPfn: 21 },
    ]);
    expect(withoutMigrations(wire)).toEqual([]);
  });

  it('are told from batches of the driver, of one page as well', () => {
    const batches = [
      ...told('inflate', 1, 2),
      ACTUAL,
      ...told('inflate', 3),
      ACTUAL,
      ...told('deflate', 3),
      ACTUAL,
    ];
    expect(migratedPairs(batches)).toEqual([]);
    const wire = [...batches, ...told('inflate', 10), ...told('deflate', 1), ...batches];
    expect(migratedPairs(wire)).toEqual([{ newPfn: 10, oldPfn: 1 }]);
    expect(withoutMigrations(wire)).toEqual([...batches, ...batches]);
  });

  it('that were not finished are none', () => {
    const wire = [...told('inflate', 10), ...told('deflate', 20)];
    for (let length = 0; length < 4; length++) {
      expect(migratedPairs(wire.slice(0, length))).toEqual([]);
      expect(withoutMigrations(wire.slice(0, length))).toHaveLength(length);
    }
  });
});
