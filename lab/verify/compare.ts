import type { Check, CheckName, Difference, JsonObject, JsonValue } from './types.ts';

/**
 * Compares two lists item by item, in order. The total is the longer list's length, so an item
 * too many or too few is a difference, as are all items after one that was left out.
 */
export function compareItems<Item>(
  name: CheckName,
  expected: readonly Item[],
  actual: readonly Item[],
  same: (expected: Item, actual: Item) => boolean,
): Check {
  const total = Math.max(expected.length, actual.length);
  let equal = 0;
  let firstDifference: Difference | null = null;
  for (let index = 0; index < total; index++) {
    const present = index < expected.length && index < actual.length;
    if (present && same(expected[index], actual[index])) equal++;
    else firstDifference ??= difference(index, expected[index], actual[index]);
  }
  return { name, total, equal, firstDifference };
}

function difference(index: number, expected: unknown, actual: unknown): Difference {
  return { index, expected: expected ?? null, actual: actual ?? null };
}

/** Two parts of one check: the second part's items are counted after the first's. */
export function joinChecks(first: Check, second: Check): Check {
  const later = second.firstDifference;
  return {
    name: first.name,
    total: first.total + second.total,
    equal: first.equal + second.equal,
    firstDifference:
      first.firstDifference ?? (later && { ...later, index: first.total + later.index }),
  };
}

/**
 * Equal as JSON values: members of an object in any order, items of an array in order. Integers
 * beyond 2^53 are equal if they are so as doubles.
 */
export function sameJson(a: JsonValue | undefined, b: JsonValue | undefined): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    return (
      Array.isArray(a) &&
      Array.isArray(b) &&
      a.length === b.length &&
      a.every((item, index) => sameJson(item, b[index]))
    );
  }
  return sameMembers(a as JsonObject, b as JsonObject);
}

function sameMembers(a: JsonObject, b: JsonObject): boolean {
  const names = Object.keys(a);
  if (names.length !== Object.keys(b).length) return false;
  return names.every((name) => Object.hasOwn(b, name) && sameJson(a[name], b[name]));
}
