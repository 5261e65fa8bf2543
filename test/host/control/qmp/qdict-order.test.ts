import { describe, expect, test } from 'vitest';
import type { Json } from '../../../../host/control/qmp/json-value.ts';
import { qdictBucket, qdictEntries } from '../../../../host/control/qmp/qdict-order.ts';
import { recordedLines } from './support.ts';

/** Every object within a parsed message. */
function objectsOf(value: unknown): Record<string, Json>[] {
  if (Array.isArray(value)) return value.flatMap(objectsOf);
  if (typeof value !== 'object' || value === null) return [];
  return [value as Record<string, Json>, ...Object.values(value).flatMap(objectsOf)];
}

describe('member order', () => {
  test.each(['qmp-errors-512m', 'stats-512m', 'inflate-deflate-1g', 'driver-rebind-1g'])(
    '%s: every object that QEMU wrote has its members in the order of their buckets',
    (recording) => {
      const objects = recordedLines(recording)
        .filter(({ isRequest }) => !isRequest)
        .flatMap(({ text }) => objectsOf(JSON.parse(text)))
        .filter((object) => Object.keys(object).length > 1);
      expect(objects.length).toBeGreaterThan(5);
      for (const object of objects) {
        const buckets = Object.keys(object).map(qdictBucket);
        expect(buckets).toEqual(buckets.toSorted((x, y) => x - y));
      }
    },
  );

  test('an id comes before an error and after a return value', () => {
    expect(qdictEntries({ error: 1, id: 2 }).map(([name]) => name)).toEqual(['id', 'error']);
    expect(qdictEntries({ id: 2, return: 1 }).map(([name]) => name)).toEqual(['return', 'id']);
  });

  test('of two members in one bucket the later inserted comes first', () => {
    expect(qdictBucket('micro')).toBe(qdictBucket('minor'));
    const inserted = qdictEntries({ major: 7, minor: 2, micro: 22 });
    expect(inserted.map(([name]) => name)).toEqual(['micro', 'minor', 'major']);
    expect(qdictEntries({ micro: 22, minor: 2 }).map(([name]) => name)).toEqual(['minor', 'micro']);
  });

  test('a name outside ASCII counts by its bytes', () => {
    expect(qdictBucket('é')).not.toBe(qdictBucket('e'));
    expect(qdictEntries(new Map([['é', 1]]))).toEqual([['é', 1]]);
  });
});
