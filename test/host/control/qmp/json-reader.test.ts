import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { JsonLimits } from '../../../../host/control/qmp/json-builder.ts';
import { JsonReader } from '../../../../host/control/qmp/json-reader.ts';
import { JsonDouble, type JsonValue } from '../../../../host/control/qmp/json-value.ts';
import { formatDouble, writeJson } from '../../../../host/control/qmp/json-writer.ts';
import { bytes } from './support.ts';

type Outcome = { readonly value: JsonValue } | { readonly fault: string };

/** Reads pieces; returns values and faults in the order in which they came out. */
function read(pieces: readonly (string | Uint8Array)[], limits?: Partial<JsonLimits>): Outcome[] {
  const outcomes: Outcome[] = [];
  const reader = new JsonReader(
    {
      value: (value) => outcomes.push({ value }),
      fault: (fault) => outcomes.push({ fault }),
    },
    limits,
  );
  for (const piece of pieces) reader.feed(typeof piece === 'string' ? bytes(piece) : piece);
  return outcomes;
}

function value(text: string): JsonValue {
  const [outcome, ...more] = read([text, '\n']);
  if (more.length > 0 || !('value' in outcome)) throw new Error(JSON.stringify(outcome));
  return outcome.value;
}

function faults(text: string | Uint8Array, limits?: Partial<JsonLimits>): string[] {
  return read([text, '\n'], limits).map((outcome) =>
    'fault' in outcome ? outcome.fault : `value ${writeJson(outcome.value)}`,
  );
}

const parseFault = (text: string): string[] => [`JSON parse error, ${text}`];

describe('framing', () => {
  test('a value ends where its last bracket closes, without white space', () => {
    expect(read(['{"a":1}{"b":2}[3]'])).toEqual([
      { value: new Map([['a', 1]]) },
      { value: new Map([['b', 2]]) },
      { value: [3] },
    ]);
  });

  test('a value may come in several pieces and span lines', () => {
    expect(read(['{"execute"\n: "query-', 'bal', 'loon"\r\n\t}'])).toEqual([
      { value: new Map([['execute', 'query-balloon']]) },
    ]);
  });

  test('a number at the top level ends with the byte behind it', () => {
    expect(read(['12'])).toEqual([]);
    expect(read(['12', ' '])).toEqual([{ value: 12 }]);
  });

  test('any value, split anywhere, is read as the same value', () => {
    const { json } = fc.letrec<{ json: JsonValue }>((tie) => ({
      json: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom(null, true, false),
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }).map((n) => {
          return Number.isSafeInteger(Number(n)) ? Number(n) : n;
        }),
        fc.maxSafeInteger().map((n) => (n === 0 ? 0 : n)),
        // A whole double is written without a fraction and read as an integer, as in QEMU.
        fc
          .double({ noNaN: true, noDefaultInfinity: true })
          .filter((n) => !/^-?\d+$/.test(formatDouble(n)))
          .map((n) => new JsonDouble(n)),
        fc.string({ unit: 'grapheme' }),
        fc.array(tie('json') as fc.Arbitrary<JsonValue>, { maxLength: 4 }),
        fc
          .array(fc.tuple(fc.string(), tie('json') as fc.Arbitrary<JsonValue>), { maxLength: 4 })
          .map((members) => new Map(members)),
      ) as fc.Arbitrary<JsonValue>,
    }));
    fc.assert(
      fc.property(fc.array(json, { minLength: 1 }), fc.infiniteStream(fc.nat(9)), (all, sizes) => {
        const text = bytes(
          all
            .map((each) => writeJson(each))
            .join(' ')
            .concat(' '),
        );
        const pieces: Uint8Array[] = [];
        for (let at = 0; at < text.length; ) {
          const size = sizes.next().value ?? 1;
          pieces.push(text.slice(at, at + size));
          at += size;
        }
        const values = read(pieces).map((outcome) => ('value' in outcome ? outcome.value : null));
        expect(values).toEqual(all);
      }),
    );
  });
});

describe('numbers', () => {
  test('an integer is exact within 64 bits', () => {
    expect(value('9007199254740991')).toBe(9007199254740991);
    expect(value('9007199254740993')).toBe(9007199254740993n);
    expect(value('18446744073709551615')).toBe(18446744073709551615n);
    expect(value('-9223372036854775808')).toBe(-9223372036854775808n);
    expect(Object.is(value('-0'), 0)).toBe(true);
  });

  test('beyond 64 bits an integer is a double', () => {
    expect(value('18446744073709551616')).toEqual(new JsonDouble(2 ** 64));
    expect(value('-9223372036854775809')).toEqual(new JsonDouble(-(2 ** 63)));
    expect(value('1'.repeat(400))).toEqual(new JsonDouble(Number.POSITIVE_INFINITY));
  });

  test('a fraction or an exponent makes a double, whole or not', () => {
    expect(value('1.5')).toEqual(new JsonDouble(1.5));
    expect(value('1.0')).toEqual(new JsonDouble(1));
    expect(value('2e3')).toEqual(new JsonDouble(2000));
    expect(value('-2.5E-1')).toEqual(new JsonDouble(-0.25));
  });

  test('a lone 0 takes no exponent: three tokens', () => {
    expect(read(['0e1 '])).toEqual([
      { value: 0 },
      { fault: "JSON parse error, invalid keyword 'e'" },
      { value: 1 },
    ]);
  });

  test.each(['01', '-x', '1.x', '1.5ex', '1e+x'])('%s is stray', (text) => {
    expect(faults(text)).toEqual(parseFault(`stray '${text}'`));
  });
});

describe('strings', () => {
  test('single quotes do as well, and either quote may stand in the other', () => {
    expect(value("'a\"b'")).toBe('a"b');
    expect(value('"a\'b"')).toBe("a'b");
    expect(value("'\\''")).toBe("'");
  });

  test('escapes', () => {
    expect(value('"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83C\\udf88"')).toBe('"\\/\b\f\n\r\té🎈');
  });

  test('U+0000 is carried, as an escape or as C0 80', () => {
    expect(value('"a\\u0000b"')).toBe('a\0b');
    expect(read([Buffer.from([0x22, 0xc0, 0x80, 0x22])])).toEqual([{ value: '\0' }]);
  });

  test('UTF-8 of every length', () => {
    expect(value('"é€🎈"')).toBe('é€🎈');
  });

  test.each([
    ['an unknown escape', '"\\x"', 'invalid escape sequence in string'],
    ['too few hex digits', '"\\u12"', '\\u12" is not a valid Unicode character'],
    ['no hex digit', '"\\u12g4 "', '\\u12g4 is not a valid Unicode character'],
    ['a lone leading surrogate', '"\\uD800 "', '\\uD800 is not a valid Unicode character'],
    ['a leading one twice', '"\\ud800\\ud800"', '\\ud800 is not a valid Unicode character'],
    ['a lone trailing surrogate', '"\\uDC00"', '\\uDC00 is not a valid Unicode character'],
    ['a noncharacter', '"\\uFFFE"', '\\uFFFE is not a valid Unicode character'],
  ])('%s', (_name, text, fault) => {
    expect(faults(text)).toEqual(parseFault(fault));
  });

  test.each([
    ['overlong', [0xc1, 0x81]],
    ['a surrogate', [0xed, 0xa0, 0x80]],
    ['beyond U+10FFFF', [0xf4, 0x90, 0x80, 0x80]],
    ['a noncharacter', [0xef, 0xbf, 0xbf]],
    ['a lone continuation', [0x80]],
    ['cut short', [0xe2, 0x82]],
    ['six bytes long', [0xfc, 0x84, 0x80, 0x80, 0x80, 0x80]],
  ])('invalid UTF-8: %s', (_name, sequence) => {
    const text = Buffer.from([0x22, ...sequence, 0x22]);
    expect(faults(text)).toEqual(parseFault('invalid UTF-8 sequence in string'));
  });

  test('a control character, FE or FF ends the string as stray', () => {
    expect(faults('"ab\n]')).toEqual([
      "JSON parse error, stray '\"ab\n'",
      'JSON parse error, expecting value',
    ]);
    expect(faults(Buffer.from([0x22, 0xff]))).toEqual(parseFault(`stray '"\ufffd'`));
  });
});

describe('faults', () => {
  test('"not json" is two unknown words', () => {
    expect(faults('not json')).toEqual([
      "JSON parse error, invalid keyword 'not'",
      "JSON parse error, invalid keyword 'json'",
    ]);
  });

  test.each([
    ['{"a" "b"}', 'missing : in object pair'],
    ['{"a":}', 'expecting value'],
    ['{"a":1,}', 'expecting value'],
    ['{"a":1 "b":2}', 'expected separator in dict'],
    ['{"a":1,"a":2}', 'duplicate key'],
    ['{1:2}', 'key is not a string in object'],
    ['{{}:2}', 'key is not a string in object'],
    ['{[x]:2}', "invalid keyword 'x'"],
    ['[1,]', 'expecting value'],
    ['[,1]', 'expecting value'],
    ['[1 2]', 'expected separator in list'],
    ['[1}', 'expected separator in list'],
    ['{"a":1]', 'expected separator in dict'],
    ['{]', 'expecting value'],
    ['}', 'expecting value'],
    [']', 'expecting value'],
    [',', 'expecting value'],
    [':', 'expecting value'],
    ['[nul]', "invalid keyword 'nul'"],
    ['[1 2, x]', 'expected separator in list'],
  ])('%s', (text, fault) => {
    expect(faults(text)).toEqual(parseFault(fault));
  });

  test('a fault within brackets is told when they close', () => {
    expect(read(['{"a" "b", [1'])).toEqual([]);
    expect(faults('{"a" "b", [1]}')).toEqual(parseFault('missing : in object pair'));
    expect(faults('[{]}')).toEqual(parseFault('expecting value'));
  });

  test('after a stray byte reading goes on at the next bracket, comma, colon or line', () => {
    expect(faults('?abc "x" {"a":1}')).toEqual(["JSON parse error, stray '?'", 'value {"a": 1}']);
    expect(faults('Nope\n[1]')).toEqual(["JSON parse error, stray 'N'", 'value [1]']);
    expect(faults('{"a": ?}')).toEqual([
      "JSON parse error, stray '?'",
      'JSON parse error, expecting value',
    ]);
    expect(faults('?\tmore')).toEqual(parseFault("stray '?'"));
  });

  test('byte FF makes a reader forget what was begun', () => {
    const text = Buffer.concat([bytes('{"a": [1, '), Buffer.from([0xff]), bytes('\n{"b": 2}')]);
    expect(faults(text)).toEqual(["JSON parse error, stray '\ufffd'", 'value {"b": 2}']);
  });

  test('zero bytes end a text in C', () => {
    expect(faults('\0')).toEqual(parseFault("stray ''"));
  });

  test('a percent sign is stray: interpolation is not for clients', () => {
    expect(faults('[%d]')).toEqual([
      "JSON parse error, stray '%'",
      'JSON parse error, expecting value',
    ]);
  });

  test('a long keyword is cut as by a buffer of 1024 bytes', () => {
    const [fault] = faults('a'.repeat(5000));
    expect(fault).toBe(`JSON parse error, invalid keyword '${'a'.repeat(1006)}`);
  });
});

describe('limits', () => {
  test('1024 levels are taken, 1025 are not', () => {
    expect(faults(`${'['.repeat(1024)}1${']'.repeat(1024)}`)[0]).toMatch(/^value \[\[/);
    const [first, ...more] = faults('['.repeat(1025));
    expect([first, more]).toEqual(['JSON nesting depth limit exceeded', []]);
  });

  test('a message may have 1 MiB of tokens; white space does not count', () => {
    const spaces = ' '.repeat(2 ** 21);
    expect(faults(`[1,${spaces}2]`)).toEqual(['value [1, 2]']);
    const outcomes = faults(`["${'x'.repeat(2 ** 20)}`);
    expect(outcomes).toEqual(['JSON token size limit exceeded']);
    expect(faults(`[${'1,'.repeat(2 ** 19)}`)[0]).toBe('JSON token size limit exceeded');
  });

  test('after a limit reading goes on', () => {
    const limits = { maxBytes: 10, maxNesting: 2 };
    expect(faults('[[[', limits)).toEqual(['JSON nesting depth limit exceeded']);
    expect(faults(`'${'x'.repeat(10)} [1]`, limits)).toEqual([
      'JSON token size limit exceeded',
      'value [1]',
    ]);
  });

  test('any bytes: nothing is thrown, and a fault is not longer than what caused it', () => {
    const nasty = fc.constantFrom(...bytes('{}[],:"\'\\u01-+.eE %tn\n\0\xff'));
    const anyBytes = fc.array(fc.oneof(nasty, fc.nat(255)), { maxLength: 300 });
    fc.assert(
      fc.property(anyBytes, (input) => {
        const outcomes = read([Uint8Array.from(input)]);
        expect(outcomes.length).toBeLessThanOrEqual(input.length);
        for (const outcome of outcomes) {
          if ('fault' in outcome)
            expect(outcome.fault.length).toBeLessThanOrEqual(60 + input.length);
        }
      }),
    );
  });
});
