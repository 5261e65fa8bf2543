import fc from 'fast-check';
import { expect, test } from 'vitest';
import { contains } from '../../../lab/scenario/contains.ts';

test.each([
  [{ a: 1, b: 2 }, { a: 1 }, true],
  [{ a: 1 }, { a: 1, b: 2 }, false],
  [{ a: { b: { c: 'x', d: 1 } } }, { a: { b: { c: 'x' } } }, true],
  [{ a: { b: { c: 'x' } } }, { a: { b: { c: 'y' } } }, false],
  [[{ name: 'x', type: 's' }, { name: 'y' }], [{ name: 'y' }], true],
  [[{ name: 'x' }], [{ name: 'y' }], false],
  [[1, 2], [2, 1], true],
  [{ 0: 1 }, [1], false],
  [[1], { 0: 1 }, true],
  ['x', 'x', true],
  ['x', { length: 1 }, false],
  [null, null, true],
  [null, {}, false],
  [{}, null, false],
  [0, false, false],
  [{}, { toString: 1 }, false],
  [JSON.parse('{"__proto__":{}}'), JSON.parse('{"__proto__":{}}'), true],
  [{}, JSON.parse('{"__proto__":{}}'), false],
])('%j contains %j: %s', (actual, expected, answer) => {
  expect(contains(actual, expected)).toBe(answer);
});

test('integers beyond 2^53 come as bigint and are compared by value', () => {
  const unset = 18446744073709551615n;
  expect(contains({ stat: unset }, { stat: 2 ** 64 })).toBe(false);
  expect(contains({ stat: 2n ** 60n }, { stat: 2 ** 60 })).toBe(true);
  expect(contains({ stat: 1n }, { stat: true })).toBe(false);
  expect(contains({ stat: 1n }, { stat: 'x' })).toBe(false);
  expect(contains({ stat: 1n }, { stat: 1.5 })).toBe(false);
});

test('every value contains itself, and an object contains each of its members', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(contains(value, value)).toBe(true);
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return;
      for (const [name, member] of Object.entries(value)) {
        expect(contains(value, { [name]: member })).toBe(true);
      }
    }),
  );
});
