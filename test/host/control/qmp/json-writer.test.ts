import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { JsonDouble } from '../../../../host/control/qmp/json-value.ts';
import { formatDouble, writeJson } from '../../../../host/control/qmp/json-writer.ts';

describe('writeJson', () => {
  test('a blank behind commas and colons and nowhere else', () => {
    expect(writeJson({ return: { actual: 1073741824 }, id: 2 })).toBe(
      '{"return": {"actual": 1073741824}, "id": 2}',
    );
    expect(writeJson([[], {}, null, true, 'x'])).toBe('[[], {}, null, true, "x"]');
  });

  test('an unset statistic is 2^64 - 1, exactly', () => {
    expect(writeJson({ stat: 2n ** 64n - 1n })).toBe('{"stat": 18446744073709551615}');
  });

  test('strings are printable ASCII', () => {
    expect(writeJson('a"b\\c\b\f\n\r\t')).toBe('"a\\"b\\\\c\\b\\f\\n\\r\\t"');
    expect(writeJson('\0\x1f\x7f\u00e9\u20ac🎈')).toBe(
      '"\\u0000\\u001F\\u007F\\u00E9\\u20AC\\uD83C\\uDF88"',
    );
    expect(writeJson("it's a / ~")).toBe('"it\'s a / ~"');
  });

  test('what no character is, is U+FFFD', () => {
    expect(writeJson('\ud800x\uffff')).toBe('"\\uFFFDx\\uFFFD"');
  });

  test('member names are written like strings', () => {
    expect(writeJson(new Map([['__proto__', 1]]))).toBe('{"__proto__": 1}');
    expect(writeJson({ 'a"': 1 })).toBe('{"a\\"": 1}');
  });

  test('what JSON.parse reads is what was written', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        // JSON.parse has no -0, and noncharacters and lone surrogates are replaced by QEMU.
        const text = JSON.stringify(value).replace(
          /[\ufdd0-\ufdef\ufffe\uffff]|\\ud[89a-f]../g,
          '?',
        );
        fc.pre(!text.includes('-0') && !/[\u{1fffe}-\u{1ffff}]/u.test(text));
        expect(JSON.parse(writeJson(JSON.parse(text)))).toEqual(JSON.parse(text));
      }),
    );
  });
});

describe('doubles as %.17g', () => {
  test.each([
    [1.5, '1.5'],
    [0.1, '0.10000000000000001'],
    [100, '100'],
    [1e16, '10000000000000000'],
    [1e17, '1e+17'],
    [1.5e300, '1.5000000000000001e+300'],
    [0.0001, '0.0001'],
    [0.00001, '1.0000000000000001e-05'],
    [123456.789, '123456.789'],
    [-2.5, '-2.5'],
    [0, '0'],
    [-0, '-0'],
    [5e-324, '4.9406564584124654e-324'],
    [Number.POSITIVE_INFINITY, 'inf'],
    [Number.NEGATIVE_INFINITY, '-inf'],
  ])('%d', (value, text) => {
    expect(formatDouble(value)).toBe(text);
    expect(writeJson(new JsonDouble(value))).toBe(text);
  });

  test('a tie is rounded to the even digit, as C does', () => {
    expect(formatDouble(1 + 2 ** -17)).toBe('1.0000076293945312');
    expect(formatDouble(1 + 3 * 2 ** -17)).toBe('1.0000228881835938');
  });

  test('seventeen digits name every double', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(Object.is(Number(formatDouble(value)), value)).toBe(true);
      }),
    );
  });
});
