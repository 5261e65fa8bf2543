import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { memberText } from '../../../lab/verify/json-text.ts';

describe('memberText', () => {
  test('keeps an integer beyond 2^53 and a fraction as they were written', () => {
    const line = '{"t": 0.1, "dir": ">", "msg": {"value": 4611686018427387904, "part": 1.50}}';
    expect(memberText(line, 'msg')).toBe('{"value": 4611686018427387904, "part": 1.50}');
    expect(memberText(line, 't')).toBe('0.1');
    expect(memberText(line, 'dir')).toBe('">"');
  });

  test('is not misled by braces, quotes and the name inside a string or a nested object', () => {
    const line = '{"a":{"msg":1},"b":"}\\"msg\\": {","msg":[1,{"c":"]"}] }';
    expect(memberText(line, 'msg')).toBe('[1,{"c":"]"}]');
  });

  test('gives undefined for a member that is not there', () => {
    expect(memberText('{}', 'msg')).toBeUndefined();
    expect(memberText('{"a": {"msg": 1}}', 'msg')).toBeUndefined();
  });

  test('finds every member of any object', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.nat(2), (object, indent) => {
        const line = JSON.stringify(object, null, indent);
        for (const name of Object.keys(object)) {
          const text = memberText(line, name) ?? 'missing';
          expect(JSON.stringify(JSON.parse(text))).toBe(JSON.stringify(object[name]));
        }
      }),
    );
  });
});
