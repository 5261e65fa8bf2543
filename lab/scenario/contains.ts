/**
 * Is `expected` contained in `actual`? Of an object every member named in `expected`, of an array
 * an item for each of `expected`'s, at every depth; all else must be equal. An integer beyond
 * 2^53 is a bigint in `actual` and a number in a scenario file: they are compared by value.
 */
export function contains(actual: unknown, expected: unknown): boolean {
  if (typeof expected !== 'object' || expected === null) return isSame(actual, expected);
  if (typeof actual !== 'object' || actual === null) return false;
  if (Array.isArray(expected)) {
    if (!Array.isArray(actual)) return false;
    return expected.every((wanted) => actual.some((item) => contains(item, wanted)));
  }
  return Object.entries(expected).every(([name, value]) => {
    return Object.hasOwn(actual, name) && contains(actual[name as keyof typeof actual], value);
  });
}

function isSame(actual: unknown, expected: unknown): boolean {
  if (typeof actual !== 'bigint') return actual === expected;
  return Number.isInteger(expected) && actual === BigInt(expected as number);
}
