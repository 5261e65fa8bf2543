import { describe, expect, test } from 'vitest';
import { errorLine, TestClient } from './support.ts';

/** Sends surplus arguments to a command without any. */
function surplus(names: readonly string[]): string {
  const args = Object.fromEntries(names.map((name) => [name, 5]));
  return TestClient.ready().execute('query-kvm', args);
}

describe('of several surplus arguments the one is named that QEMU 7.2 with GLib 2.74 names', () => {
  test.each([
    [['foo', 'bar', 'baz', 'qux'], 'baz'],
    [['x', 'y', 'z', 'w', 'v'], 'z'],
    [['alpha', 'beta', 'gamma', 'delta', 'epsilon', 'zeta', 'eta'], 'delta'],
    [['path', 'property', 'value', 'id'], 'path'],
    [['é', 'ü', 'ö'], '\\u00FC'],
  ])('%j: %s', (names, named) => {
    const expected = errorLine(`Parameter '${named}' is unexpected`);
    expect(surplus(names)).toBe(expected);
    expect(surplus(names.toReversed())).toBe(expected);
  });

  test('more than seven are told in another order, but told', () => {
    const names = Array.from({ length: 9 }, (_, index) => `n${index}`);
    expect(surplus(names)).toMatch(/Parameter 'n\d' is unexpected/);
  });
});
